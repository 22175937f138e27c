"""The studies of read-outs, reconstruction, spectra and quantisation (scripts/findings), at small sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import common
import gguf
import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
import quantisation
import readouts
import reconstruction
import spectra
import tables
from jaxlin_models.tensors import tensors_of
from matrices import decomposed, matrix_of, stored, vectorised, without_check_of_prediction
from tiny_checkpoints import prompt_ids
from tiny_gguf import write_gguf

from jaxlin import JaxlinError, Model
from jaxlin.runtime.progress import silent

#: With biases on the linear path, so that the offset is not zero.
BIASED = "llama-biases"


@pytest.fixture(scope="module")
def model(tiny_model) -> Model:
    return tiny_model(BIASED, "float64")


def test_rows_go_on_where_they_were(tmp_path: Path):
    path, seen = tmp_path / "in" / "rows.json", []

    def one(item: int) -> dict[str, int]:
        seen.append(item)
        if item == 3:
            raise KeyboardInterrupt
        return {"square": item**2}

    items = {str(item): item for item in (1, 2, 3)}
    with pytest.raises(KeyboardInterrupt):
        common.Rows(path, {"seed": 0}).measure("model", items, one, silent)
    again = common.Rows(path, {"seed": 0})
    assert again.of("model") == {"1": {"square": 1}, "2": {"square": 4}}
    again.measure("model", {"2": 2, "4": 4}, one, silent)
    assert seen == [1, 2, 3, 4]
    again.summarise("model", {"rows": 3})
    assert json.loads(path.read_text())["models"]["model"]["summary"] == {"rows": 3}
    assert [file.name for file in path.parent.iterdir()] == ["rows.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {"seed": 1}, "models": {}}'])
def test_rows_of_something_else_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(JaxlinError, match="--json"):
        common.Rows(path, {"seed": 0})
    assert path.read_text() == text


def test_a_built_map_is_the_map(model: Model):
    operator = without_check_of_prediction(model.jacobian(prompt_ids(BIASED)))
    matrix = matrix_of(operator)
    np.testing.assert_allclose(matrix, operator.dense(), atol=1e-14)
    result = decomposed(stored(operator, matrix), 3)
    assert result.holds
    assert "prediction" not in [check.name for check in result.certificate.checks]
    expected = np.linalg.svd(matrix.reshape(len(matrix), -1), compute_uv=False)
    np.testing.assert_allclose(result.s, expected[:3], rtol=1e-12)
    assert not decomposed(stored(operator, matrix * 1.001), 3).holds  # it is held to the model's output


def test_the_ordinary_map_of_many_probes_at_once(model: Model):
    operator = model.jacobian(prompt_ids(BIASED), policy="none")
    oracle = jax.jacrev(lambda x: model.decoder(x)[-1])(operator.x)
    np.testing.assert_allclose(matrix_of(vectorised(operator)), oracle, atol=1e-12)
    pair = spectra.both_ways(operator)
    expected = np.linalg.svd(np.asarray(oracle).reshape(len(oracle), -1), compute_uv=False)
    matrix = spectra.checked_matrix(*pair)
    np.testing.assert_allclose(spectra.spectrum_of(matrix), expected, atol=1e-7 * expected[0])
    with pytest.raises(JaxlinError, match="differ"):
        spectra.checked_matrix(pair[0], model.jacobian(prompt_ids(BIASED)))


def test_what_four_directions_carry(model: Model):
    ids = prompt_ids(BIASED)
    row = readouts.measure(lambda: model, "short", 0, ids)
    operator = model.jacobian(ids)
    dense, x = np.asarray(operator.dense()), np.asarray(operator.x).ravel()
    flat = dense.reshape(len(dense), -1)
    right = np.linalg.svd(flat, full_matrices=False)[2][:16]
    parts = (right @ x)[:, None] * (right @ flat.T)
    logits, changes = (np.asarray(model.logits(hidden)) for hidden in (operator.y, parts))
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    top, rival = np.argsort(-logits)[:2]
    whole = logits[top] - logits.mean()
    centred = changes[:, top] - changes.mean(1)
    assert row["hidden"]["carried"] == pytest.approx(centred[:4].sum() / whole, rel=1e-9)
    largest = sorted(centred, key=abs, reverse=True)
    assert row["hidden by contribution"]["carried"] == pytest.approx(sum(largest[:4]) / whole, rel=1e-9)
    expected = (changes[:4, top] - changes[:4] @ chances).sum() / (logits[top] - chances @ logits)
    assert row["hidden"]["ahead"] == pytest.approx(expected, rel=1e-9)
    lead = (changes[:, top] - changes[:, rival]).sum() / (logits[top] - logits[rival])
    assert row["hidden"]["lead"] == pytest.approx(lead, rel=1e-9)
    assert row["holds"]
    assert all(0 <= row[variant]["named"] <= 1 for variant in readouts.VARIANTS)
    other = readouts.measure(lambda: model, "short", 1, ids)
    for variant in ("random outputs", "random inputs"):
        assert other[variant] != row[variant]
    assert other["fisher"] == row["fisher"]


def test_first_directions_are_those_of_the_library(model: Model):
    """What they carry and write in the metric is what a result says of itself."""
    ids = prompt_ids(BIASED)
    result = model.svd(ids, k=16, metric="fisher", method="dense")
    row = readouts.measure(lambda: model, "short", 0, ids)
    carried = sum(part.logits[0] for part in result.split.directions[:4]) / result.split.whole.logits[0]
    assert row["fisher"]["carried"] == pytest.approx(carried, rel=1e-6)
    tokens = {token.id for each in model.outputs(result.lefts[:4], 6) for token in each}
    predicted = {token.id for token in result.prediction.tokens[:5]}
    assert row["fisher"]["named"] == len(tokens & predicted) / 5


def test_random_directions(model: Model):
    operator = model.jacobian(prompt_ids(BIASED))
    y, x = np.asarray(operator.y), np.asarray(operator.x).ravel()
    dense = np.asarray(operator.dense()).reshape(len(y), -1)
    rng = np.random.default_rng(5)
    outputs, inputs = rng.standard_normal((4, *y.shape)), rng.standard_normal((4, dense.shape[1]))
    both = readouts.at_random(operator, seed=5)
    for found, started in zip(both, (outputs @ dense, inputs), strict=True):
        assert (found.writes @ y > 0).all()
        np.testing.assert_allclose(np.linalg.norm(found.writes, axis=1), 1)
        span = np.linalg.qr(started.T)[0]
        np.testing.assert_allclose(found.parts.sum(0), dense @ (span @ (span.T @ x)), atol=1e-10)


def test_summary_of_readouts():
    def row(carried: float) -> dict[str, Any]:
        lead = None if carried == 1 else carried
        figures = {"named": carried / 2, "carried": carried, "ahead": carried, "lead": lead}
        return {"holds": carried > 0.5, **dict.fromkeys(readouts.VARIANTS, figures)}

    told = readouts.summary_of([row(1.04), row(1), row(0.5)])["fisher"]
    assert told["named"] == pytest.approx(2.54 / 6)
    carried = {"mean": 2.54 / 3, "median": 1.0, "least": 0.5, "most": 1.04, "near_1": 2}
    assert told["carried"] == pytest.approx(carried)
    assert told["lead"]["median"] == pytest.approx(0.77)
    assert (told["prompts"], told["certificate_holds"]) == (3, 2)


def test_reconstruction(model: Model):
    row = reconstruction.measure(lambda: model, prompt_ids(BIASED))
    assert row["detached, forward"] < 1e-13
    assert 0 < row["detached, rows"] < 1e-13
    operator = model.jacobian(prompt_ids(BIASED), policy="none")
    oracle = np.einsum("dte,te->d", jax.jacrev(lambda x: model.decoder(x)[-1])(operator.x), operator.x)
    c, y = np.asarray(model.jacobian(prompt_ids(BIASED)).offset), np.asarray(operator.y)
    expected = np.linalg.norm(oracle + c - y) / np.linalg.norm(y)
    assert row["ordinary"] == pytest.approx(expected, rel=1e-9)
    assert row["ordinary"] > 1e-2


def test_figures_of_a_spectrum():
    found = spectra.figures(np.array([2.0, 1.0, 1.0]))
    told = {figure: found[figure] for figure in spectra.FIGURES}
    assert told == pytest.approx(
        {"stable_rank": 1.5, "participation": 2.0, "first": 2 / 3, "first_4": 1, "half_of_squares": 1}
    )
    assert spectra.figures(np.ones(7))["half_of_squares"] == 4


def test_random_weights_are_the_same_numbers(model: Model):
    control = spectra.shuffled(lambda: model, seed=0)
    ours, theirs = model.decoder.layers.mlp.up.kernel[...], control.decoder.layers.mlp.up.kernel[...]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.sort(one, axis=None), np.sort(other, axis=None))
        assert not np.array_equal(one, other)
    for one, other in (
        (model.decoder.embedding, control.decoder.embedding),
        (model.decoder.layers.mlp_norm.scale, control.decoder.layers.mlp_norm.scale),
        (model.decoder.layers.attention.query.bias, control.decoder.layers.attention.query.bias),
    ):
        np.testing.assert_array_equal(one[...], other[...])
    again = spectra.shuffled(lambda: model, seed=0)
    np.testing.assert_array_equal(theirs, again.decoder.layers.mlp.up.kernel[...])


def test_quantised_once_more(tmp_path: Path):
    file = tmp_path / "model.gguf"
    write_gguf("llama-tied-biases", file)
    every = quantisation.loaded(str(file))
    ids = list(range(5, 14))
    row = quantisation.measure(lambda: every | {"as it is": Spelled(every["as it is"])}, ids)
    assert row["dequantised"]["matrix"] == 0
    assert row["dequantised"]["kl"] == 0
    assert 0 < row["Q8_0"]["matrix"] < row["Q4_0"]["matrix"]
    assert 0 < row["Q8_0"]["kl"] < row["Q4_0"]["kl"]
    expected = np.asarray(every["Q4_0"].jacobian(ids).dense())
    exact = np.asarray(every["as it is"].jacobian(ids).dense())
    assert row["Q4_0"]["matrix"] == pytest.approx(
        np.linalg.norm(expected - exact) / np.linalg.norm(exact), rel=1e-3
    )


class Spelled:
    """A model whose prompts are ids, spelled by numbers."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def token_text(self, token: int) -> str:
        return f"#{token}"


def test_matrices_alone_are_quantised(tmp_path: Path):
    file = tmp_path / "model.gguf"
    write_gguf("llama-tied-biases", file, plain=True)
    tensors = tensors_of(models.find(str(file)))
    again = quantisation.Requantised(tensors, gguf.GGMLQuantizationType.Q4_0)
    norm, table, matrix = (
        "model.norm.weight", "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight",
    )  # fmt: skip
    every = slice(None)
    np.testing.assert_array_equal(again.read(norm, every), tensors.read(norm, every))
    for name, step in ((table, 127), (matrix, 8)):
        values, made = tensors.read(name, every), again.read(name, every)
        blocks = np.abs(values).reshape(-1, 32).max(axis=1, keepdims=True)
        off = np.abs(made - values).reshape(-1, 32)
        assert (off <= 1.01 * blocks / step).all()  # a step of the block, and its scale in float16
        assert off.max() > 0.2 * blocks.max() / step
    np.testing.assert_array_equal(again.read(matrix, slice(3, 5)), again.read(matrix, every)[3:5])


def test_another_kind_of_file_is_refused(tiny_model):
    with pytest.raises(JaxlinError, match="no GGUF file"):
        quantisation.loaded("demo-llama")


def test_a_script_from_its_arguments_to_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """With a demo model; the error of another is one sentence, and the exit code 2."""
    rows, picture = tmp_path / "rows.json", tmp_path / "picture.png"
    command = ["x", "--model", "demo-llama", "--prompts", "2", "--json", str(rows), "--picture", str(picture)]
    monkeypatch.setattr("sys.argv", [*command, "--long", "0"])
    reconstruction.main()
    assert re.search(r"demo-llama │ +2 │", capsys.readouterr().out)
    assert len(json.loads(rows.read_text())["models"]["demo-llama"]["rows"]) == 2
    assert picture.read_bytes()[1:4] == b"PNG"
    monkeypatch.setattr("sys.argv", [*command[:2], "no-such-model", *command[3:]])
    with pytest.raises(SystemExit) as stopped:
        reconstruction.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def test_the_document_has_the_tables_of_the_rows():
    text = tables.DOCUMENT.read_text(encoding="utf-8")
    assert tables.rewritten(text) == text
    with pytest.raises(ValueError, match="needs a line <!-- causal: start -->"):
        tables.rewritten(text.replace("<!-- causal: start -->", ""))


@pytest.mark.parametrize(
    ("study", "draw"),
    [("readouts", readouts.draw), ("reconstruction", reconstruction.draw), ("spectra", spectra.draw_ranks),
     ("spectra", spectra.draw_spectra), ("quantisation", quantisation.draw)],
)  # fmt: skip
def test_pictures_of_committed_rows(tmp_path: Path, study: str, draw: Callable[..., None]):
    told = json.loads((tables.ROWS / f"{study}.json").read_text())["models"]
    assert set(told) == set(common.MODELS)
    panels = {name: partial(draw, list(each["rows"].values())) for name, each in told.items()}
    common.save_picture(tmp_path / "picture.png", panels)
    assert (tmp_path / "picture.png").read_bytes()[1:4] == b"PNG"


def test_a_slice_of_the_head_is_its_rows(tiny_model):
    for name in (BIASED, "gemma3-text"):  # with a head of its own, and tied
        decoder = tiny_model(name, "float64").decoder
        np.testing.assert_array_equal(decoder.head_slice(3, 5), decoder.head_rows(jnp.arange(3, 8)))


def test_a_tokenizer_is_looked_for_once(model: Model, monkeypatch: pytest.MonkeyPatch):
    asked = []
    kind = type(model.source)
    monkeypatch.setattr(kind, "has_tokenizer", property(lambda self: asked.append(self) is not None))
    fresh = Model(model.source)
    assert [fresh.token_text(3), fresh.token_text(4)] == ["#3", "#4"]
    assert len(asked) == 1
