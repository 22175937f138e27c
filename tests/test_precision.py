"""Products by name: operands rounded as said, no less and no more, in both directions and in whole passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
import jaxlin_models as models
import ml_dtypes
import numpy as np
import pytest
from conftest import QUICK_TO_COMPILE
from flax import nnx
from jaxlin_models import PRECISIONS, Decoder, DecoderConfig, ModelError, RopeConfig, unit_roundoff
from jaxlin_models.bits import from_bits
from jaxlin_models.precision import contract
from numpy.typing import NDArray

ROUNDED = ("tf32", "bf16x3", "bfloat16")
#: (spec, a, b): a linear map with leading axes, scores of grouped queries, P·V.
SPECS = (
    ("...i,io->...o", (2, 5, 64), (64, 7)),
    ("tkgh,skh->kgts", (4, 2, 3, 64), (6, 2, 64)),
    ("kgts,bskh->kgtbh", (2, 3, 4, 60), (2, 60, 2, 5)),
)


def bfloat16(x: NDArray) -> NDArray:
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def tf32(x: NDArray) -> NDArray:
    """Nearest number with 10 bits of mantissa, ties to even, by integer arithmetic on the float32."""
    bits = x.view(np.uint32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)).view(np.float32)


def reference(spec: str, a: NDArray, b: NDArray, precision: str) -> NDArray[np.float64]:
    """The product of exactly rounded operands, computed in float64."""

    def exact(x: NDArray, y: NDArray) -> NDArray[np.float64]:
        return np.einsum(spec, x.astype(np.float64), y.astype(np.float64))

    if precision == "bf16x3":
        high, low = zip(*((bfloat16(x), bfloat16(x - bfloat16(x))) for x in (a, b)), strict=True)
        return exact(high[0], high[1]) + exact(high[0], low[1]) + exact(low[0], high[1])
    rounding = {"tf32": tf32, "bfloat16": bfloat16}.get(precision, lambda x: x)
    return exact(rounding(a), rounding(b))


def relative(value: NDArray, expected: NDArray) -> float:
    value, expected = np.asarray(value, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(value - expected) / np.linalg.norm(expected))


def operands(*shapes: tuple[int, ...]) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("precision", ["float32", *ROUNDED])
@pytest.mark.parametrize(("spec", "of_a", "of_b"), SPECS)
def test_product_and_transposes(spec: str, of_a: tuple, of_b: tuple, precision: str):
    """Each direction is a product of rounded operands: transposes round the cotangent, not the result."""
    a, b = operands(of_a, of_b)
    y, pull_back = jax.vjp(lambda a, b: contract(spec, a, b, precision), jnp.asarray(a), jnp.asarray(b))
    assert y.dtype == jnp.float32
    assert relative(y, reference(spec, a, b, precision)) < 1e-6
    if precision != "float32":  # and it was rounded: far from the unrounded product
        error = relative(y, reference(spec, a, b, "float32"))
        assert unit_roundoff(precision) / 8 < error < 2 * unit_roundoff(precision)
    g = operands(y.shape)[0]
    of_a, of_b, of_result = spec.replace("->", ",").split(",")
    in_a, in_b = pull_back(jnp.asarray(g))
    assert relative(in_a, reference(f"{of_result},{of_b}->{of_a}", g, b, precision)) < 1e-6
    by_letter = f"{of_a},{of_result}->{of_b}"
    if "..." in spec:  # numpy sums no ellipsis away
        by_letter = by_letter.replace("...", "xy")
    assert relative(in_b, reference(by_letter, a, g, precision)) < 1e-6
    transposed = jax.linear_transpose(lambda a: contract(spec, a, jnp.asarray(b), precision), a)(g)[0]
    np.testing.assert_array_equal(transposed, in_a)


@pytest.mark.parametrize("precision", ROUNDED)
def test_product_under_vmap_and_jvp(precision: str):
    """What policy none and other people's functions need."""
    a, b, da, db = operands((4, 3, 8), (8, 5), (4, 3, 8), (8, 5))

    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        return contract("ni,io->no", jnp.asarray(a), jnp.asarray(b), precision)

    expected = np.stack([reference("ni,io->no", row, b, precision) for row in a])
    assert relative(jax.vmap(multiply, (0, None))(a, b), expected) < 1e-6
    assert relative(jax.vmap(multiply, (1, None), 1)(a.swapaxes(0, 1), b), expected.swapaxes(0, 1)) < 1e-6
    both = jax.vmap(multiply)(a, np.stack([b, b, db, db]))
    expected = np.stack(
        [reference("ni,io->no", x, y, precision) for x, y in zip(a, (b, b, db, db), strict=True)]
    )
    assert relative(both, expected) < 1e-6
    tangent = jax.jvp(multiply, (a[0], b), (da[0], db))[1]
    expected = reference("ni,io->no", da[0], b, precision) + reference("ni,io->no", a[0], db, precision)
    assert relative(tangent, expected) < 1e-6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_unit_roundoff_bounds_every_product_and_is_reached(precision: str):
    """Of single numbers in [1, 2): relative error at most 2u, and within a factor of it."""
    rng = np.random.default_rng(3)
    wide = np.longdouble if precision == "float64" else np.float64
    a, b = rng.uniform(1, 2, (2, 100_000)).astype("float64" if precision == "float64" else "float32")
    exact = a.astype(wide) * b.astype(wide)
    product = contract("ni,ni->n", jnp.asarray(a)[:, None], jnp.asarray(b)[:, None], precision)
    error = np.abs(np.asarray(product).astype(wide) - exact)
    worst = float((error / exact).max()) / unit_roundoff(precision)
    # A product in storage's own precision is rounded once, at its end; the others' operands before.
    assert 0.9 < worst < 2.0 + 1e-3


@pytest.mark.parametrize("precision", ["float32", *ROUNDED])
def test_accelerators_are_asked_for_the_algorithm_by_name(precision: str):
    """Lowered for a GPU (none is needed): nothing there is TF32 that is not called so."""
    a, b = operands((5, 64), (64, 7))
    program = jax.jit(lambda a, b: contract("ni,io->no", a, b, precision)).trace(a, b)
    text = program.lower(lowering_platforms=("cuda",)).as_text()
    expected = {
        "float32": "precision = [HIGHEST, HIGHEST]",
        "tf32": "lhs_precision_type = tf32, rhs_precision_type = tf32, accumulation_type = f32",
        "bf16x3": "num_primitive_operations = 3",
        "bfloat16": "lhs_precision_type = bf16, rhs_precision_type = bf16, accumulation_type = f32",
    }
    used = [name for name, words in expected.items() if words in text]
    assert used == [precision] if precision != "bf16x3" else used == ["bf16x3", "bfloat16"]
    assert "reduce_precision" not in text


def test_words_for_result_files():
    assert models.algorithm("float32", "cpu") == models.algorithm("float32", "gpu")
    assert models.algorithm("tf32", "gpu") == "tf32 products, float32 sums"
    assert (
        models.algorithm("tf32", "cpu")
        == "tf32 products, float32 sums (emulated on cpu by rounding operands)"
    )


# --- a whole decoder ---


def config() -> DecoderConfig:
    rope = RopeConfig(1e4)
    return DecoderConfig(
        family="llama", vocab_size=40, embed_dim=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
        mlp_dim=48, max_positions=64, norm_eps=1e-6, activation="silu", rope_full=rope, rope_sliding=rope,
        layer_types=("full", "sliding"), sliding_window=5, query_scale=0.35, embed_scale=4.0,
    )  # fmt: skip


def weights() -> nnx.State:
    """bfloat16 numbers, so that every storage dtype holds the same model."""
    shapes = nnx.state(nnx.eval_shape(lambda: Decoder(config(), rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(11)

    def draw(leaf: jax.ShapeDtypeStruct) -> NDArray:
        scale = 1.0 if len(leaf.shape) < 3 else 0.3
        return bfloat16(scale * rng.standard_normal(leaf.shape))

    return jax.tree.map(draw, shapes)


def decoder(dtype: str, precision: str | None) -> Decoder:
    made = nnx.eval_shape(
        lambda: Decoder(config(), rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype), precision=precision)
    )
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), weights())
    return nnx.merge(nnx.split(made)[0], state)


Passes = tuple[Decoder, NDArray, NDArray, NDArray, float]


@pytest.fixture(scope="module")
def passes() -> Callable[[str, str | None], Passes]:
    """(decoder, y, J·v, Jᵀ·u, adjoint error) at a precision, with the lean dial."""
    rng = np.random.default_rng(5)
    v, u = bfloat16(rng.standard_normal((2, 13, 32))), bfloat16(rng.standard_normal((2, 32)))
    dial = models.Dial(attention="queries_keys", gate="recomputed", block=4)

    def run(dtype: str, precision: str | None) -> Passes:
        made = decoder(dtype, precision)
        graphdef, state = nnx.split(made)

        @partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
        def both(state: nnx.State, x: jax.Array, v: jax.Array, u: jax.Array):
            d = nnx.merge(graphdef, state)
            y, recorded = models.record(d, x, -1, dial)
            return y, models.replay(d, recorded, v, -1), models.replay_transpose(d, recorded, u, 13, -1)

        x = made.embed(jnp.arange(13))
        y, jv, jtu = both(state, x, *(jnp.asarray(a, made.working_dtype) for a in (v, u)))
        assert {a.dtype for a in (x, y, jv, jtu)} == {made.working_dtype}
        y, jv, jtu = (np.asarray(a, np.float64) for a in (y, jv, jtu))
        forward, backward = (jv * u).sum(-1), (v * jtu).sum((-1, -2))
        size = np.linalg.norm(jv, axis=-1) * np.linalg.norm(u, axis=-1)
        return made, y, jv, jtu, float((np.abs(forward - backward) / size).max())

    return cache(run)


def test_errors_of_whole_passes_follow_the_precision(passes: Callable[[str, str | None], Passes]):
    """J·v and Jᵀ·u against float64: within a factor of the roundoff, and no better than it."""
    _, _, *exact, adjoint = passes("float64", None)
    assert adjoint < 1e-13
    for precision in ("float32", *ROUNDED):
        _, _, *values, adjoint = passes("float32", precision)
        u = unit_roundoff(precision)
        assert adjoint < 4 * u
        for value, expected in zip(values, exact, strict=True):
            assert u / 8 < relative(value, expected) < 16 * u


def test_bfloat16_storage_costs_accuracy_but_no_adjointness(passes: Callable[[str, str | None], Passes]):
    """Coefficients are rounded once, when they are recorded; both passes then compute in float32."""
    _, _, *exact, _ = passes("float64", None)
    narrow, _, *values, adjoint = passes("bfloat16", "float32")
    assert (narrow.dtype, narrow.working_dtype) == (jnp.bfloat16, jnp.float32)
    assert adjoint < 4 * unit_roundoff("float32")
    for value, expected in zip(values, exact, strict=True):
        assert unit_roundoff("bfloat16") / 16 < relative(value, expected) < 4 * unit_roundoff("bfloat16")
    recorded = jax.eval_shape(
        lambda x: from_bits(models.record(narrow, x, -1)[1]), narrow.embed(jnp.arange(3))
    )
    kinds = {name: leaf.dtype for name, leaf in recorded["layers"].items()}
    assert kinds.pop("attention.probabilities") == kinds.pop("mlp.gate") == jnp.bfloat16
    assert set(kinds.values()) == {jnp.dtype("float32")}  # norm statistics


def test_working_dtype_is_bfloat16_where_nothing_is_wider(passes: Callable[[str, str | None], Passes]):
    _, _, *exact, _ = passes("float64", None)
    made, _, *values, _ = passes("bfloat16", None)
    assert made.working_dtype == jnp.bfloat16
    for value, expected in zip(values, exact, strict=True):
        assert relative(value, expected) < 16 * unit_roundoff("bfloat16")


@pytest.mark.parametrize(
    ("dtype", "precision", "advice"),
    [
        ("float64", "float32", "float64 are multiplied in float64, not float32: choose precision float64"),
        ("float32", "float64", "float64 products need weights stored in float64, not float32: choose dtype"),
        ("bfloat16", "float64", "float64 products need weights stored in float64, not bfloat16"),
        ("float32", "fp8", "unknown precision 'fp8': choose one of float32, tf32, bf16x3, bfloat16, float64"),
        ("float16", None, "weights cannot be stored as float16: choose one of float32, bfloat16, float64"),
    ],
)
def test_combination_that_is_none_says_what_to_choose(dtype: str, precision: str | None, advice: str):
    with pytest.raises(ModelError, match=advice):
        Decoder(config(), rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype), precision=precision)


def test_float64_needs_x64():
    with jax.enable_x64(False), pytest.raises(ModelError, match="set jax_enable_x64"):
        models.choose_precision("float64")


def test_precision_is_part_of_the_program():
    """Two decoders that differ in it alone never share a compilation."""
    float32, tf32 = (nnx.split(decoder("float32", precision))[0] for precision in ("float32", "tf32"))
    assert float32 != tf32
    assert hash(float32) != hash(tf32)
