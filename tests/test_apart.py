"""Layers that are apart, as they are on a GPU, give the map of layers in stacks; and no slice is left."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from conftest import FAMILIES
from flax import nnx
from jaxlin_models import Dial
from jaxlin_models.stacks import Apart, are_apart
from jaxlin_models.weights import to_huggingface
from test_dial import windowed_decoder
from test_offload import PASSES, assert_same, probes
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin import DetachedJacobian
from jaxlin.planning.abstract import Job, abstract
from jaxlin.prompts.model import Model

Load = Callable[[str], Model]

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
#: Float64 sums in another order.
ROUNDING = 1e-13


@pytest.fixture(scope="module")
def separate(tiny_model: Callable[[str, str], Model]) -> Load:
    """A tiny checkpoint by name, loaded as it would be for a GPU."""

    def load(name: str) -> Model:
        stacked = tiny_model(name, "float64")
        assert not are_apart(nnx.state(stacked.decoder.layers))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jaxlin_models.weights.keeps_apart", lambda: True)
            model = jaxlin.load(str(stacked.checkpoint.directory), dtype="float64")
            assert are_apart(nnx.state(model.decoder.layers))
        return model

    return cache(load)


@pytest.mark.parametrize(
    ("name", "dial"),
    [(FAMILIES[0], Dial(gate="recomputed")), (FAMILIES[1], Dial()), (FAMILIES[2], Dial("queries_keys"))],
)
def test_passes_are_those_of_stacks(tiny_model, separate: Load, name: str, dial: Dial):
    ids = prompt_ids(name)
    ours, expected = (
        model.jacobian(ids, dial=dial) for model in (separate(name), tiny_model(name, "float64"))
    )
    assert are_apart(ours.state.recorded)
    assert_same(ours, expected, ROUNDING)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: model.jacobian(IDS, policy="none"),
        lambda model: model.jacobian(IDS, policy="half", length=11),
        lambda model: model.record(IDS).stretch(1, 2),
        lambda model: model.record(IDS).module(1, "attention", normed=False),
        lambda model: model.record(IDS).module(2, "mlp"),
    ],
)
def test_parts_are_those_of_stacks(tiny_model, separate: Load, make: Callable[[Model], DetachedJacobian]):
    assert_same(make(separate(FAMILIES[0])), make(tiny_model(FAMILIES[0], "float64")), ROUNDING)


@pytest.mark.parametrize("name", FAMILIES[:2])
def test_shares_of_branches_are_those_of_stacks(tiny_model, separate: Load, name: str):
    found = []
    for model in (separate(name), tiny_model(name, "float64")):
        recording = model.record(prompt_ids(name))
        rows = jnp.asarray(np.random.default_rng(1).standard_normal((1, model.config.embed_dim)))
        of_tokens = recording.branch_tokens(rows)
        found.append(
            [*jax.tree.leaves(recording.branch_contributions(rows)), of_tokens.tokens, of_tokens.offset]
        )
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


def test_continuations_and_weights_are_those_of_stacks(tiny_model, separate: Load):
    ours, expected = separate(FAMILIES[0]), tiny_model(FAMILIES[0], "float64")
    assert ours.generate(IDS, 4, temperature=1.0) == expected.generate(IDS, 4, temperature=1.0)
    tensors, originals = (to_huggingface(m.decoder, m.checkpoint.hf_config) for m in (ours, expected))
    assert tensors.keys() == originals.keys()
    for name, original in originals.items():
        np.testing.assert_array_equal(tensors[name], original)


def test_no_layer_is_taken_from_a_stack(tiny_model, separate: Load):
    """What a GPU would copy: slices of weights inside a pass. A stack has them, or this test sees nothing."""
    ids = prompt_ids(FAMILIES[0])
    largest = max(model_size(separate(FAMILIES[0])))
    for model, expected in ((separate(FAMILIES[0]), False), (tiny_model(FAMILIES[0], "float64"), True)):
        operator = model.jacobian(ids)
        for run, probe in zip(PASSES, probes(operator), strict=True):
            text = run.lower(operator, probe).as_text()
            sliced = [
                line for line in text.splitlines() if "dynamic_slice" in line and result_size(line) >= largest
            ]
            assert bool(sliced) == expected


def test_room_for_results_is_taken_in_turn(monkeypatch: pytest.MonkeyPatch):
    """What a loop puts results into waits for its layer: the zeros of all layers at once are many."""
    monkeypatch.setattr("jaxlin_models.keeps_apart", lambda: True)
    job = Job(windowed_decoder().config, 256)
    operator = abstract(job, Dial("queries_keys", "recomputed", block=16)).operator
    assert are_apart(operator.state.weights["layers"])
    for run, shape in zip(PASSES, (operator.input_shape, operator.output_shape), strict=True):
        text = run.lower(operator, jax.ShapeDtypeStruct((1, *shape), operator.dtype)).as_text()
        begun = re.findall(r"broadcast_in_dim (%\S+), dims = \[\] .*-> tensor<16x1x\d+x4xf32>", text)
        assert len(begun) == 2  # of each layer's attention
        assert not any(name.startswith("%cst") for name in begun)


def model_size(model: Model) -> list[int]:
    """Numbers in each matrix of a layer."""
    leaves = jax.tree.leaves(nnx.state(model.decoder.layers))
    return [leaf.size for leaf in leaves if leaf.ndim > 1]


def result_size(line: str) -> int:
    """Numbers in the result of a line of StableHLO."""
    shape = line.rsplit("tensor<", 1)[1].split(">")[0].split("x")[:-1]
    return int(np.prod([int(size) for size in shape]))


def test_a_plan_for_a_gpu_has_the_programs_that_run(separate: Load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "keeps_apart", lambda: True)
    monkeypatch.setattr("jaxlin_models.keeps_apart", lambda: True)
    model = separate(FAMILIES[0])
    planned = abstract(Job(model.config, len(IDS), "float64"), Dial()).operator
    ours = model.jacobian(IDS)
    leaves, structure = jax.tree.flatten(ours.state)
    shapes, expected = jax.tree.flatten(planned.state)
    assert structure == expected
    assert [(a.shape, a.dtype) for a in leaves] == [(a.shape, a.dtype) for a in shapes]


def test_layers_apart_look_like_their_stack():
    stack = np.arange(24.0).reshape(3, 2, 4)
    apart = models.apart({"kernel": jnp.asarray(stack)})["kernel"]
    assert isinstance(apart, Apart)
    assert (apart.shape, apart.dtype, len(apart)) == (stack.shape, stack.dtype, 3)
    np.testing.assert_array_equal(np.asarray(apart), stack)
    np.testing.assert_array_equal(apart[1], stack[1])
