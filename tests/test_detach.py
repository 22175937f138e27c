"""Detachment changes derivatives and nothing else; replay is the detached derivative and nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from conftest import FAMILIES
from flax import nnx
from jaxlin_models.detach import DETACHED, DETACHED_GATE, HALF, NONE, Detached, FreezePolicy, Plain
from jaxlin_models.modules import ACTIVATIONS, QUOTIENTS
from numpy.typing import NDArray
from tiny_checkpoints import prompt_ids

from jaxlin import load
from jaxlin.prompts.model import Model

TinyModel = Callable[[str, str], Model]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Model:
    return tiny_model(request.param, "float64")


def embeddings(model: Model) -> jax.Array:
    return model.decoder.embed(jnp.asarray(prompt_ids_of(model)))


def prompt_ids_of(model: Model) -> list[int]:
    return prompt_ids(next(name for name in FAMILIES if name.startswith(model.checkpoint.config.family)))


def jacobian(model: Model, mode: Plain) -> NDArray[np.float64]:
    """Dense derivative of the last hidden state by reverse mode, [d, T, d]."""
    return np.asarray(jax.jit(jax.jacrev(lambda x: model.decoder(x, mode)[-1]))(embeddings(model)))


def relative(value: NDArray, reference: NDArray) -> float:
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_forward_is_bit_identical_detached_and_not(tiny_model: TinyModel, name: str, dtype: str):
    decoder = tiny_model(name, dtype).decoder
    x = decoder.embed(jnp.asarray(prompt_ids(name)))
    plain, detached = (
        nnx.jit(lambda d, x, mode=mode: d(x, mode))(decoder, x) for mode in (Plain(), Detached(DETACHED))
    )
    assert np.array_equal(plain, detached)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *((name, DETACHED) for name in FAMILIES),
        ("llama-biases", DETACHED_GATE),
        ("gemma3-text", DETACHED_GATE),
        ("llama-biases", HALF),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_replay_is_the_derivative_of_the_detached_pass(
    tiny_model: TinyModel, name: str, policy: FreezePolicy
):
    model = tiny_model(name, "float64")
    x = embeddings(model)
    operator = model.jacobian(prompt_ids_of(model), policy=policy.name)
    expected = jacobian(model, Detached(policy))
    assert relative(operator.dense(), expected) < 1e-13
    columns = operator.matmat(jnp.eye(x.size, dtype=x.dtype)[:64].reshape(-1, *x.shape))
    assert relative(columns.T, expected.reshape(len(expected), -1)[:, :64]) < 1e-13
    y = np.asarray(model.decoder(x)[-1])
    assert relative(np.einsum("dte,te->d", expected, x) + operator.offset, y) < 1e-13
    assert relative(operator.y, y) < 1e-13


def test_policies_differ(tiny_model: TinyModel):
    """Three maps that give back the same y; half is the mean of the others at one layer and not at three."""
    model = tiny_model("llama-biases", "float64")
    up, gate, half = (jacobian(model, Detached(policy)) for policy in (DETACHED, DETACHED_GATE, HALF))
    assert min(relative(up, gate), relative(up, half), relative(gate, half)) > 0.01


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_quotients_belong_to_their_activations(name: str):
    x = jnp.asarray([-30.0, -2.0, -1e-9, 0.0, 1e-9, 0.7, 30.0])
    np.testing.assert_allclose(x * QUOTIENTS[name](x), ACTIVATIONS[name](x), rtol=1e-14, atol=1e-30)


def test_policy_none_is_the_ordinary_jacobian(model: Model):
    ordinary = model.jacobian(prompt_ids_of(model), policy="none").dense()
    assert relative(ordinary, jacobian(model, Plain())) < 1e-13
    assert relative(ordinary, jacobian(model, Detached(NONE))) < 1e-13
    # The two maps really differ, or the test above would say nothing.
    assert relative(ordinary, jacobian(model, Detached(DETACHED))) > 0.1


@pytest.mark.parametrize(
    ("kind", "coefficient"),
    [(kind, name) for kind, names in DETACHED.rules.items() for name in sorted(names)],
)
def test_every_coefficient_matters(tiny_model: TinyModel, kind: str, coefficient: str):
    """Thawing any single coefficient moves the Jacobian and breaks y = J·x + c."""
    model = tiny_model("llama-biases", "float64")
    rules = dict(DETACHED.rules) | {kind: DETACHED.rules[kind] - {coefficient}}
    x, c = embeddings(model), np.asarray(model.jacobian(prompt_ids_of(model)).offset)
    y = model.decoder(x)[-1]
    frozen = jacobian(model, Detached(DETACHED))
    thawed = jacobian(model, Detached(FreezePolicy("thawed", rules, linear=False)))
    assert relative(np.einsum("dte,te->d", frozen, x) + c, y) < 1e-13
    assert relative(np.einsum("dte,te->d", thawed, x) + c, y) > 1e-3


def test_unknown_module_kind_raises_before_anything_runs(model: Model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(model.decoder.final_norm), "kind", "layer_norm")
    monkeypatch.setattr(type(model.decoder), "embed", lambda *_: pytest.fail("the model ran"))
    with pytest.raises(models.UnknownModuleKind, match="'detached' has no rule for module kind layer_norm"):
        model.jacobian([1, 2, 3])


def test_module_without_a_kind_is_unknown(model: Model):
    class Strange(nnx.Module):
        pass

    decoder = nnx.merge(*nnx.split(model.decoder))
    decoder.extra = Strange()
    with pytest.raises(models.UnknownModuleKind, match="Strange"):
        load(decoder).jacobian([1, 2, 3])


@pytest.mark.parametrize(
    ("policy", "factors"), [("detached", ["gate"]), ("detached-gate", ["up"]), ("half", [])]
)
@pytest.mark.parametrize("name", FAMILIES)
def test_passes_touch_only_the_linear_path(tiny_model: TinyModel, name: str, policy: str, factors: list[str]):
    """NaN in every weight that acts through frozen coefficients alone leaves both passes as they were."""
    model = tiny_model(name, "float64")
    operator = model.jacobian(prompt_ids_of(model), policy=policy)
    weights = operator.state.weights
    frozen = ("query", "key", *factors, "query_norm", "key_norm", "embedding", "head")
    flat = nnx.to_flat_state(weights)
    poisoned = [
        (path, leaf.replace(jnp.full_like(leaf[...], jnp.nan)) if set(path) & set(frozen) else leaf)
        for path, leaf in flat
    ]
    assert len(poisoned) == len(flat)
    blind = replace(operator, state=operator.state._replace(weights=nnx.from_flat_state(poisoned)))
    v = jax.random.normal(jax.random.key(0), operator.input_shape, operator.dtype)
    u = jax.random.normal(jax.random.key(1), operator.output_shape, operator.dtype)
    assert np.array_equal(blind.matvec(v), operator.matvec(v))
    assert np.array_equal(blind.rmatvec(u), operator.rmatvec(u))
