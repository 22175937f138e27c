"""Many prompts: every verb and option as of one by one, prompts that fail, shards, and what a kill leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import FAMILIES
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin.commands.main import main
from jaxlin.solvers import batch
from jaxlin.verbs import svd as one
from jaxlin.verbs.index import Index

NAME = FAMILIES[0]
IDS = prompt_ids(NAME, 30)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(NAME, tmp_path_factory.mktemp(NAME))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> jaxlin.Model:
    return jaxlin.load(str(checkpoint), dtype="float64")


def written(folder: Path, *lines: dict | str) -> Path:
    """A file of prompts."""
    file = folder / "prompts.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def test_an_index_of_others_is_read_as_far_as_it_is_one(tmp_path: Path):
    """Lines that are no rows are left out, however deeply they are nested; what is no file is refused."""
    path = tmp_path / "index.jsonl"
    nested = "[" * 100_000 + "]" * 100_000
    path.write_text("\n".join(['{"id": "a", "k": 1}', nested, "", "{", '{"id": 3}', '{"id": "a", "k": 2}']))
    assert Index(path, tmp_path).rows == {"a": {"id": "a", "k": 2}}
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(jaxlin.JaxlinError, match="no regular file"):
        Index(path, tmp_path)


def rows_in(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


#: Options that were of one prompt alone.
OPTIONS = {
    "svd": {"k": 2, "span": "1,3:", "position": -2, "norms": 1},
    "tokens": {"k": 2, "span": "0,2:4", "position": 5},
    "layers": {"k": 2, "parts": "cumulative,mlp", "layers": "0", "span": "1:"},
    "attribute": {"target": 7, "minus": 9, "k": 1, "span": "2:", "position": -2},
}


@pytest.mark.parametrize("verb", OPTIONS)
def test_each_verb_says_of_many_what_it_says_of_one(tmp_path: Path, model: jaxlin.Model, verb: str):
    options, lengths, out = OPTIONS[verb], {"a": 8, "b": 7}, tmp_path / "out"
    lines = [{"id": name, "token_ids": IDS[:length]} for name, length in lengths.items()]
    many = getattr(model, f"{verb}_many")(written(tmp_path, *lines), out=out, **options)
    assert many.holds, many.table()
    assert [row["id"] for row in many.rows] == list(lengths)
    for name, length in list(lengths.items())[:1]:
        alone, found = getattr(model, verb)(IDS[:length], **options), jaxlin.read(out / name)
        assert found.summary()["span"] == alone.summary()["span"]
        for array, wanted in alone.arrays().items():
            close = {"rtol": 1e-8, "atol": 1e-9 * float(np.abs(wanted).max(initial=1))}
            if array.split("_")[-1] not in ("residuals", "errors"):
                np.testing.assert_allclose(found.arrays()[array], wanted, **close, err_msg=array)


def test_a_target_of_many(tmp_path: Path, model: jaxlin.Model):
    lines = [{"token_ids": IDS[:8], "label": 1}, {"token_ids": IDS[:6], "label": None}]
    many = model.svd_many(written(tmp_path, *lines), out=tmp_path / "out", target="logits:#7-#9")
    for row, ids in zip(many.rows, (IDS[:8], IDS[:6]), strict=True):
        alone = model.svd(ids, target="logits:#7-#9")
        np.testing.assert_allclose(
            jaxlin.read(tmp_path / "out" / row["id"]).contributions, alone.contributions
        )
    assert [row["fields"] for row in many.rows] == [{"label": 1}, {"label": None}]


def test_prompts_that_fail_are_noted_and_the_others_go_on(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    good = {"id": "good", "token_ids": IDS[:5], "topic": {"of": "this"}}
    broken = [{"token_ids": [1], "prompt": "both"}, good, "{oops", {"token_ids": [99999]}]
    file, out = written(tmp_path, *broken, good), tmp_path / "out"
    asked = ["svd", "--model", str(checkpoint), "-k", "2", "--prompts", str(file), "--out", str(out)]
    assert main(asked) == 2
    assert "line 5: the id 'good' was there before" in capsys.readouterr().err
    last = {"id": "later", "token_ids": IDS[:6]}
    written(tmp_path, *broken, last)
    honest, tried = one.make, []

    def refused_once(model, plan, *rest):
        tried.append(len(plan.places.seen))
        if tried == [5, 6]:
            raise jaxlin.JaxlinError("this one cannot be solved: choose another")
        return honest(model, plan, *rest)

    monkeypatch.setattr(one, "make", refused_once)
    assert main(asked) == 3
    said = capsys.readouterr().out
    assert "1 of 5 certificates hold, 4 failed" in said
    assert "later failed: this one cannot be solved" in said
    rows = {row["id"]: row for row in rows_in(tmp_path / "out")}
    assert list(rows) == ["000001", "good", "000003", "000004", "later"]
    assert rows["good"]["holds"]
    assert rows["good"]["fields"] == {"topic": {"of": "this"}}
    whys = {name: row["failed"].split(":")[0] for name, row in rows.items() if name != "good"}
    where = {"000001": 1, "000003": 3, "000004": 4}
    assert whys == {name: f"{file}, line {line}" for name, line in where.items()} | {
        "later": "this one cannot be solved"
    }
    assert main(asked) == 3
    assert tried == [5, 6]
    # A line that was mended is another request.
    written(tmp_path, {"token_ids": IDS[:4]}, good, {"token_ids": IDS[:3]}, {"token_ids": IDS[:2]}, last)
    assert main(asked) == 3
    assert sorted(tried[2:]) == [2, 3, 4]
    assert main([*asked, "--retry-failed"]) == 0
    assert tried[5:] == [6]
    assert all(row["holds"] for row in rows_in(tmp_path / "out"))


def test_a_full_disk_is_no_fault_of_a_prompt(
    tmp_path: Path, model: jaxlin.Model, monkeypatch: pytest.MonkeyPatch
):
    def full(*_):
        raise jaxlin.JaxlinError("no room: free some space") from OSError(28, "No space left on device")

    monkeypatch.setattr(one, "make", full)
    with pytest.raises(jaxlin.JaxlinError, match="no room"):
        model.svd_many([IDS[:4]], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shards_do_each_prompt_once_and_share_an_index(
    tmp_path: Path, model: jaxlin.Model, monkeypatch: pytest.MonkeyPatch
):
    honest, solved = one.make, []

    def noted(model, plan, *rest):
        solved.append(len(plan.places.seen))
        return honest(model, plan, *rest)

    monkeypatch.setattr(one, "make", noted)
    prompts, out = [IDS[:length] for length in (4, 5, 6, 7, 8)], tmp_path / "out"
    second = model.svd_many(prompts, shard="2/3", out=out, k=2)
    assert (second.wanted, sorted(solved)) == (2, [5, 8])
    assert [row["id"] for row in rows_in(out)] == ["000002", "000005"]
    model.svd_many(prompts, shard="3/3", out=out, k=2)
    # Nobody did the first part: it is done by the next start, whatever its part.
    whole = model.svd_many(prompts, out=out, k=2)
    assert sorted(solved) == [4, 5, 6, 7, 8]
    assert whole.holds
    assert [row["id"] for row in rows_in(out)] == [f"{number:06d}" for number in range(1, 6)]
    assert [row["tokens"] for row in whole.rows] == [4, 5, 6, 7, 8]
    assert model.svd_many(prompts, shard="1/3", out=out, k=2).held == 2
    assert len(solved) == 5


def test_what_a_kill_leaves_is_mended_without_reading_all(
    tmp_path: Path, model: jaxlin.Model, monkeypatch: pytest.MonkeyPatch
):
    """A torn line, a result that is not listed yet, one that is listed and lost its tensors."""
    prompts, out = [IDS[:length] for length in (4, 5, 6, 7)], tmp_path / "out"
    model.svd_many(prompts, out=out, k=2)
    lines = (out / "index.jsonl").read_text().splitlines(keepends=True)
    (out / "index.jsonl").write_text("".join(lines[:3]) + lines[3][:40])
    (out / "000002" / "result.safetensors").unlink()
    honest, solved, looked = one.make, [], []
    monkeypatch.setattr(one, "make", lambda *given: solved.append(given[1]) or honest(*given))
    look = jaxlin.SVDResult.look
    monkeypatch.setattr(jaxlin.SVDResult, "look", lambda at: looked.append(Path(at).name) or look(at))
    again = model.svd_many(prompts, out=out, k=2)
    assert again.holds
    assert len(solved) == 1
    assert looked == ["000004", "000002"]  # and neither of those that the index lists
    mended = rows_in(out)
    assert [row["id"] for row in mended] == [json.loads(line)["id"] for line in lines]
    assert mended[3] == json.loads(lines[3])


def test_parquet(tmp_path: Path, model: jaxlin.Model):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"token_ids": [IDS[:4], IDS[:5]], "split": ["train", None]})
    parquet.write_table(table, tmp_path / "prompts.parquet")
    many = model.svd_many(tmp_path / "prompts.parquet", out=tmp_path / "out", k=1)
    assert [row["tokens"] for row in many.rows] == [4, 5]
    assert many.rows[0]["fields"] == {"split": "train"}
    (tmp_path / "prompts.parquet").write_bytes(b"PAR1")
    with pytest.raises(jaxlin.JaxlinError, match="as Parquet"):
        model.svd_many(tmp_path / "prompts.parquet", out=tmp_path / "other", k=1)


@pytest.mark.parametrize("target", [None, "logits:#7"])
def test_what_is_kept_of_right_vectors(tmp_path: Path, model: jaxlin.Model, target: str | None):
    """Less is stored, and all that is said of them in words, drawn and reported is as before, or left out."""
    options = {"k": 1 if target else 3, "target": target}
    whole = model.svd(IDS[:7], **options)
    sizes = {}
    for keep in ("vectors", "bf16", "norms", "none"):
        out = tmp_path / keep
        many = model.svd_many([IDS[:7]], out=out, keep=keep, **options)
        sizes[keep] = many.rows[0]["bytes"]
        found = jaxlin.read(out / "000001")
        assert found.kept == keep
        assert found.summary()["shape"] == whole.summary()["shape"]
        # The prompt is padded, so that rounding is another.
        for mine, its in zip(found.directions, whole.directions, strict=True):
            assert [token.id for token in mine.outputs] == [token.id for token in its.outputs]
            assert [place.position for place in mine.inputs] == [place.position for place in its.inputs]
        if target is None:
            np.testing.assert_allclose(found.split.along, whole.split.along, rtol=1e-8)
        assert found.table() is not None
        assert model.svd(IDS[:7], out=tmp_path / f"one-{keep}", keep=keep, **options).V is not None
        again = jaxlin.read(tmp_path / f"one-{keep}")
        assert again.table() is not None
        jaxlin.report([found, again], out=tmp_path / f"{keep}.html")
        drawn = {picture.name for picture in found.pictures()}
        assert drawn == {"spectrum"} | (
            set() if target else {"rank", *(["directions"] if keep != "none" else [])}
        )
        if keep in ("vectors", "bf16"):
            error = 1e-9 if keep == "vectors" else 2**-8
            overlap = np.abs(np.einsum("ktd,ktd->k", found.V, whole.V))
            np.testing.assert_allclose(overlap, 1, atol=error)
            assert (found.V.dtype == np.float32) == (keep == "bf16")
            assert found.x is not None
        else:
            assert found.V is None
            assert found.x is None
        if keep == "none":
            assert found.weights is None
        else:
            np.testing.assert_allclose(found.weights, whole.weights, atol=1e-8 if keep != "bf16" else 2**-8)
        saved = found.save(tmp_path / f"saved-{keep}")
        assert jaxlin.read(saved).kept == keep
    assert sizes["vectors"] > sizes["bf16"] > sizes["norms"] > sizes["none"]
    with pytest.raises(jaxlin.JaxlinError, match="`keep` is about what `out` holds"):
        model.svd(IDS[:7], keep="none", **options)


@pytest.mark.parametrize(("dtype", "places"), [("float64", 3), ("float64", 2), ("bfloat16", 2)])
def test_a_bucket_goes_through_one_recurrence(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, places: int
):
    """The triplets are those of the dense matrix; weights are not copied for every prompt.

    Where there are fewer places than prompts, one that is done makes room for the next.
    """
    monkeypatch.setattr(batch, "_POSITIONS", 16 * places)
    precision = None if dtype == "float64" else "float32"
    model, lengths = jaxlin.load(str(checkpoint), dtype=dtype, precision=precision), (8, 12, 16)
    sizes, honest = [], one.svd_together

    def watched(operators, *arguments, **options):
        weights = [operator.state.weights for operator in operators]
        sizes.append(len(operators))
        assert all(
            mine is first
            for other in weights
            for mine, first in zip(jax.tree.leaves(other), jax.tree.leaves(weights[0]), strict=True)
        )
        return honest(operators, *arguments, **options)

    monkeypatch.setattr(one, "svd_together", watched)
    prompts = [IDS[30 - length :] for length in lengths]
    stepped, step = [], batch.step_together

    def noted(maps, state, *rest):
        stepped.append(state.steps.tolist())
        return step(maps, state, *rest)

    monkeypatch.setattr(batch, "step_together", noted)
    many = model.svd_many(prompts, out=tmp_path / "out", k=3, method="lanczos")
    assert sizes == [3]
    assert {len(steps) for steps in stepped} == {places}
    assert sum(steps.count(0) for steps in stepped) == 3
    for row, ids in zip(many.rows, prompts, strict=True):
        failed = {check.name for check in jaxlin.read(tmp_path / "out" / row["id"]).certificate.failed}
        assert failed == {check.name for check in model.svd(ids, k=3).certificate.failed}
        assert failed <= (set() if dtype == "float64" else {"prediction"})
        operator = model.jacobian(ids)
        matrix = np.asarray(operator.dense(), np.float64).reshape(operator.shape)
        _, s, vt = np.linalg.svd(matrix, full_matrices=False)
        found = jaxlin.read(tmp_path / "out" / row["id"])
        assert found.method == "lanczos"
        assert len(found.certificate.checks) == 6
        if dtype == "float64":
            np.testing.assert_allclose(found.s, s[:3], rtol=1e-11)
            along = np.abs(np.einsum("kn,kn->k", np.reshape(found.V, (3, -1)), vt[:3]))
            np.testing.assert_allclose(along, 1, atol=1e-10)
            misfit = found.residuals / s[0]
            assert misfit.max() <= 1e-10
            energy = found.certificate.energy
            truth = np.sum(s[:3] ** 2) / np.sum(s**2)
            assert abs(energy.captured - truth) < 6 * energy.error
            assert found.prediction.tokens[0].id == int(np.argmax(model.logits(operator.y)))
            centred = [token.centred for token in found.prediction.pair]
            np.testing.assert_allclose(found.split.whole.logits, centred, atol=1e-10)
        else:
            np.testing.assert_allclose(found.s, s[:3], rtol=1e-5)


def test_one_that_fails_in_a_batch_stops_no_other(
    tmp_path: Path, model: jaxlin.Model, monkeypatch: pytest.MonkeyPatch
):
    honest = one.prepare

    def refused(model, planned, *rest):
        if len(planned.places.seen) == 9:
            raise jaxlin.JaxlinError("this one has no end: choose another")
        return honest(model, planned, *rest)

    monkeypatch.setattr(one, "prepare", refused)
    prompts = [IDS[:length] for length in (8, 9, 12)]
    many = model.svd_many(prompts, out=tmp_path / "out", k=3, method="lanczos")
    assert (many.held, list(many.failed)) == (2, ["000002"])
