"""The detached Jacobian against torch autograd on the stock model, detached on the loaded instance.

First that the oracle deserves trust (lifting changes only the precision, detaching only the derivative, stock
models stay stock), then that jaxlin agrees with it: J to 1e-10, singular values to 1e-8.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Measured
from jaxlin_models.checkpoint import DEMOS
from tiny_checkpoints import CHECKPOINTS, prompt_ids, write_checkpoint

import jaxlin

torch = pytest.importorskip("torch")
import crosscheck_torch  # noqa: E402  (needs torch)
import torch_oracle as oracle  # noqa: E402  (needs torch)

torch.set_num_threads(1)  # tiny tensors: more threads only fight JAX for the cores

#: One of each kind of thing on the linear path (biases everywhere, in attention, of values alone; windows;
#: norms before, after, or both), and of each family.
NAMES = (
    "llama",
    "llama-biases",
    "qwen3-attention-bias",
    "qwen3-sliding",
    "gemma3-text",
    "gemma3-text-attention-bias",
    "gemma3-multimodal",
    "gemma2",
    "phi3-longrope-long",
    "mistral-sliding",
    "ministral",
    "olmo2",
    "olmo2-attention-bias",
    "qwen2-sliding",
)
DEMO_PROMPT = (
    "The capital of France is Paris, which lies on the river Seine. The capital of Italy is Rome, "
    "which lies on the Tiber. People in France speak French, people in Italy speak Italian. "
    "The capital of Spain is"
)


def test_limits_are_the_promised_ones() -> None:
    assert crosscheck_torch.JACOBIAN_LIMIT <= 1e-10
    assert crosscheck_torch.SINGULAR_VALUE_LIMIT <= 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_jaxlin_agrees_with_torch(name: str, tmp_path: Path, measured: Measured) -> None:
    directory, ids = write_checkpoint(name, tmp_path), prompt_ids(name)
    theirs = crosscheck_torch.by_torch(directory, ids, k=16)
    ours = crosscheck_torch.by_jaxlin(jaxlin.load(str(directory), dtype="float64"), ids, k=16)
    figures = crosscheck_torch.compare(ours, theirs)
    measured(name, jacobian=crosscheck_torch.relative(ours.jacobian_dtd, theirs.jacobian_dtd))
    assert [figure for figure in figures if not figure.passed] == []
    # y = J·x + c with jaxlin's J and torch's c, which is Σ (∂y/∂b)·b and knows nothing of J.
    assert replace(ours, c_d=theirs.c_d).reconstruction() <= 1e-12
    size_of_offset = np.linalg.norm(theirs.c_d) / np.linalg.norm(theirs.y_d)
    assert size_of_offset > 0.1 if "bias" in name or "qwen2" in name else size_of_offset == 0


@pytest.mark.parametrize(
    ("policy", "live"), [("detached-gate", ["gate"]), ("half", ["up", "gate"]), ("none", None)]
)
@pytest.mark.parametrize("name", ["llama-biases", "gemma2"])
def test_policies_agree_with_torch(name: str, policy: str, live: list[str] | None, tmp_path: Path) -> None:
    """The other linear policies, and the ordinary Jacobian, each with its offset y − J·x."""
    directory, ids = write_checkpoint(name, tmp_path), prompt_ids(name)
    stock = oracle.load_stock(directory)
    x = oracle.embeddings(stock, ids)
    theirs = oracle.dense_jacobian(stock if live is None else oracle.detach(stock, live), x)
    operator = jaxlin.load(str(directory), dtype="float64").jacobian(ids, policy=policy)
    assert crosscheck_torch.relative(np.asarray(operator.dense()), theirs.numpy()) <= 1e-10
    offset = operator.y - np.einsum("dte,te->d", theirs.numpy(), x.numpy())
    np.testing.assert_allclose(operator.offset, offset, rtol=0, atol=1e-12 * np.linalg.norm(operator.y))


@pytest.mark.parametrize("demo", sorted(DEMOS))
def test_demo_checkpoints(demo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert crosscheck_torch.main(["--model", demo, "--prompt", DEMO_PROMPT]) == 0
    assert "FAIL" not in capsys.readouterr().out


@pytest.mark.parametrize(("error", "status"), [(1e-9, 1), (1e-11, 0)])
def test_script_tells_a_wrong_jacobian(
    error: float,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A relative error above the limit is FAIL and exit status 1, one below it PASS and 0."""
    directory = write_checkpoint("qwen3", tmp_path)

    def slightly_wrong(_: object, ids: list[int], k: int) -> crosscheck_torch.Decomposition:
        right = crosscheck_torch.by_torch(directory, ids, k)
        return replace(right, jacobian_dtd=right.jacobian_dtd * (1 + error))

    monkeypatch.setattr(crosscheck_torch, "by_jaxlin", slightly_wrong)
    assert crosscheck_torch.main(["--model", str(directory), "--token-ids", "5,0,7,9"]) == status
    assert ("FAIL" in capsys.readouterr().out) == bool(status)


@pytest.mark.parametrize("model", ["no-such-model", "demo-llama"])
def test_script_refuses_what_it_cannot_do(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert crosscheck_torch.main(["--model", model, "--token-ids", "99999999"]) == 2
    assert capsys.readouterr().err.startswith("crosscheck_torch: ")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_detached_oracle_is_affine_and_keeps_the_forward(name: str, tmp_path: Path) -> None:
    directory, ids = write_checkpoint(name, tmp_path), prompt_ids(name)
    lifted, detached = oracle.load_stock(directory), oracle.detach(oracle.load_stock(directory))
    x = oracle.embeddings(lifted, ids)
    with torch.no_grad():
        y = oracle.last_hidden(lifted, x)
        torch.testing.assert_close(oracle.last_hidden(detached, x), y, rtol=0, atol=0)
    jacobian, c = oracle.dense_jacobian(detached, x), oracle.offset(detached, x)
    rebuilt = torch.einsum("dte,te->d", jacobian, x) + c
    assert (rebuilt - y).norm() <= 1e-13 * y.norm()
    ordinary = oracle.dense_jacobian(lifted, x)
    assert (ordinary - jacobian).norm() > 0.1 * jacobian.norm()


def test_oracle_leaves_other_instances_alone(tmp_path: Path) -> None:
    """A stock model gives the same numbers before and after another instance was detached."""
    directory, ids = write_checkpoint("gemma3-text", tmp_path), prompt_ids("gemma3-text")
    stock = oracle.load_stock(directory, lift=False)
    before = oracle.logits(stock, ids)
    oracle.detach(oracle.load_stock(directory))
    fresh = oracle.load_stock(directory, lift=False)
    assert torch.equal(before, oracle.logits(stock, ids))
    assert torch.equal(before, oracle.logits(fresh, ids))


def test_oracle_refuses_incomplete_checkpoints(tmp_path: Path) -> None:
    """transformers fills missing tensors with random numbers; an oracle must not."""
    directory = write_checkpoint("llama", tmp_path)
    config = directory / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 4'))
    with pytest.raises(oracle.IncompleteCheckpoint, match=r"layers\.3\.mlp"):
        oracle.load_stock(directory)
