"""Maps of single layers and modules, against derivatives of detached passes through those blocks alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from conftest import FAMILIES, QUICK_TO_COMPILE
from flax import nnx
from jaxlin_models.detach import DETACHED, DETACHED_GATE, HALF, Detached
from jaxtyping import Array
from numpy.typing import NDArray
from tiny_checkpoints import prompt_ids

from jaxlin import JaxlinError
from jaxlin.linear.certificate import check_operator
from jaxlin.prompts.model import Model
from jaxlin.prompts.recording import Recording

#: (part, first layer, last layer): everything, one layer, from the start, to the end, and the modules.
PARTS = (("block", 0, 2), ("block", 1, 1), ("block", 0, 1), ("attention", 1, 1), ("mlp", 2, 2))


def oracle(model: Model, part: tuple[str, int, int], normed: bool, policy: models.FreezePolicy):
    """(input of the part, its output, dense Jacobian [d, T, d], affine output at zero) by JAX alone."""
    graphdef, stacked = nnx.split(model.decoder.layers)
    ids = jnp.asarray(prompt_ids_of(model))
    x = model.decoder.embed(ids)
    positions_of = model.decoder.positions(len(ids), x.dtype)
    mode = Detached(policy)

    def block(layer: int) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        module = nnx.merge(graphdef, jax.tree.map(lambda a: a[layer], stacked))
        positions = positions_of(jnp.asarray(layer))
        return lambda x: module.attention_branch(x, positions, mode), lambda x: module.mlp_branch(x, mode)

    which, first, last = part

    def walk(x: Array, first: int, last: int) -> Array:
        for layer in range(first, last + 1):
            attention, mlp = block(layer)
            x = x + attention(x)
            x = x + mlp(x)
        return x

    entering = walk(x, 0, first - 1)
    if which == "mlp":
        entering = entering + block(first)[0](entering)

    def f(x: Array) -> Array:
        attention, mlp = block(first)
        y = {"block": lambda x: walk(x, first, last), "attention": attention, "mlp": mlp}[which](x)
        return model.decoder.final_norm(y[-1], mode) if normed else y[-1]

    jacobian = jax.jit(jax.jacrev(f), compiler_options=QUICK_TO_COMPILE)(entering)
    return entering, f(entering), np.asarray(jacobian)


def prompt_ids_of(model: Model) -> list[int]:
    return prompt_ids(next(name for name in FAMILIES if name.startswith(model.checkpoint.config.family)))


def take(recording: Recording, part: tuple[str, int, int], normed: bool):
    which, first, last = part
    if which == "block":
        return recording.stretch(first, last, normed=normed)
    return recording.module(first, which, normed=normed)


def close(value: NDArray, expected: NDArray) -> None:
    error = np.linalg.norm(np.asarray(value) - np.asarray(expected))
    assert error <= 1e-12 * np.linalg.norm(expected)


@pytest.mark.parametrize(("part", "normed"), list(zip(PARTS, (True, False, True, True, False), strict=True)))
@pytest.mark.parametrize("name", FAMILIES)
def test_parts_are_derivatives_of_their_blocks(tiny_model, name: str, part: tuple, normed: bool):
    model = tiny_model(name, "float64")
    operator = take(model.record(prompt_ids(name)), part, normed)
    entering, y, jacobian = oracle(model, part, normed, DETACHED)
    close(operator.y, y)
    if part[0] == "mlp":
        assert not jacobian[:, :-1].any()
        close(operator.x, entering[-1:])
        close(operator.dense(), jacobian[:, -1:])
    else:
        close(operator.x, entering)
        close(operator.dense(), jacobian)
        basis = np.eye(operator.shape[1]).reshape(-1, *operator.input_shape)[::7]
        close(operator.matmat(basis), jacobian.reshape(len(jacobian), -1).T[::7])
    assert all(check.holds for check in check_operator(operator, 0))  # y = J·x + c among them


@pytest.mark.parametrize("policy", [DETACHED_GATE, HALF], ids=lambda policy: policy.name)
def test_other_policies(tiny_model, policy: models.FreezePolicy):
    model = tiny_model("llama-biases", "float64")
    recording = model.record(prompt_ids("llama-biases"), policy=policy.name)
    _, y, jacobian = oracle(model, ("block", 1, 2), True, policy)
    operator = recording.stretch(1, 2)
    close(operator.y, y)
    close(operator.dense(), jacobian)


@pytest.mark.parametrize("dial", [models.Dial("queries_keys", "recomputed")])
def test_the_dial_changes_no_part(tiny_model, dial: models.Dial):
    model = tiny_model("qwen3-sliding", "float64")
    ids = prompt_ids("qwen3-sliding")
    for part in PARTS:
        a, b = (take(model.record(ids, dial=one), part, True) for one in (None, dial))
        close(b.dense(), a.dense())


@pytest.mark.parametrize("name", FAMILIES)
def test_all_layers_are_the_whole(tiny_model, tiny_operator, name: str):
    whole = tiny_operator(name, "float64")
    recording = tiny_model(name, "float64").record(prompt_ids(name))
    stretch = recording.stretch(0, recording.num_layers - 1)
    close(stretch.dense(), whole.dense())
    np.testing.assert_allclose(stretch.offset, whole.offset, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_all_layers_are_the_whole_to_the_last_bit(tiny_model, name: str, dtype: str):
    """One pair of functions makes both, so nothing is left to rounding."""
    model, ids = tiny_model(name, dtype), prompt_ids(name)
    whole, recording = model.jacobian(ids), model.record(ids)
    stretch = recording.stretch(0, recording.num_layers - 1)
    v = jax.random.normal(jax.random.key(0), (3, *whole.input_shape)).astype(whole.dtype)
    u = jax.random.normal(jax.random.key(1), (3, *whole.output_shape)).astype(whole.dtype)
    assert (stretch.forward, stretch.backward) == (whole.forward, whole.backward)
    assert jax.tree.structure(stretch.bare) == jax.tree.structure(whole.bare)  # so the programs are the same
    for apply in (
        lambda o: (o.x, o.y, o.offset),
        lambda o: o.matvec(v[0]),
        lambda o: o.rmatvec(u[0]),
        lambda o: o.matmat(v),
        lambda o: o.rmatmat(u),
    ):
        a, b = (np.asarray(jax.tree.leaves(apply(o))[0], np.float64) for o in (stretch, whole))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", FAMILIES)
def test_branches_add_up_to_the_output(tiny_model, tiny_operator, name: str):
    operator = tiny_operator(name, "float64")
    recording = tiny_model(name, "float64").record(prompt_ids(name))
    rows = jax.random.normal(jax.random.key(0), (2, *operator.output_shape))
    embedding, heads, biases, mlps = recording.branch_contributions(rows)
    assert heads.shape[:2] == biases.shape == mlps.shape == (2, recording.num_layers)
    together = embedding + heads.sum((1, 2)) + biases.sum(1) + mlps.sum(1)
    np.testing.assert_allclose(together, rows @ operator.y, rtol=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.stretch(0, 3), "layers 0 to 3 are no range here"),
        (lambda r: r.stretch(2, 1), "layers 2 to 1 are no range here"),
        (lambda r: r.module(3, "mlp"), "there is no layer 3: choose from 0 to 2"),
        (lambda r: r.module(0, "gate"), "unknown module 'gate': choose attention or mlp"),
    ],
)
def test_parts_that_are_none(tiny_model, call, message: str):
    recording = tiny_model("llama-biases", "float64").record(prompt_ids("llama-biases"))
    with pytest.raises(JaxlinError, match=message):
        call(recording)


def test_an_ordinary_jacobian_has_no_recording(tiny_model):
    with pytest.raises(JaxlinError, match="policy 'none' leaves nothing to record"):
        tiny_model("llama-biases", "float64").record(prompt_ids("llama-biases"), policy="none")


# --- what the operators are labelled with ---


def test_parts_carry_the_prompts_labels(tiny_model):
    name = "llama-biases"
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    dial = models.Dial("queries_keys", "recomputed")
    recording = model.record(ids, position=-2, dial=dial)
    seen = ids[:-1]
    facts = {"policy": "detached", "dial": asdict(dial), "span": None}
    for operator in (
        model.jacobian(ids, position=-2, dial=dial),
        recording.stretch(0, 2),
        recording.stretch(1, 1),
        recording.module(1, "attention"),
    ):
        labels = operator.labels
        assert labels.ids == tuple(seen)
        assert labels.texts == tuple(f"#{token}" for token in seen)
        assert labels.positions == tuple(range(len(seen)))
        assert (labels.position, labels.hidden) == (len(seen) - 1, True)
        assert labels.facts == facts
        assert labels.reader is model
    for operator in (recording.stretch(0, 2, normed=False), recording.module(1, "attention", normed=False)):
        assert operator.labels.facts == facts | {"normed": False}
        assert operator.labels.hidden
    alone = recording.module(1, "mlp").labels
    assert (alone.ids, alone.positions, alone.position) == ((seen[-1],), (len(seen) - 1,), len(seen) - 1)
    chosen = model.jacobian(ids).select([1, 4]).labels
    assert (chosen.ids, chosen.positions, chosen.position) == ((ids[1], ids[4]), (1, 4), len(ids) - 1)


def test_padding_has_no_labels(tiny_model):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    padded = model.jacobian(ids, length=len(ids) + 5)
    assert padded.input_shape[0] == len(ids) + 5
    assert padded.labels.ids == tuple(ids)
    assert padded.labels.position == len(ids) - 1
    assert padded.select(range(2, len(ids))).labels.ids == tuple(ids[2:])


def test_the_ordinary_jacobian_has_labels_and_no_dial(tiny_model):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    labels = model.jacobian(ids, policy="none", dial=models.Dial()).labels
    assert labels.facts == {"policy": "none", "dial": None, "span": None}
    assert labels.ids == tuple(ids)


def test_labels_cost_no_compilation(tiny_model):
    """Two prompts of one length: one program for both, though their labels differ."""
    model = tiny_model("llama-biases", "float32")
    a, b = (model.jacobian(ids) for ids in ([1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1]))
    assert a.labels != b.labels
    assert jax.tree.structure(a.bare) == jax.tree.structure(b.bare)


def test_a_recording_is_one_line(tiny_model):
    recording = tiny_model("llama-biases", "float64").record(prompt_ids("llama-biases"))
    assert repr(recording) == "Recording(29 tokens, 3 layers, width 32, float64)"
