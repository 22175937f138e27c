"""Every setting of the memory dial is the same linear map; queries and keys never become anything T × T."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from conftest import FAMILIES, QUICK_TO_COMPILE
from flax import nnx
from jaxlin_models import Decoder, DecoderConfig, Dial, ModelError, RopeConfig, blockwise, positions
from jaxlin_models.cuts import Cut
from tiny_checkpoints import prompt_ids

from jaxlin import load
from jaxlin.prompts.model import Model

TinyModel = Callable[[str, str], Model]
#: What the families of the other tests have not: capped scores; no norm before the MLP; fused, partly turned.
NEWER = ("gemma2", "olmo2-attention-bias", "phi3-longrope-long")
#: Blocks that divide the prompt's 29 positions and that do not; narrower and wider than the windows (7, 8).
DIALS = (
    Dial(gate="recomputed"),
    Dial(attention="queries_keys", block=10),
    Dial(attention="queries_keys", gate="recomputed", block=3),
)


@partial(jax.jit, static_argnames=("graphdef", "dial", "policy"), compiler_options=QUICK_TO_COMPILE)
def passes(graphdef, weights, x, v, u, *, dial: Dial, policy: str = "detached"):
    """(y, J·v + c, Jᵀ·u) with coefficients recorded so."""
    decoder = nnx.merge(graphdef, weights)
    y, recorded = models.record(decoder, x, -1, dial, models.POLICIES[policy])
    return (
        y,
        models.replay(decoder, recorded, v, -1, biases=True),
        models.replay_transpose(decoder, recorded, u, len(x), -1),
    )


def probes(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(5)
    shapes = (3, *x.shape), (3, x.shape[-1])
    v, u = (jnp.asarray(rng.standard_normal(shape), x.dtype) for shape in shapes)
    return v, u


def differences(
    model: Model, name: str, dial: Dial, length: int | None = None, policy: str = "detached"
) -> list[float]:
    """Relative difference of each of ``passes`` from the default dial's."""
    x = model.decoder.embed(jnp.asarray(prompt_ids(name)[:length]))
    v, u = probes(x)
    expected, found = (
        passes(*nnx.split(model.decoder), x, v, u, dial=each, policy=policy) for each in (Dial(), dial)
    )
    return [relative(b, a) for a, b in zip(expected, found, strict=True)]


def relative(value: jax.Array, reference: jax.Array) -> float:
    a, b = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("name", "dials"), [(FAMILIES[0], DIALS), *((name, DIALS[2:]) for name in (*FAMILIES[1:], *NEWER))]
)
def test_every_setting_is_the_same_map(tiny_model: TinyModel, name: str, dials: tuple[Dial, ...]):
    for dial in dials:
        assert max(differences(tiny_model(name, "float64"), name, dial)) < 1e-13


@pytest.mark.parametrize("policy", ["detached-gate", "half"])
def test_recomputed_factors_of_the_other_policies(tiny_model: TinyModel, policy: str):
    name = "llama-biases"
    assert max(differences(tiny_model(name, "float64"), name, DIALS[0], policy=policy)) < 1e-13


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-6), ("bfloat16", 5e-2)])
def test_every_setting_is_the_same_map_to_rounding(tiny_model: TinyModel, dtype: str, tolerance: float):
    assert max(differences(tiny_model("llama-biases", dtype), "llama-biases", DIALS[2])) < tolerance


@pytest.mark.parametrize("policy", ["detached", "detached-gate", "half"])
@pytest.mark.parametrize("most", [7, 15])  # 29 positions: five parts with one over, two that overlap
def test_an_mlp_in_parts_is_the_same_map(tiny_model: TinyModel, policy: str, most: int):
    """Recorded, forwards with biases, and backwards."""
    name = "llama-biases"
    model = tiny_model(name, "float64")
    x = model.decoder.embed(jnp.asarray(prompt_ids(name)))
    v, u = probes(x)
    run = partial(passes.__wrapped__, *nnx.split(model.decoder), x, v, u, policy=policy)
    for dial in (Dial(), DIALS[0]):
        expected = run(dial=dial)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(positions, "POSITIONS_AT_ONCE", most)
            found = run(dial=dial)
        assert max(relative(b, a) for a, b in zip(expected, found, strict=True)) < 1e-13


def test_setting_that_is_none_is_named():
    for name, choices in (("attention", "probabilities or queries_keys"), ("gate", "stored or recomputed")):
        dial = Dial()
        object.__setattr__(dial, name, "flash")  # past the tests' own check of types
        with pytest.raises(ModelError, match=f"unknown {name} setting 'flash': choose {choices}"):
            dial.__post_init__()
    with pytest.raises(ModelError, match="a block of 0 positions"):
        Dial(block=0)


# --- blocks: neither too few nor too many ---


def visible(length: int, reach: int) -> np.ndarray:
    distance = np.arange(length)[:, None] - np.arange(length)
    return (distance >= 0) & (distance < reach)


@pytest.mark.parametrize("length", range(1, 14))
def test_loops_visit_exactly_the_blocks_with_something_visible(length: int):
    """Against the whole mask cut into blocks, for every window and block size, over both loops."""
    for reach, block in product(range(1, length + 3), range(1, length + 2)):
        cut = Cut.of(length, block)
        assert cut.size <= block
        assert cut.blocks == -(-length // block)
        loops_visit_what_is_visible(cut, reach)


@pytest.mark.parametrize("runs", [2, 3])
def test_loops_visit_exactly_the_blocks_of_every_device(runs: int):
    """The same where positions are in runs, each cut by itself."""
    for run, reach, block in product(range(1, 6), range(1, 3 * runs), range(1, 5)):
        cut = Cut.of(runs * run, block, runs)
        assert cut.blocks == runs * -(-run // block)
        loops_visit_what_is_visible(cut, reach)


def loops_visit_what_is_visible(cut: Cut, reach: int) -> None:
    length, numbers = cut.run * cut.runs, np.arange(cut.blocks)
    # One position in each place of each block; those without one are filled.
    places = np.asarray(cut.apart(1 + jnp.arange(length, dtype=float)[:, None]))[..., 0]
    assert np.asarray(cut.together(jnp.asarray(places)[None])).tolist() == [list(range(1, length + 1))]
    mask = np.zeros((length + 1, length + 1), bool)
    mask[1:, 1:] = visible(length, reach)
    taken = places.astype(int)
    wanted = mask[taken[:, None, :, None], taken[None, :, None, :]].any((2, 3))
    for found, bounds in (
        (wanted, cut.visible_key_blocks(numbers, reach)),
        (wanted.T, cut.seeing_query_blocks(numbers, reach)),
    ):
        first, last = (np.asarray(bound)[:, None] for bound in bounds)
        np.testing.assert_array_equal((first <= numbers) & (numbers < last), found)


@pytest.mark.parametrize(
    ("length", "reach", "block", "dtype", "softcap"),
    [
        (29, 3, 8, "float64", None),
        (29, 20, 7, "float64", 300.0),
        (32, 32, 8, "float32", None),
        (9, 4, 1, "float64", None),
        (5, 9, 64, "float64", None),
        (1, 1, 1, "float64", 2.0),
    ],
)
def test_blockwise_is_the_dense_product(
    length: int, reach: int, block: int, dtype: str, softcap: float | None
):
    """Both directions against P in numpy, with scores so large that an unshifted exp would overflow."""
    rng = np.random.default_rng(length + reach)
    q, k, v = (rng.standard_normal((length, *axes)) for axes in [(2, 3, 4), (2, 4), (5, 2, 4)])
    q, k, v = 60 * q, 60 * k, v.swapaxes(0, 1)
    scores = np.einsum("tkgh,skh->kgts", q, k) * 0.5
    scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
    scores = np.where(visible(length, reach), scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    settings = {"block": block, "scale": 0.5, "precision": dtype, "storage": jnp.dtype(dtype)}
    settings["softcap"] = softcap
    q, k, v = (jnp.asarray(a, dtype) for a in (q, k, v))
    frozen = jax.jit(partial(blockwise.freeze, **settings))(q, k, jnp.asarray(reach))
    mixed, gathered = jax.jit(lambda f, v: _both(f, v))(frozen, v)
    # Scores of size 1e4 lose 1e4 · roundoff before they are exponentiated.
    tolerance = 1e5 * float(jnp.finfo(dtype).eps)
    expected = np.einsum("kgts,bskh->btkgh", p, v)
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        gathered, np.einsum("kgts,btkgh->bskh", p, expected), rtol=0, atol=5 * tolerance
    )


def _both(frozen: blockwise.QueriesKeys, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    mixed = blockwise.mix(frozen, v)
    return mixed, jax.linear_transpose(partial(blockwise.mix, frozen), v)(mixed)[0]


# --- memory ---


def windowed_decoder() -> Decoder:
    """Shapes of two layers, one full and one sliding, so narrow that T × T stands out."""
    rope = RopeConfig(1e4)
    config = DecoderConfig(
        family="llama", vocab_size=16, embed_dim=8, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=4,
        mlp_dim=12, max_positions=4096, norm_eps=1e-6, activation="silu", rope_full=rope, rope_sliding=rope,
        layer_types=("full", "sliding"), sliding_window=20, query_scale=0.5,
    )  # fmt: skip
    return nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0), dtype=jnp.float32))


def largest(jaxpr) -> int:
    """Elements of the largest array that a program makes."""
    return max(math.prod(shape) for shape in made(jaxpr))


def made(jaxpr) -> Iterator[tuple[int, ...]]:
    """Shapes of all arrays that a program makes, loops and branches included."""
    yield from (variable.aval.shape for equation in jaxpr.eqns for variable in equation.outvars)
    for inner in inside(jaxpr):
        yield from made(inner)


def inside(jaxpr) -> Iterator:
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield inner


def test_nothing_of_queries_and_keys_is_as_large_as_a_score_matrix():
    decoder = windowed_decoder()
    x = jax.ShapeDtypeStruct((512, 8), jnp.float32)
    v, u = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((3, 512, 8), (3, 8)))

    def size(dial: Dial) -> int:
        program = jax.make_jaxpr(partial(passes.__wrapped__, dial=dial), static_argnums=0)
        return largest(program(*nnx.split(decoder), x, v, u).jaxpr)

    small = size(Dial(attention="queries_keys", gate="recomputed", block=16))
    assert small < 512 * 512 / 4
    assert size(Dial()) >= 2 * 512 * 512  # or the walk would see nothing


def test_an_mlp_never_holds_all_positions_of_a_long_prompt(monkeypatch: pytest.MonkeyPatch):
    """With gates computed again, nothing is as wide as the MLP at all positions; in whole passes that is."""
    decoder = windowed_decoder()
    x = jax.ShapeDtypeStruct((512, 8), jnp.float32)
    v, u = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 512, 8), (1, 8)))
    dial = Dial(attention="queries_keys", gate="recomputed", block=16)

    def shapes() -> set[tuple[int, ...]]:
        program = jax.make_jaxpr(partial(passes.__wrapped__, dial=dial), static_argnums=0)
        return set(made(program(*nnx.split(decoder), x, v, u).jaxpr))

    wide = {shape for shape in shapes() if shape[-2:] == (512, 12)}
    assert wide
    monkeypatch.setattr(positions, "POSITIONS_AT_ONCE", 64)
    assert not {shape for shape in shapes() if shape[-2:] == (512, 12)}


def test_coefficients_of_queries_and_keys_grow_linearly():
    graphdef, weights = nnx.split(windowed_decoder())

    def held(tokens: int, dial: Dial) -> int:
        x = jax.ShapeDtypeStruct((tokens, 8), jnp.float32)
        recorded = jax.eval_shape(
            lambda w, x: models.record(nnx.merge(graphdef, w), x, -1, dial)[1], weights, x
        )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(recorded))

    lean = Dial(attention="queries_keys", gate="recomputed", block=64)
    assert held(2048, lean) / held(1024, lean) == pytest.approx(2, rel=1e-3)
    assert held(2048, Dial()) / held(1024, Dial()) > 3.9
    # q, k and two norms' inputs are what is left: 4·(8 + 4 + 2 + 8 + 2) bytes a position and layer.
    assert held(1024, lean) == pytest.approx(1024 * 2 * 4 * (8 + 4 + 2 + 8 + 2), rel=1e-3)


def test_memory_is_linear_in_long_prompts_unless_asked_for_otherwise():
    """A map made in Python keeps no T² matrices at lengths at which the command line would not."""
    assert Dial.for_length(512) == Dial("probabilities")
    assert Dial.for_length(513, offload=True) == Dial("queries_keys", offload=True)
    model = load("demo-qwen")
    operator = model.jacobian([*range(3, 40)] * 14)
    assert operator.labels.facts["dial"]["attention"] == "queries_keys"
    kept = [a.shape for a in jax.tree.leaves(operator.state.recorded) if hasattr(a, "shape")]
    assert not any(shape.count(518) > 1 for shape in kept)
