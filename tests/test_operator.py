"""The operator: transposes, offsets, reconstruction, shapes; of decoders and of any other JAX function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILIES
from flax import nnx
from jaxlin_models import algorithm
from jaxlin_models.detach import DETACHED, Detached, Plain
from scipy.sparse.linalg import svds
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError
from jaxlin.linear.certificate import check_operator
from jaxlin.prompts.load import load, locate
from jaxlin.prompts.model import Model
from jaxlin.prompts.target import LogitTarget
from jaxlin.results.labels import Reader

TinyOperator = Callable[[str, str], DetachedJacobian]
RECONSTRUCTION = {"float64": 1e-13, "float32": 2e-6, "bfloat16": 3e-2}


@pytest.fixture(params=FAMILIES)
def operator(request: pytest.FixtureRequest, tiny_operator: TinyOperator) -> DetachedJacobian:
    return tiny_operator(request.param, "float64")


def check(operator: DetachedJacobian) -> dict[str, float]:
    return {check.name: check.value for check in check_operator(operator, seed=3)}


@pytest.mark.parametrize("dtype", RECONSTRUCTION)
@pytest.mark.parametrize("name", FAMILIES)
def test_output_is_reconstructed(tiny_operator: TinyOperator, name: str, dtype: str):
    """Σ_t J_t e_t + c = y, by a pass and by the dense matrix."""
    operator = tiny_operator(name, dtype)
    assert check(operator)["reconstruction"] < RECONSTRUCTION[dtype]
    arrays = (operator.dense(), operator.x, operator.offset, operator.y)
    matrix, x, c, y = (np.asarray(a, np.float64) for a in arrays)
    error = np.linalg.norm(np.einsum("dte,te->d", matrix, x) + c - y) / np.linalg.norm(y)
    assert error < RECONSTRUCTION[dtype]


def test_adjoint(operator: DetachedJacobian):
    assert check(operator)["adjoint"] < 1e-12


def test_offset_is_zero_exactly_where_there_are_no_biases(tiny_operator: TinyOperator):
    assert np.all(np.asarray(tiny_operator("gemma3-text", "float64").offset) == 0)
    assert np.linalg.norm(tiny_operator("llama-biases", "float64").offset) > 0.1


def test_probe_axis_is_a_stack_of_single_probes(operator: DetachedJacobian):
    v = jax.random.normal(jax.random.key(0), (3, *operator.input_shape))
    u = jax.random.normal(jax.random.key(1), (3, *operator.output_shape))
    one_by_one = jnp.stack([operator.matvec(one) for one in v])
    np.testing.assert_allclose(operator.matmat(v), one_by_one, rtol=1e-12, atol=1e-12)
    one_by_one = jnp.stack([operator.rmatvec(one) for one in u])
    np.testing.assert_allclose(operator.rmatmat(u), one_by_one, rtol=1e-12, atol=1e-12)


def test_wrong_probe_shape_is_named(operator: DetachedJacobian):
    with pytest.raises(JaxlinError, match=r"a probe has shape \[7\] where the operator takes"):
        operator.matvec(jnp.ones(7))
    with pytest.raises(JaxlinError, match=r"a probe has shape \[2, 7\]"):
        operator.rmatvec(jnp.ones((2, 7)))


def test_products_by_shape(operator: DetachedJacobian):
    """An input, a flat one and columns, forwards and backwards: all are the dense matrix's own products."""
    m, n = operator.shape
    matrix = np.asarray(operator.dense()).reshape(m, n)
    rng = np.random.default_rng(0)
    for linear_map, dense in ((operator, matrix), (operator.T, matrix.T)):
        assert linear_map.shape == dense.shape
        close = partial(np.testing.assert_allclose, rtol=0, atol=1e-12 * float(np.abs(matrix).sum()))
        close(linear_map.dense(), dense.reshape(-1, *linear_map.input_shape))
        v = rng.standard_normal((dense.shape[1], 11))
        one_input = v[:, 0].reshape(linear_map.input_shape)
        image = linear_map @ one_input
        assert image.shape == linear_map.output_shape
        close(image.ravel(), dense @ v[:, 0])
        close(linear_map.matvec(one_input), image)
        close(linear_map.T.rmatvec(one_input), image)
        flat = linear_map @ v[:, 0]
        assert flat.shape == (dense.shape[0],) or linear_map.input_shape == v[:, 0].shape
        close(flat.ravel(), dense @ v[:, 0])
        close(linear_map @ v, dense @ v)
        close(linear_map @ v[:, :1], dense @ v[:, :1])
        assert (linear_map @ v[:, :0]).shape == (dense.shape[0], 0)
    np.testing.assert_allclose(operator @ operator.x + operator.offset, operator.y, rtol=0, atol=1e-12)


def test_transpose(operator: DetachedJacobian):
    transpose = operator.T
    assert transpose.T is operator
    assert (transpose.input_shape, transpose.output_shape) == (operator.output_shape, operator.input_shape)
    assert transpose.dtype == operator.dtype
    assert not hasattr(transpose, "labels")
    assert repr(transpose) == f"{operator!r}.T"
    u = jnp.ones(operator.output_shape)
    through_jit = jax.jit(lambda transpose, u: transpose @ u)(transpose, u)
    np.testing.assert_allclose(through_jit, operator.rmatvec(u), rtol=1e-12)


def test_a_shape_that_can_be_read_in_two_ways_is_an_input():
    """Inputs [n, 1]: as one input, whose image has the output's shape, and not as a matrix of one column."""
    operator = jaxlin.linearize(lambda x, w: (w @ x).ravel(), jnp.ones((5, 1)), _normal(0, 3, 5))
    assert operator.input_shape == (5, 1)
    assert (operator @ jnp.ones((5, 1))).shape == (3,)
    assert (operator @ jnp.ones((5, 2))).shape == (3, 2)
    assert (operator.as_linear_operator() @ np.ones((5, 1))).shape == (3, 1)


@pytest.mark.parametrize("shape", [(), (7,), (7, 2), (2, 3, 4, 5)])
def test_products_with_other_shapes_are_refused(operator: DetachedJacobian, shape: tuple[int, ...]):
    for linear_map in (operator, operator.T):
        m, n = linear_map.shape
        with pytest.raises(JaxlinError, match=f"cannot be multiplied by this {m} × {n} map: give an input"):
            linear_map @ jnp.ones(shape)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_scipy_s_view(tiny_operator: TinyOperator, dtype: str):
    """scipy's own checks and its svds, over passes alone."""
    operator = tiny_operator(FAMILIES[0], dtype)
    m, n = operator.shape
    matrix = np.asarray(operator.dense(), np.float64).reshape(m, n)
    view = operator.as_linear_operator()
    assert view.shape == (m, n)
    assert view.dtype == ("float64" if dtype == "float64" else "float32")
    rounding = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 5e-2}[dtype]
    rng = np.random.default_rng(0)
    for linear_operator, dense in ((view, matrix), (view.H, matrix.T)):
        v = rng.standard_normal((dense.shape[1], 11)).astype(view.dtype)
        for factor in (v, v[:, :1], v[:, 0]):
            product = linear_operator @ factor
            assert product.dtype == view.dtype
            expected = dense @ factor
            assert product.shape == expected.shape
            assert np.abs(product - expected).max() < rounding * np.abs(expected).max()
    if dtype != "bfloat16":
        s = np.sort(svds(view, k=3, return_singular_vectors=False, v0=np.ones(min(view.shape))))[::-1]
        np.testing.assert_allclose(s, np.linalg.svd(matrix)[1][:3], rtol=10 * rounding)


def test_operator_is_an_argument_of_jitted_functions(operator: DetachedJacobian):
    """One compilation serves every prompt of the same length, and no weight becomes a constant."""
    x = operator.x
    compiled = jax.jit(lambda op, v: op.matvec(v)).lower(operator, x).compile()
    np.testing.assert_allclose(compiled(operator, x), operator.matvec(x), rtol=1e-12)
    other = replace(operator, state=jax.tree.map(lambda leaf: 2 * leaf, operator.state))
    assert not np.allclose(compiled(other, x), operator.matvec(x))


def test_passes_copy_no_weights():
    """Scratch memory of a pass stays below two layers' share, whatever the depth."""
    from jaxlin_models import Decoder, DecoderConfig, RopeConfig, record

    from jaxlin.prompts.operators import Backward, Forward, PassState

    rope = RopeConfig(1e4)
    config = DecoderConfig(
        family="llama", vocab_size=8, embed_dim=64, num_layers=24, num_heads=4, num_kv_heads=2, head_dim=16,
        mlp_dim=512, max_positions=64, norm_eps=1e-6, activation="silu", rope_full=rope, rope_sliding=rope,
        layer_types=("full",) * 24, sliding_window=None, query_scale=0.25,
    )  # fmt: skip
    decoder = Decoder(config, rngs=nnx.Rngs(0), dtype=jnp.float32)
    graphdef, weights = nnx.split(decoder)
    x = decoder.embed(jnp.arange(8))
    state = PassState(weights, record(decoder, x, -1)[1])
    layer = sum(leaf.nbytes for leaf in jax.tree.leaves(weights)) / config.num_layers
    probes = {Forward(graphdef): x[None], Backward(graphdef, len(x)): x[None, 0]}
    for apply, probe in probes.items():
        scratch = jax.jit(apply).lower(state, probe).compile().memory_analysis().temp_size_in_bytes
        assert scratch < 2 * layer


# --- linearize: functions that no file in models/ provides ---


def relu_network(x, *weights):
    """Zero-bias ReLU network: piecewise linear, so its own derivative is its exact map."""
    for weight in weights:
        x = jax.nn.relu(x @ weight)
    return x.reshape(2, -1)


def encoder(x, weights):
    """Bidirectional single-head attention with LayerNorm and a GLU, coefficients stopped by hand."""
    stop = jax.lax.stop_gradient
    centred = x - x.mean(-1, keepdims=True)
    normed = centred * stop(jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6))
    scores = (normed @ weights["q"]) @ (normed @ weights["k"]).T
    x = x + stop(jax.nn.softmax(scores)) @ (normed @ weights["v"])
    return (stop(jax.nn.sigmoid(x @ weights["gate"])) * (x @ weights["up"])).sum(0)


def _normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape) / np.sqrt(shape[0])


def relu_operator() -> DetachedJacobian:
    weights = [_normal(i, 40, 40) for i in range(3)]
    return jaxlin.linearize(relu_network, _normal(9, 40), *weights, offset=jnp.zeros((2, 20)))


def encoder_operator() -> DetachedJacobian:
    weights = {name: _normal(i, 12, 12) for i, name in enumerate(("q", "k", "v", "gate", "up"))}
    return jaxlin.linearize(encoder, _normal(9, 7, 12), weights, offset=jnp.zeros(12))


@pytest.mark.parametrize("make", [relu_operator, encoder_operator])
def test_linearize_any_function(make: Callable[[], DetachedJacobian]):
    operator = make()
    found = check(operator)
    assert found["adjoint"] < 1e-12
    assert found["reconstruction"] < 1e-13
    result = jaxlin.svd(operator, 4, method="dense")
    other = jaxlin.svd(operator, 4, method="matfree")
    assert result.certificate.holds
    np.testing.assert_allclose(other.s, result.s, rtol=1e-10)
    assert result.U.shape == (4, *operator.output_shape)
    assert result.V.shape == (4, *operator.input_shape)


def test_linearize_notices_a_coefficient_that_was_not_stopped():
    """tanh is not homogeneous: claiming c = 0 for it is caught by the reconstruction."""
    weight = _normal(0, 12, 12)
    leaky = jaxlin.linearize(lambda x, w: jnp.tanh(x @ w), _normal(1, 12), weight, offset=jnp.zeros(12))
    assert check(leaky)["reconstruction"] > 1e-3
    unclaimed = jaxlin.linearize(lambda x, w: jnp.tanh(x @ w), _normal(1, 12), weight)
    assert "reconstruction" not in check(unclaimed)
    np.testing.assert_allclose(unclaimed.matvec(unclaimed.x) + unclaimed.offset, unclaimed.y, rtol=1e-12)


def test_linearize_is_the_reference_of_replay(tiny_operator: TinyOperator, tiny_model):
    operator, decoder = tiny_operator("gemma3-text", "float64"), tiny_model("gemma3-text", "float64").decoder
    closures = jaxlin.linearize(lambda x, d: d(x, Detached(DETACHED))[-1], operator.x, decoder)
    expected = operator.dense()
    np.testing.assert_allclose(
        closures.dense(), expected, rtol=0, atol=1e-13 * float(jnp.abs(expected).max())
    )


def test_a_decoder_is_loaded_as_it_is(tiny_model):
    """One in memory, say one that was just trained: the same map as from its files."""
    name = FAMILIES[1]
    stored = tiny_model(name, "float32")
    model = jaxlin.load(stored.decoder)
    ids = prompt_ids(name)
    operator = model.jacobian(ids)
    np.testing.assert_array_equal(operator.dense(), stored.jacobian(ids).dense())
    assert (model.token_text(3), model.weights_sha256) == ("#3", None)
    with pytest.raises(JaxlinError, match="no tokenizer: give one"):
        model.jacobian("Hello")
    demo = jaxlin.load("demo-gemma")
    speaking = jaxlin.load(demo.decoder, tokenizer=demo.tokenizer)
    assert speaking.tokenize("Paris") == demo.tokenize("Paris")
    with pytest.raises(JaxlinError, match="its own dtype and precision"):
        jaxlin.load(stored.decoder, dtype="float32")
    with pytest.raises(JaxlinError, match=r"a function cannot be loaded.*jaxlin\.linearize"):
        jaxlin.load(lambda x: x)


# --- the model: what it says of itself, and what it reads ---


def test_a_model_reads_vectors_as_tokens(tiny_model):
    """The methods that results read by: each against the decoder's own tables."""
    model = tiny_model("gemma3-text", "float32")
    assert isinstance(model, Reader)
    hidden = jax.random.normal(jax.random.key(0), (3, model.config.embed_dim))
    for normed in (True, False):
        states = hidden if normed else model.decoder.final_norm(hidden, Plain())
        scores = np.asarray(model.decoder.logits(states))
        for best, row in zip(model.outputs(hidden, 4, normed=normed), scores, strict=True):
            assert [score.id for score in best] == np.argsort(-row, kind="stable")[:4].tolist()
            np.testing.assert_allclose([score.score for score in best], np.sort(row)[::-1][:4], rtol=1e-5)
            assert best[0].text == f"#{best[0].id}"
    table = np.asarray(model.vocabulary())
    blocks = np.stack([3 * table[[5, 7]], -2 * table[[11, 13]]])
    (first, second), opposite = model.nearest(blocks, 2)
    assert (first[0].id, second[0].id) == (5, 7)
    assert first[0].score == pytest.approx(1, abs=1e-6)
    assert all(score.id not in (11, 13) for block in opposite for score in block)


def test_what_a_model_says_of_itself(tiny_model):
    stored = tiny_model("llama-biases", "float32")
    assert stored.facts() == {
        "model": str(stored.checkpoint.directory),
        "family": "llama",
        "revision": None,
        "weights_sha256": stored.weights_sha256,
        "dtype": "float32",
        "precision": "float32",
        "weights": "unpacked",
        "offload": "none",
        "matmul_algorithm": algorithm("float32", "cpu"),
    }
    assert len(stored.weights_sha256) == 64
    taken = jaxlin.load(stored.decoder).facts()
    assert (taken["model"], taken["weights_sha256"], taken["offload"]) == ("Decoder", None, "none")


@pytest.mark.parametrize("name", ["demo-llama", "demo-gemma", "demo-qwen"])
def test_a_model_is_one_line(name: str):
    model = locate(name)
    config = model.config
    assert repr(model) == (
        f"Model({name}, {config.family}, {config.num_layers} layers, width {config.embed_dim}, float32)"
    )
    for thing in (model, model.decoder, model.checkpoint):
        assert len(repr(thing)) < 120, thing


def test_a_target_is_spelled(tiny_model):
    model = locate("demo-llama")
    assert model.spell_target(LogitTarget(" Paris", " Rome")) == 'logits:" Paris"-" Rome"'
    assert tiny_model("llama-biases", "float32").spell_target(LogitTarget(3)) == 'logits:"#3"'


# --- a model before its weights are read ---


@pytest.fixture
def weightless(tmp_path: Path) -> Path:
    """A checkpoint of which the weights are missing."""
    folder = write_checkpoint("llama", tmp_path / "model")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    return folder


def test_a_located_model_needs_no_weights(weightless: Path):
    model = locate(weightless, dtype="bfloat16", precision="bf16x3")
    assert model.config.num_layers == 3
    assert model.tokenize([1, 2, 3]) == [1, 2, 3]
    assert model.tokenize(np.asarray([1, 2, 3])) == [1, 2, 3]
    assert (model.dtype_name, model.precision, model.asked_precision) == ("bfloat16", "bf16x3", "bf16x3")
    assert model.held_bytes == 0
    for refused, words in (
        (lambda: model.jacobian([1, 97]), "token id 97 is out of range"),
        (lambda: model.jacobian([1], policy="frozen"), "unknown policy 'frozen'"),
        (lambda: model.record([1], policy="none"), "leaves nothing to record"),
        (lambda: model.jacobian([1, 2], position=2), "output position 2 is outside the prompt"),
        (lambda: model.jacobian([1, 2], length=1), "cannot be padded to 1"),
        (lambda: model.jacobian([1, 2]), r"has no model\.safetensors"),
        (lambda: load(weightless), r"has no model\.safetensors"),
    ):
        with pytest.raises(JaxlinError, match=words):
            refused()
    assert model.held_bytes == 0


def test_weights_are_read_once_and_held(tmp_path: Path):
    model = locate(write_checkpoint("llama", tmp_path))
    assert (model.asked_precision, model.precision) == (None, "float32")
    decoder = model.decoder
    assert decoder is model.decoder
    assert model.held_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(decoder)))
    assert locate(decoder).held_bytes == model.held_bytes
    assert load(tmp_path).held_bytes == model.held_bytes


def test_settings_that_cannot_be_are_refused_at_once(weightless: Path):
    for settings, words in (
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"offload": "disk"}, "unknown offload 'disk'"),
        ({"precision": "float16"}, "unknown precision"),
        ({"precision": "float64"}, "float64 products need weights stored in float64"),
    ):
        with pytest.raises(JaxlinError, match=words):
            locate(weightless, **settings)


def test_a_class_of_ones_own_is_returned(weightless: Path):
    class Mine(Model):
        pass

    assert type(locate(weightless, kind=Mine)) is Mine
