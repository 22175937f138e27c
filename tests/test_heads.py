"""Heads and MLPs: every share against brute force, and against the dense Jacobian, in float64."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILIES, check_pytree
from flax import nnx
from jaxlin_models.recorded import branch, normed, through
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin.commands.main import main
from jaxlin.prompts.model import Model
from jaxlin.prompts.recording import Recording
from jaxlin.prompts.target import LogitTarget
from jaxlin.results.attribute_views import TWO_BEST

#: Biases, norms behind the branches, windows, soft-caps, norms of q and k; norms behind alone, with biases.
NAMES = (*FAMILIES, "gemma2", "gemma3-text-final-softcap", "olmo2-attention-bias", "phi3-sliding")
BIASED = ("llama-biases", "olmo2-attention-bias")
TARGETS = (LogitTarget(5), LogitTarget(5, 11))


def rows_of(model: Model, recording: Recording) -> jnp.ndarray:
    return jnp.concatenate([model.logit_row(recording.y, target) for target in TARGETS])


def without(decoder, layer: int, head: int):
    """A copy of a decoder in which one head writes nothing."""
    copied = nnx.clone(decoder)
    kernel = copied.layers.attention.output.kernel
    kernel.set_value(kernel[...].at[layer, head].set(0))
    return copied


@pytest.mark.parametrize("name", NAMES)
def test_heads_and_mlps_are_what_the_frozen_network_loses_without_them(tiny_model, name: str):
    model = tiny_model(name, "float64")
    recording = model.record(prompt_ids(name))
    decoder, recorded, x = model.decoder, recording.recorded, recording.x
    rows = rows_of(model, recording)
    found = recording.branch_contributions(rows)
    split = recording.branch_tokens(rows)
    value = np.asarray(rows @ recording.y)
    size = np.abs(found.heads).sum() + np.abs(found.mlps).sum() + np.abs(value).max()
    together = found.embedding + found.heads.sum((1, 2)) + found.biases.sum(1) + found.mlps.sum(1)
    np.testing.assert_allclose(together, value, atol=1e-12 * size)
    assert found.biases.any() == (name in BIASED)
    read = normed(decoder, recorded["final"], rows)
    alone = np.asarray(jnp.eye(len(x))[:, :, None] * x)
    entering = through(decoder, recorded, x[None], 0, 0, biases=True)
    apart = through(decoder, recorded, jnp.asarray(alone), 0, 0)
    for layer in range(recording.num_layers):
        for head in range(found.heads.shape[2]):
            gone = without(decoder, layer, head)
            lost = [
                branch(one, recorded, entering, layer, "attention", biases=True)[..., -1, :]
                for one in (decoder, gone)
            ]
            expected = np.asarray((lost[0] - lost[1]) @ read.T)[0]
            np.testing.assert_allclose(found.heads[:, layer, head], expected, atol=1e-12 * size)
            if head == 1 and layer:  # every token by itself, through the layers below
                lost = [
                    branch(one, recorded, apart, layer, "attention")[..., -1, :] for one in (decoder, gone)
                ]
                each = np.asarray((lost[0] - lost[1]) @ read.T).T
                np.testing.assert_allclose(split.tokens[:, layer, head], each, atol=1e-12 * size)
        middle = entering + branch(decoder, recorded, entering, layer, "attention", biases=True)
        added = branch_of_mlp(decoder, recorded, middle, layer)
        np.testing.assert_allclose(found.mlps[:, layer], np.asarray(added @ read.T)[0], atol=1e-12 * size)
        entering = through(decoder, recorded, entering, layer, layer + 1, biases=True)
        apart = through(decoder, recorded, apart, layer, layer + 1)


def branch_of_mlp(decoder, recorded, middle, layer: int):
    return branch(decoder, recorded, middle, layer, "mlp", biases=True)[..., -1, :]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_through_branches_sum_both_ways(tiny_model, name: str):
    """Over the branches to the dense Jacobian's shares of the tokens, over the tokens to the branches'."""
    model = tiny_model(name, "float64")
    recording = model.record(prompt_ids(name))
    rows = rows_of(model, recording)
    operator = recording.stretch(0, recording.num_layers - 1)
    found = recording.branch_contributions(rows)
    each = np.concatenate([found.heads, found.mlps[..., None]], -1)
    dense = np.einsum("rm,mtd,td->rt", rows, operator.dense(), operator.x)
    whole = recording.branch_tokens(rows)
    scale = np.abs(whole.tokens).sum()
    over_branches = whole.tokens.sum((1, 2))
    over_branches[:, -1] += found.embedding
    np.testing.assert_allclose(over_branches, dense, atol=1e-12 * scale)
    np.testing.assert_allclose(whole.tokens.sum(-1) + whole.offset, each, atol=1e-12 * scale)
    assert whole.offset.any() == (name in BIASED)
    # A span is taken token by token, and the whole prompt branch by branch: two ways to the same numbers.
    span = [0, 2, len(recording.x) - 1]
    some = recording.branch_tokens(rows, span)
    biased = int(recording.biased)
    branches = each.shape[-1] * recording.num_layers
    assert (some.passes, whole.passes) == (4, biased + min(len(recording.x), branches))
    np.testing.assert_allclose(some.tokens, whole.tokens[..., span], atol=1e-12 * scale)
    np.testing.assert_allclose(some.tokens.sum(-1) + some.offset, each, atol=1e-12 * scale)


@pytest.mark.parametrize("span", [None, [1, 3, 4]], ids=["all", "span"])
def test_several_targets_at_once_are_those_one_by_one(tiny_model, tmp_path: Path, span):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    together = model.attribute(ids, [5, "logits:#5-#11"], by_token=True, k=2, span=span)
    assert together.holds
    assert {check.name for check in together.checks} >= {
        "sum over tokens",
        "sum over branches",
        "sum over both",
    }
    check_pytree(together)
    together.save(tmp_path / "both")
    again = jaxlin.read(tmp_path / "both")
    assert again.table() is not None
    assert [one["value"] for one in again.summary()["targets"]] == [one.value for one in together.splits]
    for i, target in enumerate((5, "logits:#5-#11")):
        alone = model.attribute(ids, target, by_token=True, k=2, span=span)
        for one in (together.splits[i], again.splits[i]):
            assert one.value == pytest.approx(alone.value, rel=1e-12)
            for name in (
                "tokens",
                "branches",
                "heads",
                "biases",
                "directions",
                "branch_tokens",
                "branch_offsets",
            ):
                got, wanted = (np.asarray(getattr(each, name)) for each in (one, alone))
                np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=name)
    assert together.pictures()
    assert len(again.view("both")["signed"]) == 2


def test_without_a_target_it_is_the_best_against_its_rival(tiny_model):
    model, ids = tiny_model("gemma3-text-final-softcap", "float64"), prompt_ids("gemma3-text-final-softcap")
    split = model.attribute(ids)
    logits = np.sort(np.asarray(model.logits(model.jacobian(ids).y)))
    assert split.value == pytest.approx(logits[-1] - logits[-2], rel=1e-10)
    assert split.summary()["chosen_by"] == TWO_BEST
    assert split.call() == {}
    minus = model.attribute(ids, [5, 6], minus=11)
    assert [one.value for one in minus.splits] == pytest.approx(
        [model.attribute(ids, token, minus=11).value for token in (5, 6)]
    )
    with pytest.raises(jaxlin.JaxlinError, match="`target` is empty"):
        model.attribute(ids, [])


def test_a_wrong_share_is_caught(tiny_model, monkeypatch: pytest.MonkeyPatch):
    """The split over both is held against the other two, which come from other passes."""
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    honest = Recording.branch_tokens

    def wrong(self, *given):
        split = honest(self, *given)
        split.tokens[0, 1, 0, 3] *= 1.001
        return split

    monkeypatch.setattr(Recording, "branch_tokens", wrong)
    result = model.attribute(ids, 5, by_token=True)
    assert {check.name for check in result.checks if not check.holds} == {"sum over both"}


def test_flags_of_several_targets(tmp_path: Path, capsys):
    checkpoint = write_checkpoint("llama-biases", tmp_path / "model")
    asked = ("attribute", "--model", str(checkpoint), "--token-ids", "1,2,3,4", "--json")
    assert main([*asked, "--target", "#5", "--target=#6", "--target", "#7"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert len(summary["targets"]) == 3
    assert main([*asked, "--target", "#5", "--target", "#5000"]) == 2
    assert "out of range" in capsys.readouterr().err


def test_many_prompts_are_those_one_by_one(tmp_path: Path, capsys):
    checkpoint = write_checkpoint("llama-biases", tmp_path / "model")
    ids = prompt_ids("llama-biases", 12)
    lengths = {"b": 5, "a": 9, "c": 5}
    file, out = tmp_path / "prompts.jsonl", tmp_path / "out"
    lines = [{"id": name, "token_ids": ids[-length:]} for name, length in lengths.items()]
    file.write_text("\n".join(map(json.dumps, lines)))
    asked = ["attribute", "--model", str(checkpoint), "--dtype", "float64", "--prompts", str(file)]
    asked += ["--out", str(out)]
    assert main(asked) == 0
    assert "3 of 3 certificates hold" in capsys.readouterr().out
    rows = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    model = jaxlin.load(str(checkpoint), dtype="float64")
    for row, (name, length) in zip(rows, lengths.items(), strict=True):
        alone = model.attribute(ids[-length:])
        assert (row["id"], row["tokens"], row["holds"]) == (name, length, True)
        assert row["values"] == [pytest.approx(alone.value)]
        saved = jaxlin.read(out / name)
        np.testing.assert_allclose(saved.heads, alone.heads, atol=1e-12)
        assert row["contributions"][0] == pytest.approx(
            np.abs(alone.tokens).max() * np.sign(row["contributions"][0])
        )
    before = (out / "a" / "result.safetensors").stat().st_mtime_ns
    assert main(asked) == 0  # goes on where it stopped: nothing is left to do
    assert (out / "a" / "result.safetensors").stat().st_mtime_ns == before
    assert main([*asked, "--target", "#5"]) == 2
    assert "a result of another request" in capsys.readouterr().err
    assert main([*asked, "--target", "#5", "--overwrite"]) == 0
    assert main([*asked, "--span", "1:"]) == 2
    assert "a result of another request" in capsys.readouterr().err
    assert model.attribute_many(file, out=out, target=["#5"]).holds
