"""Freezing: what is linear, what is a coefficient, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import nnx
from jax.lax import stop_gradient as stop
from networks import weights

import jaxlin

_W = weights(9, 6, 6)


def point(*shape: int, seed: int = 3) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


Case = tuple[Callable[..., Any], tuple[int, ...]]


def checked(cases: dict[str, Case]) -> dict[str, Any]:
    """J of every network, once f = J·x + c holds to rounding and the values are those of f to the bit.

    All in one program, because it takes longer to compile them one by one than to run them.
    """
    points = {name: point(*shape) for name, (_, shape) in cases.items()}

    @jax.jit
    def maps(points: dict[str, Any]) -> dict[str, Any]:
        made = {}
        for name, (f, _) in cases.items():
            frozen, x = jaxlin.freeze(f), points[name]
            value, pull = jax.vjp(frozen, x)
            rows = jax.vmap(pull)(jnp.eye(value.size).reshape(-1, *value.shape))[0]
            made[name] = rows.reshape(*value.shape, *x.shape), frozen.offset(x), value, f(x)
        return made

    jacobians = {}
    for name, (jacobian, c, value, y) in maps(points).items():
        np.testing.assert_array_equal(value, y, name)
        rebuilt = jacobian.reshape(*y.shape, -1) @ points[name].ravel() + c
        size = np.abs(y).max() + np.abs(c).max() + 1e-3
        np.testing.assert_allclose(rebuilt, y, rtol=0, atol=1e-13 * size, err_msg=name)
        jacobians[name] = jacobian
    return jacobians


def same(found: Any, expected: Any, name: str = "") -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13, err_msg=name)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(jax.nn, name) for name in (
        "relu", "gelu", "silu", "elu", "selu", "celu", "leaky_relu", "soft_sign", "mish", "hard_swish")},
    "exact gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "tanh": jnp.tanh,
    "sine": jnp.sin,
    "squared relu": lambda x: jnp.square(jax.nn.relu(x)),
    "softplus − log 2": lambda x: jax.nn.softplus(x) - jnp.log(2.0),
    "elu by hand": lambda x: jnp.where(x > 0, x, jnp.exp(x) - 1),
    "silu by hand": lambda x: x / (1 + jnp.exp(-x)),
    "relu by hand": lambda x: x * (x > 0),
    "tanh of an affine": lambda x: jnp.tanh(3 * x + 1),
    "two in a row": lambda x: jax.nn.hard_swish(jax.nn.leaky_relu(x)),
}  # fmt: skip


def test_activations_are_their_quotients():
    """Against W·diag(act(h) / h)·V, written in numpy; of an affine argument the quotient is to that."""
    v, w = weights(0, 6, 9), weights(1, 9, 3)
    cases = {name: (lambda x, act=act: act(x @ v) @ w + 1, (6,)) for name, act in ACTIVATIONS.items()}
    h = np.asarray(point(6) @ v)
    for name, jacobian in checked(cases).items():
        affine = 3 * np.tanh(3 * h + 1) / (3 * h + 1)
        slopes = affine if "affine" in name else np.asarray(ACTIVATIONS[name](h)) / h
        same(jacobian, (v * slopes @ w).T, name)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["relu", "gelu", "layer norm", "attention"])
def test_random_networks_are_rebuilt_from_their_maps(kind: str, seed: int):
    """J·x + c = f(x), and what the features contribute sums to f(x) − c, against maps detached by hand."""
    x = point(5, 6, seed=seed)
    if kind == "relu":
        f = networks.mlp(jax.nn.relu, seed)
        result = jaxlin.contributions(f, x)
        expected = jax.vmap(jax.jacrev(f))(x)
    elif kind == "gelu":
        result = jaxlin.contributions(networks.mlp(jax.nn.gelu, seed), x)
        expected = jax.vmap(jax.jacrev(networks.mlp(lambda h: stop(jax.nn.gelu(h) / h) * h, seed)))(x)
    elif kind == "layer norm":
        result = jaxlin.contributions(networks.mlp(networks.layer_norm, seed), x)
        expected = jax.vmap(jax.jacrev(networks.mlp(lambda h: networks.layer_norm(h, stop), seed)))(x)
    else:
        result = jaxlin.contributions(networks.attention(seed), x[None])
        expected = jax.jacrev(networks.attention(seed, frozen=stop))(x)[None]
    np.testing.assert_allclose(result.J, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(result.contributions.sum(-1), result.y - result.offset, rtol=1e-10, atol=1e-12)
    assert result.holds


LINEAR: dict[str, Case] = {
    "convolutions and pooling": (networks.convolutional(), (8, 8, 3)),
    "a maximum over an axis": (lambda x: x.max(0) @ _W + jnp.median(x, axis=1)[0], (5, 6)),
    "a maximum of some": (lambda x: jnp.where(np.arange(5)[:, None] < 3, x, -jnp.inf).max(0) @ _W, (5, 6)),
    "sorted": (lambda x: jnp.sort(x)[::-1] @ _W + jax.lax.top_k(x, 2)[0].sum(), (6,)),
    "moved about": (lambda x: jnp.roll(x, 2) + jnp.pad(x, 1)[2:] + jnp.zeros(6).at[2].set(x[1]), (6,)),
    "clipped": (lambda x: jnp.clip(x @ _W, -0.5, 1.0) + jax.nn.relu6(x) + jnp.abs(x), (6,)),
    "the maximum of two": (lambda x: jnp.maximum(x @ _W, x @ _W.T), (6,)),
    "fourier": (lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * weights(1, 4), 6), (6,)),
}


def test_piecewise_linear_networks_have_their_own_derivative():
    for name, jacobian in checked(LINEAR).items():
        f, shape = LINEAR[name]
        same(jacobian, jax.jit(jax.jacfwd(f))(point(*shape)), name)


OTHERS: dict[str, Case] = {
    "recurrent": (networks.recurrent, (7, 3)),
    "branching": (networks.branching, (6,)),
    "u-shaped": (networks.u_shaped, (12,)),
    "flash attention": (networks.flash_attention, (5, 6)),
    "rematerialised": (jax.checkpoint(networks.mlp(jax.nn.gelu)), (6,)),
    "with a derivative of its own": (networks.relu_with_a_derivative_of_its_own, (6,)),
    "mapped": (lambda x: jax.lax.map(jax.nn.silu, x) + jax.lax.associative_scan(jnp.add, x) + 1, (4, 3)),
    "a loop in a coefficient": (
        lambda x: x * jax.lax.while_loop(lambda c: c > 1, lambda c: c / 2, (x**2).sum()), (6,)),
    "norms": (lambda x: x * (x**2).mean() ** -0.5 + (x - x.mean()) / (x.std() + 1e-6), (6,)),
    "linear attention": (lambda x: jax.nn.relu(x) @ (jax.nn.relu(x @ _W).T @ (x @ _W.T)), (6, 6)),
    "gates": (lambda x: jax.nn.silu(x @ _W) * (x @ _W.T) + jax.nn.sigmoid(x) * jnp.tanh(x @ _W), (6,)),
    "nothing": (lambda x: x, (6,)),
    "a constant": (lambda x: jnp.ones(2), (6,)),
    "a number": (lambda x: jnp.sum(x), (2, 3)),
}  # fmt: skip


def test_other_networks():
    """Where a loop or an attention can be detached by hand in another form, against that."""
    jacobians = checked(OTHERS)
    q, k, v = (weights(i, 6, 6) for i in range(3))
    x = point(5, 6)
    expected = jax.jacrev(lambda x: stop(jax.nn.softmax((x @ q) @ (x @ k).T)) @ (x @ v))(x)
    same(jacobians["flash attention"], expected)
    x = point(6)
    relu = networks.relu_with_a_derivative_of_its_own
    same(jacobians["with a derivative of its own"], (_W * (np.asarray(relu(x)) > 0)).T)
    gates = stop(jax.nn.silu(x @ _W)), stop(jax.nn.sigmoid(x)), stop(jnp.tanh(x @ _W) / (x @ _W))
    same(jacobians["gates"], jax.jacrev(lambda x: gates[0] * (x @ _W.T) + gates[1] * gates[2] * (x @ _W))(x))


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "a sigmoid at the end": (lambda x: jax.nn.sigmoid(x @ _W), "no linear part: `logistic` at .*networks.py"),
    "probabilities": (lambda x: jax.nn.softmax(x @ _W), "no linear part: `div`"),
    "a sigmoid on the path": (
        lambda x: x + jax.nn.sigmoid(x), r"`add` .*float64\[6, 6\], adds a nonlinear.*logistic"),
    "log probabilities": (lambda x: jax.nn.log_softmax(x), "`sub` .* adds a nonlinear function"),
    "a product": (lambda x: (x @ _W) * x, r"`mul` .* multiplies two linear functions .*stop_gradient"),
    "attention without a softmax": (lambda x: (x @ x.T) @ x, "`dot_general` .* multiplies two"),
    "a square": (lambda x: x**2, "`(square|integer_pow)` .* multiplies two"),
    "a cube beside it": (lambda x: x + x**3, "`integer_pow` .* multiplies two"),
    "two activations": (lambda x: jax.nn.relu(x @ _W) * jnp.tanh(x), "`mul` .* multiplies two"),
    "a cosine": (lambda x: jnp.cos(x) @ _W, "no linear part: `cos`"),
    "a product of all": (lambda x: jnp.cumprod(x), "`cumprod` .* has no rule .*'cumprod': 'linear'"),
    "a callback": (
        lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((6, 6), x.dtype), x), "`pure_callback`"),
    "a loop of unknown length": (
        lambda x: jax.lax.while_loop(lambda c: (c**2).sum() > 1, lambda c: c / 2, x), "`while` .* length"),
    "a number that counts": (lambda x: jnp.argmax(x), "`argmax` .* has no derivative"),
    "two outputs": (lambda x: (x, x), "returns tuple and not one array"),
    "a complex output": (lambda x: jnp.fft.fft(x), "the output is complex"),
    "what is frozen alone": (lambda x: stop(jnp.sin(x)), "`stop_gradient` .* frozen by whoever wrote it"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name: str):
    f, words = REFUSED[name]
    with pytest.raises(jaxlin.JaxlinError, match=words):
        jaxlin.freeze(f)(point(6, 6))


def test_numbers_that_choose_rows_are_refused():
    with pytest.raises(jaxlin.JaxlinError, match="the input is int64"):
        jaxlin.freeze(lambda x: jnp.asarray(_W)[x])(jnp.arange(3))


def test_a_rule_can_be_given_for_what_has_none():
    def f(x: Any) -> Any:
        return jax.lax.reduce(x, 0.0, lambda a, b: a + b / 1, (0,))

    def scaled(x: Any) -> Any:
        return x * jnp.linalg.eigvalsh(jnp.outer(x, x) + jnp.eye(6))[-1]

    with pytest.raises(jaxlin.JaxlinError, match=r"`mul` .*|`eigh` .* no rule"):
        jaxlin.freeze(scaled)(point(6))
    frozen = jaxlin.freeze(scaled, rules={"eigh": "coefficient"})
    x = point(6)
    np.testing.assert_allclose(jax.jacfwd(frozen)(x) @ x, scaled(x), rtol=1e-12)
    with pytest.raises(jaxlin.JaxlinError, match="'tanh' has a rule of its own"):
        jaxlin.freeze(f, rules={"tanh": "linear"})
    with pytest.raises(
        jaxlin.JaxlinError, match="unknown rule 'line' for 'eigh': choose one of linear, coefficient"
    ):
        jaxlin.freeze(f, rules={"eigh": "line"})


def test_freezing_goes_through_jit_and_vmap_and_takes_parameters():
    x = point(4, 6)
    frozen = jaxlin.freeze(lambda x, w: jax.nn.gelu(x @ w["a"]) @ w["b"])
    w = {"a": jnp.asarray(weights(0, 6, 5)), "b": jnp.asarray(weights(1, 5, 2))}
    one = jnp.stack([jax.jacrev(frozen)(row, w) for row in x])
    many = jax.jit(jax.vmap(jax.jacfwd(frozen), in_axes=(0, None)))(x, w)
    np.testing.assert_allclose(many, one, rtol=1e-12, atol=1e-15)
    z = point(6, seed=8)
    expected = one[0] @ z + frozen.offset(x[0], w)
    np.testing.assert_allclose(frozen.affine(x[0], z, w), expected, rtol=1e-12)


class Nnx(nnx.Module):
    def __init__(self) -> None:
        rngs, kind = nnx.Rngs(0), jnp.float64
        self.first = nnx.Linear(6, 8, rngs=rngs, param_dtype=kind)
        self.last = nnx.Linear(8, 3, rngs=rngs, param_dtype=kind)
        self.norm, self.drop = nnx.BatchNorm(8, rngs=rngs, param_dtype=kind), nnx.Dropout(0.5, rngs=rngs)
        self.first.bias = nnx.Param(jnp.asarray(weights(3, 8)))
        self.norm.mean = nnx.BatchStat(jnp.asarray(weights(4, 8)))
        self.norm.var = nnx.BatchStat(jnp.asarray(weights(5, 8) ** 2 + 1))

    def __call__(self, x: Any) -> Any:
        h = self.drop(jax.nn.gelu(self.norm(self.first(x)), approximate=False))
        return self.last(h)


def test_modules_of_all_libraries_are_the_same_network():
    """NNX, Equinox, PyTorch and a plain function, with the same weights."""
    module = Nnx()
    module.eval()
    v, a, w, b = (
        np.asarray(weight[...])
        for weight in (module.first.kernel, module.first.bias, module.last.kernel, module.last.bias)
    )
    mean, variance = np.asarray(module.norm.mean[...]), np.asarray(module.norm.var[...])
    scale = 1 / np.sqrt(variance + module.norm.epsilon)
    x = np.asarray(point(4, 6))

    def plain(x: Any) -> Any:
        return jax.nn.gelu((x @ v + a - mean) * scale, approximate=False) @ w + b

    def of_equinox() -> Any:
        first, last = (eqx.nn.Linear(m, n, key=jax.random.key(0)) for m, n in ((6, 8), (8, 3)))
        first = eqx.tree_at(lambda m: (m.weight, m.bias), first, (v.T, a))
        last = eqx.tree_at(lambda m: (m.weight, m.bias), last, (w.T, b))
        act = eqx.nn.Lambda(lambda h: jax.nn.gelu((h - mean) * scale, approximate=False))
        return eqx.nn.Sequential([first, act, eqx.nn.Dropout(0.5, inference=True), last])

    expected = jaxlin.contributions(plain, x)
    found = [jaxlin.contributions(module, x), jaxlin.contributions(of_equinox(), x)]
    found.append(jaxlin.contributions(module, x, batched=True))
    torch = pytest.importorskip("torch")
    norm = torch.nn.BatchNorm1d(8, eps=module.norm.epsilon)
    twin = torch.nn.Sequential(
        torch.nn.Linear(6, 8), norm, torch.nn.GELU(), torch.nn.Dropout(), torch.nn.Linear(8, 3)
    ).double()
    for place, values in zip(
        (twin[0].weight, twin[0].bias, twin[4].weight, twin[4].bias, norm.running_mean, norm.running_var),
        (v.T, a, w.T, b, mean, variance), strict=True,
    ):  # fmt: skip
        place.data[...] = torch.tensor(values)
    found.append(jaxlin.contributions(twin.eval(), x, batched=True))
    for result in found:
        assert result.holds
        for name in ("y", "J", "offset"):
            np.testing.assert_allclose(getattr(result, name), getattr(expected, name), rtol=1e-9, atol=1e-12)


def test_weights_are_those_at_the_call():
    module = nnx.Linear(6, 2, rngs=nnx.Rngs(0))
    frozen, x = jaxlin.freeze(module), jnp.ones(6)
    before = frozen(x)
    module.bias = nnx.Param(module.bias[...] + 1)
    np.testing.assert_allclose(frozen(x), before + 1, rtol=1e-6)


def test_modules_in_training_mode_are_refused():
    module = Nnx()
    for given, words in (
        (module, r"(norm \(BatchNorm\)|drop \(Dropout\)) is in training mode .* call `eval\(\)`"),
        (eqx.nn.Sequential([eqx.nn.Dropout(0.5)]), r"a Dropout .* equinox.nn.inference_mode"),
        (3, "a int cannot be called"),
    ):
        with pytest.raises(jaxlin.JaxlinError, match=words):
            jaxlin.freeze(given)


def torch_distances(torch: Any) -> Any:
    """A module with an operation that nobody has translated."""

    class Distances(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return torch.cdist(x, x)

    return Distances()


def test_torch_modules_of_many_parts():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    cases = [
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"), (2, 5, 8)),
        (nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.SiLU(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(150, 2),
        ), (2, 3, 8, 8)),
        (nn.Sequential(
            nn.Linear(4, 8), nn.Tanh(), nn.ELU(), nn.LeakyReLU(), nn.Hardswish(), nn.PReLU(), nn.Mish(),
            nn.GELU(approximate="tanh"), nn.CELU(), nn.GLU(), nn.GroupNorm(2, 4), nn.RMSNorm(4),
        ), (2, 4)),
    ]  # fmt: skip
    for module, shape in cases:
        x = torch.randn(shape, dtype=torch.float64)
        module = module.double().eval()
        result = jaxlin.contributions(module, x.numpy(), batched=True)
        assert result.holds
        np.testing.assert_allclose(result.y, module(x).detach().numpy(), rtol=1e-10, atol=1e-12)
    with pytest.raises(jaxlin.JaxlinError, match=r"1 \(BatchNorm2d\) is in training mode"):
        jaxlin.freeze(cases[1][0].train())
    with pytest.raises(jaxlin.JaxlinError, match=r"operation aten.* of PyTorch .* has no translation"):
        jaxlin.freeze(torch_distances(torch))(jnp.ones((2, 3)))
    with pytest.raises(jaxlin.JaxlinError, match=r"logistic.*aten.sigmoid.default of PyTorch"):
        jaxlin.freeze(nn.Sigmoid())(jnp.ones((2, 3)))
    with pytest.raises(
        jaxlin.JaxlinError, match=r"points are float32 and the weights of the module are float64"
    ):
        jaxlin.freeze(nn.Linear(3, 2).double())(jnp.ones(3, jnp.float32))
