"""Results of every kind: what was saved opens as it was, also by older versions; and how it is shown."""

from __future__ import annotations

import builtins
import csv
import json
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_pytree
from jaxtyping import Array, Float
from readers import ModelReader, PlainReader, labels_of, with_labels
from rich.console import Console
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin import JaxlinError
from jaxlin.analyses.comparison import compare
from jaxlin.analyses.norms import largest, norms
from jaxlin.prompts.target import LogitTarget
from jaxlin.results import store
from jaxlin.results.about import About
from jaxlin.results.attribute_views import TWO_BEST
from jaxlin.results.base import Result
from jaxlin.results.compare_models import ModelComparison
from jaxlin.results.kinds import KINDS, read
from jaxlin.results.page.report import report
from jaxlin.results.steer import Continuation, SteeringResult
from jaxlin.results.svd import SVDResult

SAVED = Path(__file__).parent / "saved_results"
OLD = sorted(folder.name for folder in SAVED.iterdir() if folder.is_dir())
NAME = "llama-biases"
MADE = (
    "svd", "target", "tokens", "layers", "attribute", "compare", "models", "steer", "contributions",
    "linearize",
)  # fmt: skip


def printed(result: Result, width: int = 120) -> str:
    """What a terminal shows."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(result.table())
    return capture.get()


def same(a: Any, b: Any, where: str = "") -> None:
    """Two results hold the same; of arrays, numbers in a width that numpy can read."""
    if isinstance(a, Result) or (is_dataclass(a) and not isinstance(a, type)):
        assert type(a) is type(b), where
        for field in fields(a):
            point = field.name in ("x", "y", "offset") and where.split(".")[-1] in ("triplets", "result")
            read_late = ("about", "labels", "reader", "decoded", "known_split")
            if not point and field.name not in (*read_late, "seconds"):
                same(getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}")
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for name in a:
            same(a[name], b[name], f"{where}[{name}]")
    elif isinstance(a, tuple | list):
        assert len(a) == len(b), where
        for i, pair in enumerate(zip(a, b, strict=True)):
            same(*pair, f"{where}[{i}]")
    elif isinstance(a, np.ndarray | jax.Array):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), where)
    else:
        assert a == b or (a is None and b is None), where


@pytest.fixture(scope="module")
def made(tiny_model) -> dict[str, Result]:
    """A result of every kind, of a tiny model; decoded by it, not yet on disk."""
    model, ids = tiny_model(NAME, "float64"), prompt_ids(NAME)
    operator = with_labels(model.jacobian(ids), model, ids)
    recording = model.record(ids)
    measured = norms(operator)
    svd = jaxlin.svd(operator, 3, method="dense").with_jacobian(operator.dense())
    svd = svd.with_norms(measured, *largest(operator, measured, 2))
    row = model.logit_row(operator.y, LogitTarget(5))
    target = operator.select([1, 3, 4], row)
    layers = jaxlin.layers(recording, 2, parts=("cumulative", "mlp"), at=[0, 2]).of_map(operator)
    half = with_labels(model.jacobian(ids, policy="half"), model, ids)
    steered = jaxlin.svd(operator, 2)
    going_on = (Continuation(0.0, (1, 2), "<1><2>"), Continuation(0.5, (3, 4), "<3><4>"))
    return {
        "svd": svd.with_notes(method_reason="it is small", resumed_from_step=None),
        "target": jaxlin.svd(target, 1).with_notes(target='logits:"<5>"'),
        "tokens": jaxlin.tokens(operator, 2),
        "layers": layers,
        "attribute": jaxlin.attribute(operator, recording, row, steered, names=['logits:"<5>"']),
        "compare": compare([("half", half), ("detached", operator)], 2),
        "models": ModelComparison({"z/model": layers, "a": layers}),
        "steer": SteeringResult(
            tuple(ids), "a prompt", (1, 2), "a concept", 1, 3, 2, False, 0.5, going_on, steered,
            ModelReader(model),
        ).with_notes(policy="detached", seed=0),
        "contributions": jaxlin.contributions(lambda x: jnp.tanh(x) @ jnp.ones((3, 2)), np.ones((4, 3)) / 2),
        "linearize": jaxlin.svd(jaxlin.linearize(lambda x: jnp.tanh(x).sum(0), jnp.ones((4, 3))), 2),
    }  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_results_of_older_versions_open_and_are_saved_as_they_were(name: str, tmp_path: Path):
    result = read(SAVED / name)
    result.save(tmp_path / "again")
    arrays, summary = store.read(SAVED / name)
    again, rewritten = store.read(tmp_path / "again")
    assert again.keys() == arrays.keys()
    for array in arrays:
        np.testing.assert_array_equal(again[array], arrays[array])
    assert_contains(rewritten, summary)
    assert set(rewritten) - set(summary) <= {"svd"}  # which is new
    assert type(result) is type(read(tmp_path / "again"))


def assert_contains(new: Any, old: Any, where: str = "") -> None:
    """Every entry of the old summary, with its value; new ones may stand beside them."""
    if isinstance(old, dict):
        assert old.keys() <= new.keys(), f"{where}: {old.keys() - new.keys()}"
        for name in old:
            assert_contains(new[name], old[name], f"{where}.{name}")
    elif isinstance(old, list):
        assert len(new) == len(old), where
        for i, (mine, theirs) in enumerate(zip(new, old, strict=True)):
            assert_contains(mine, theirs, f"{where}[{i}]")
    else:
        assert new == old, where


@pytest.mark.parametrize("name", MADE)
def test_what_is_saved_is_what_is_read(made: dict[str, Result], name: str, tmp_path: Path):
    result = made[name]
    assert result.save(tmp_path / "out") == tmp_path / "out"
    back = type(result).read(tmp_path / "out")
    same(result, back, name)  # but what nobody keeps of a part of another result: the point of its map
    assert back.summary() == result.summary() == json.loads((tmp_path / "out" / "result.json").read_text())
    assert printed(back) == printed(result)
    assert back.view("x") == result.view("x")
    assert back.python() == result.python()
    assert repr(back) == repr(result)
    assert back.rows() == result.rows()
    for picture, saved in zip(result.pictures(), back.pictures(), strict=True):
        same(picture.numbers, saved.numbers, picture.name)
    same(read(tmp_path / "out"), back)


@pytest.mark.parametrize("name", MADE)
def test_every_kind_is_a_pytree(made: dict[str, Result], name: str):
    check_pytree(made[name])


@pytest.mark.parametrize("name", [*MADE, *(f"old {name}" for name in OLD)])
def test_every_kind_is_shown_drawn_and_framed(made: dict[str, Result], name: str, tmp_path: Path):
    result = read(SAVED / name[4:]) if name.startswith("old ") else made[name]
    assert "\n" not in repr(result)
    assert len(repr(result)) < 120
    assert "certificate" in printed(result) or result.kind == "steer"
    html = result._repr_html_()
    assert html.startswith("<pre style")
    assert "<style" not in html
    assert "<html" not in html
    frame = result.to_frame()
    assert len(frame) == len(result.rows()) > 0
    assert f'"verb":"{result.kind}"' in report(result)
    if not result.pictures():
        assert result.kind == "steer"
        with pytest.raises(JaxlinError, match="has no pictures"):
            result.plot()
        return
    paths = result.plot(tmp_path / "pictures", ("svg",))
    assert {path.suffix for path in paths} == {".svg", ".csv"}
    assert all(path.stat().st_size for path in paths)
    for picture in result.pictures():
        with (tmp_path / "pictures" / f"{picture.name}.csv").open(newline="") as file:
            (names, *rows) = list(csv.reader(file))
        assert names == list(picture.numbers)
        assert len(rows) == len(next(iter(picture.numbers.values())))


def test_there_is_a_kind_for_every_verb_and_the_whole_of_it():
    assert set(KINDS) == {"svd", "tokens", "layers", "attribute", "compare", "steer", "contributions"}
    for kind in (*KINDS.values(), ModelComparison):
        assert not kind.__abstractmethods__
        assert issubclass(kind, Result)


def test_directions_are_read_when_they_are_first_asked_for_and_once():
    """And where nobody asks, nothing is computed."""
    asked = []

    class Counting(PlainReader):
        def outputs(self, u: Float[Any, "n d"], top: int = 8, *, normed: bool = True) -> Any:
            asked.append(len(u))
            return super().outputs(u, top, normed=normed)

    operator = jaxlin.linearize(lambda x: x.sum(0), jnp.ones((2, 3)), offset=jnp.zeros(3))
    result = jaxlin.svd(replace(operator, labels=labels_of([7, 8], Counting())), 2)
    assert repr(result)
    assert asked == []
    assert "<8>" in printed(result)
    result.summary()
    result.view("x")
    assert asked == [2, 2]  # both sides of each


def test_a_target_is_read_by_what_positions_contribute(made: dict[str, Result]):
    """Towards the target's value, whichever sign its left vector has; no left vector is read as a token."""
    result = made["target"]
    assert isinstance(result, SVDResult)
    (direction,) = result.directions
    assert direction.outputs == ()
    shares = [place.contribution for place in direction.inputs]
    assert shares == sorted(shares, key=lambda share: -abs(share))
    assert sum(shares) + float(result.offset[0]) == pytest.approx(float(result.y[0]), rel=1e-9)
    negative = replace(result, U=-result.U, V=-result.V, decoded=None)
    np.testing.assert_allclose(negative.contributions, result.contributions)
    text = printed(result)
    assert re.search(r"together +│ +[+-]", text)
    assert "the offset c" in text


def test_python_names_what_is_not_by_default(made: dict[str, Result]):
    assert read(SAVED / "svd").python() == (
        "import jaxlin\n\nmodel = jaxlin.load('demo-qwen')\n"
        "result = model.svd(prompt, k=2, method='lanczos', tol=0.0001, norms=2)"
    )
    noted = read(SAVED / "tokens").with_notes(dtype="float64", precision="tf32", offload="all", seed=3)
    assert "load('demo-qwen', dtype='float64', precision='tf32', offload='all')" in noted.python()
    of_part = read(SAVED / "svd-target").with_notes(max_passes=7, verify_seed=2)
    assert "target='logits:\" Paris\"', max_passes=7, verify_seed=2" in of_part.python()
    spanned = read(SAVED / "layers")
    spanned = replace(spanned, labels=replace(spanned.labels, facts={"policy": "half", "span": "3:"}))
    assert spanned.python().endswith("layers=[0, 4], policy='half', span='3:')")
    old = read(SAVED / "attribute")  # of the model's own next token, which is no default any more
    assert "model.attribute(prompt, target='logits:\" Paris\"', k=2, tol=" in old.python()
    assert "attribute(prompt, k=2, tol=" in old.with_notes(chosen_by=TWO_BEST).python()
    assert "jaxlin.compare(model, prompt, policies=['detached', 'none']" in read(SAVED / "policies").python()
    models = read(SAVED / "models").python()
    assert "models = [jaxlin.load('demo-qwen'), jaxlin.load('demo-llama')]\n" in models
    assert models.endswith("jaxlin.compare(models, prompt, k=2)")
    assert "concept='The capital of France is', layer=2, strength=(1.0,)" in read(SAVED / "steer").python()
    assert made["linearize"].python() == ""


def test_notes_stand_in_the_summary_and_do_not_hide_what_is_known(made: dict[str, Result]):
    result = made["tokens"].with_notes(k=99, predicted_peak_bytes=5)
    assert result.summary()["k"] == 2
    assert result.summary()["predicted_peak_bytes"] == 5
    assert made["tokens"].summary().get("predicted_peak_bytes") is None
    facts = made["tokens"].summary()
    assert (facts["verb"], facts["model"], facts["policy"], facts["span"]) == (
        "tokens",
        "tiny",
        "detached",
        None,
    )
    assert {"device", "versions", "peak_bytes"} <= facts.keys()
    assert result.summary() == result.summary()


def test_a_result_lets_go_of_its_model(made: dict[str, Result]):
    for name in ("svd", "tokens", "layers", "attribute", "compare"):
        alone = made[name].without_model()
        assert alone.labels.reader is None
        assert alone.summary() == made[name].summary()
        assert printed(alone) == printed(made[name])


def test_what_is_before_the_final_norm_goes_through_it_to_be_read(tiny_model):
    model, ids = tiny_model(NAME, "float64"), prompt_ids(NAME)
    operator = model.record(ids).stretch(0, 1, normed=False)
    result = jaxlin.svd(replace(operator, labels=labels_of(ids, ModelReader(model), normed=False)), 1)
    expected = ModelReader(model).outputs(result.U, normed=False)
    assert list(result.outputs) == expected != ModelReader(model).outputs(result.U)


def test_padding_is_cut_off():
    operator = jaxlin.linearize(lambda x: x[:2].sum(0), jnp.ones((4, 3)), offset=jnp.zeros(3))
    padded = jaxlin.svd(replace(operator, labels=labels_of([5, 6, 7, 8], PlainReader())), 2)
    result = padded.up_to(2)
    assert (result.V.shape, result.x.shape, result.labels.ids) == ((2, 2, 3), (2, 3), (5, 6))
    assert result.summary()["shape"] == [3, 6]
    short = replace(padded, labels=labels_of([5, 6], PlainReader())).up_to(2)  # labels of the prompt alone
    assert short.labels.ids == (5, 6)


def test_what_cannot_be_read_says_so(tmp_path: Path):
    with pytest.raises(JaxlinError, match="holds no result"):
        read(tmp_path)
    with pytest.raises(JaxlinError, match="holds a result of 'svd' and not of 'tokens'"):
        KINDS["tokens"].read(SAVED / "svd")
    arrays, summary = store.read(SAVED / "svd")
    del summary["certificate"]["tolerance"]
    store.write(tmp_path, arrays, summary)
    with pytest.raises(JaxlinError, match="lacks something or holds something else"):
        read(tmp_path)
    store.write(tmp_path, arrays, {"verb": "dream"})
    with pytest.raises(JaxlinError, match="a result of 'dream'"):
        read(tmp_path)


def test_results_are_not_replaced_unasked(made: dict[str, Result], tmp_path: Path):
    made["svd"].save(tmp_path / "out")
    with pytest.raises(JaxlinError, match="choose another `out`, or add `overwrite`"):
        made["tokens"].save(tmp_path / "out")
    made["tokens"].save(tmp_path / "out", overwrite=True)
    assert read(tmp_path / "out").kind == "tokens"


def test_figures_are_shown_by_a_notebook(made: dict[str, Result]):
    figures = made["svd"].plot()
    assert len(figures) == len(made["svd"].pictures()) == 3
    assert figures._repr_html_().count("data:image/png;base64,") == 3
    with pytest.raises(JaxlinError, match="unknown format 'gif': choose from png, pdf, svg"):
        made["svd"].plot(formats=("gif",))


def test_a_notebook_shows_prompts_as_text_and_not_as_markup():
    result = read(SAVED / "svd")
    direction = result.directions[0]
    hostile = replace(direction.inputs[0], text="<script>alert(1)</script>[red]")
    decoded = (replace(direction, inputs=(hostile,)), *result.directions[1:])
    html = replace(result, decoded=decoded)._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "[red]" in html


def test_a_certificate_that_fails_says_what_and_is_red():
    result = read(SAVED / "svd")
    failed = replace(result.certificate.checks[0], value=1.0)
    certificate = replace(result.certificate, checks=(failed, *result.certificate.checks[1:]), converged=1)
    text = printed(replace(result, certificate=certificate))
    assert "FAILS: 1 of 2 triplets NOT converged, adjoint" in text
    assert "1.0e+00 exceeds 1e-05" in text
    assert not replace(result, certificate=certificate).holds
    assert "certificate FAILS" in report(replace(result, certificate=certificate))


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    load = builtins.__import__

    def without_pandas(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(JaxlinError, match=re.escape('pip install "jaxlin[pandas]"')):
        read(SAVED / "svd").to_frame()


def test_a_report_takes_results_and_folders_and_writes_a_file(made: dict[str, Result], tmp_path: Path):
    html = report([made["svd"], SAVED / "tokens"], tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == html
    assert "<h2>svd 1 " in html
    assert "<h2>tokens " in html
    with pytest.raises(JaxlinError, match="is there already"):
        report(made["svd"], tmp_path / "page.html")
    assert report(made["svd"], tmp_path / "page.html", overwrite=True) != html
    with pytest.raises(JaxlinError, match="no result is given"):
        report([])


def test_other_shapes_than_prompts_are_saved_and_drawn(tmp_path: Path):
    """Of a vector to a matrix, in bfloat16: numpy reads it in float32."""

    def f(x: Float[Array, " 6"]) -> Float[Array, "2 3"]:
        return jnp.tanh(x).reshape(2, 3)

    result = jaxlin.svd(jaxlin.linearize(f, jnp.arange(6, dtype=jnp.bfloat16) / 6), 2)
    result.save(tmp_path / "out")
    back = SVDResult.read(tmp_path / "out")
    assert (back.U.shape, back.V.shape, back.x.dtype.name) == ((2, 2, 3), (2, 6), "float32")
    assert printed(back) == printed(result)
    assert len(back.plot(tmp_path / "pictures")) == 6
    assert isinstance(back.about, About)
