"""Many prompts at once: the answers of one by one, one compilation a bucket, and no prompt lost or twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from conftest import FAMILIES
from jaxlin_models import families
from safetensors.numpy import load_file
from tiny_checkpoints import CHECKPOINTS, prompt_ids, write_checkpoint

import jaxlin
from jaxlin.commands.main import main
from jaxlin.verbs import padding
from jaxlin.verbs import svd as one

NAME = FAMILIES[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(NAME, tmp_path_factory.mktemp(NAME))


def prompts(folder: Path, lengths: dict[str, int]) -> Path:
    ids = prompt_ids(NAME, 30)
    file = folder / "prompts.jsonl"
    lines = [{"id": name, "token_ids": ids[:length]} for name, length in lengths.items()]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return file


def test_results_are_those_of_one_by_one(tmp_path: Path, checkpoint: Path, capsys):
    lengths = {"b": 20, "a": 9, "c": 17, "d": 16}
    asked = ("svd", "--model", str(checkpoint), "--dtype", "float64", "-k", "3", "--method", "lanczos")
    file, out = prompts(tmp_path, lengths), tmp_path / "out"
    assert main([*asked, "--prompts", str(file), "--out", str(out)]) == 0
    assert "4 of 4 certificates hold" in capsys.readouterr().out
    index = pandas.read_json(out / "index.jsonl", lines=True)
    rows = index.to_dict("records")
    assert [row["id"] for row in rows] == list(lengths)
    assert index.holds.all()
    model = jaxlin.load(str(checkpoint), dtype="float64")
    for row in rows:
        length = lengths[row["id"]]
        tensors = load_file(out / row["id"] / "result.safetensors")
        summary = json.loads((out / row["id"] / "result.json").read_text())
        operator = model.jacobian(prompt_ids(NAME, 30)[:length])
        _, s, vt = np.linalg.svd(np.asarray(operator.dense()).reshape(operator.shape), full_matrices=False)
        np.testing.assert_allclose(tensors["s"], s[:3], rtol=1e-9)
        np.testing.assert_allclose(row["s"], s[:3], rtol=1e-9)
        overlap = np.abs(np.einsum("kn,kn->k", tensors["V"].reshape(3, -1), vt[:3]))
        np.testing.assert_allclose(overlap, 1, atol=1e-8)
        np.testing.assert_allclose(tensors["embeddings"], operator.x)
        np.testing.assert_allclose(tensors["output"], operator.y, atol=1e-12)
        np.testing.assert_allclose(tensors["offset"], operator.offset, atol=1e-12)
        assert summary["tokens"] == row["tokens"] == length
        assert summary["padded_to"] == (16 if length <= 16 else 24)
        assert summary["shape"] == [32, 32 * length]


@pytest.mark.parametrize("metric", ["hidden", "fisher"])
def test_first_positions_are_left_out_and_counted(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], metric: str
):
    """As of one prompt, though these are padded; what is left out joins the offset."""
    lengths = {"a": 18, "b": 9}
    flags = ("--skip-first", "2", "--metric", metric, "--order", "contribution", "-k", "2")
    asked = ("svd", "--model", str(checkpoint), "--dtype", "float64", *flags, "--method", "dense")
    file, out = prompts(tmp_path, lengths), tmp_path / "out"
    assert main([*asked, "--prompts", str(file), "--out", str(out)]) == 0
    model = jaxlin.load(str(checkpoint), dtype="float64")
    for row in map(json.loads, (out / "index.jsonl").read_text().splitlines()):
        found = jaxlin.read(out / row["id"])
        ids = prompt_ids(NAME, 30)[: lengths[row["id"]]]
        alone = model.svd(ids, k=2, skip_first=2, metric=metric, order="contribution", method="dense")
        np.testing.assert_allclose(found.s, alone.s, rtol=1e-9)
        assert found.labels.positions == alone.labels.positions == tuple(range(2, len(ids)))
        assert found.summary()["span"] == "2:"
        np.testing.assert_allclose(found.offset, alone.offset, atol=1e-10)
        sums = [found.split.together, found.split.rest, found.split.offset]
        centred = [token.centred for token in alone.prediction.pair]
        np.testing.assert_allclose(np.sum([part.logits for part in sums], axis=0), centred, atol=1e-10)
        assert row["metric"] == metric
        assert row["predicts"][0]["text"] == alone.prediction.tokens[0].text
        assert row["contributions"]["whole"] == pytest.approx(centred[0])
        assert row["writes"] == [token.text for token in found.outputs[found.order[0]]]
    capsys.readouterr()
    other = "fisher" if metric == "hidden" else "hidden"
    assert main([*asked, "--metric", other, "--prompts", str(file), "--out", str(out)]) == 2
    assert "holds a result of another request" in capsys.readouterr().err
    again = ("--skip-first", "9", "--prompts", str(file), "--out", str(tmp_path / "new"))
    assert main([*asked, *again]) == 3
    assert "b failed: the prompt has 9 tokens, and `skip_first` is 9" in capsys.readouterr().out
    assert jaxlin.read(tmp_path / "new" / "a").holds


def test_one_compilation_a_bucket(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    """Two prompts of different lengths in one bucket send the same shapes through the solver."""
    seen = []
    honest = one.solve

    def noted(operator, *arguments, **options):
        seen.append(operator.input_shape)
        return honest(operator, *arguments, **options)

    monkeypatch.setattr(one, "solve", noted)
    asked = ("svd", "--model", str(checkpoint), "-k", "2", "--out", str(tmp_path / "out"))
    assert main([*asked, "--prompts", str(prompts(tmp_path, {"a": 18, "b": 22, "c": 5}))]) == 0
    assert seen == [(16, 32), (24, 32), (24, 32)]


def test_a_run_that_was_cut_off_goes_on(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    file, out = prompts(tmp_path, {"a": 6, "b": 7, "c": 8}), tmp_path / "out"
    asked = ["svd", "--model", str(checkpoint), "-k", "2", "--prompts", str(file), "--out", str(out)]
    honest, solved = one.make, []

    def until_the_second(model, plan, *rest):
        if len(solved) == 1:
            raise KeyboardInterrupt
        solved.append("abc"[len(plan.places.seen) - 6])
        return honest(model, plan, *rest)

    monkeypatch.setattr(one, "make", until_the_second)
    assert main(asked) == 130
    assert "interrupted after 1 of 3 prompts; the same command goes on" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["a", "index.jsonl"]

    def noted(model, plan, *rest):
        solved.append("abc"[len(plan.places.seen) - 6])
        return honest(model, plan, *rest)

    monkeypatch.setattr(one, "make", noted)
    before = (out / "a" / "result.safetensors").stat().st_mtime_ns
    assert main(asked) == 0
    assert solved == ["a", "b", "c"]
    assert (out / "a" / "result.safetensors").stat().st_mtime_ns == before
    assert main(asked) == 0
    assert solved == ["a", "b", "c"]
    # Another request does not take these for its own.
    assert main([*asked, "--tol", "1e-3"]) == 2
    assert "a result of another request" in capsys.readouterr().err
    assert main([*asked, "--tol", "1e-3", "--overwrite"]) == 0
    assert solved == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize(
    ("length", "padded"),
    [(1, 16), (16, 16), (17, 24), (25, 32), (33, 48), (100, 128), (129, 192), (399, 512)],
)
def test_buckets(length: int, padded: int):
    config = families.decoder_config(CHECKPOINTS["llama"].config())
    assert padding.bucket(length, config, "detached") == min(padded, config.max_positions)
    assert padding.bucket(length, config, "none") == length


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        ("", (), "has no prompts"),
        ("{oops", (), "line 1: this is no JSON"),
        ('{"token_ids": [1], "prompt": "a"}', (), 'line 1: give one of "prompt", "token_ids" and "messages"'),
        ('{"token_ids": "1,2"}', (), '"token_ids" a list of numbers'),
        ('{"token_ids": [99999]}', (), "line 1: token id 99999 is out of range"),
        ('{"token_ids": [1], "id": "a/b"}', (), "the id 'a/b' cannot be a folder"),
        ('{"token_ids": [1], "id": "a"}\n{"token_ids": [2], "id": "a"}', (), "line 2: the id 'a' was there"),
        ('{"token_ids": [1]}', ("--resume",), "leave out --resume"),
        ('{"token_ids": [1]}', ("--shard", "3/2"), "give a part like 2/4"),
        ('{"token_ids": [1]}', ("--shard", "2/2"), "--shard leaves none"),
        ('{"token_ids": [1]}', ("--prompt", "a"), "leave out --prompt"),
        ('{"token_ids": [1]}', ("-k", "99"), "k is 99"),
    ],
)
def test_requests_that_cannot_be_met(
    tmp_path: Path, checkpoint: Path, capsys, text: str, flags: tuple, said: str
):
    (tmp_path / "prompts.jsonl").write_text(text)
    asked = ("svd", "--model", str(checkpoint), "--prompts", str(tmp_path / "prompts.jsonl"))
    assert main([*asked, "--out", str(tmp_path / "out"), *flags]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.glob("out/*"))
