"""Offloaded stacks are in the host's memory, and change nothing but where arrays are.

JAX refuses to compute with arrays of two memories at once, on a CPU too: a layer that is not fetched fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from conftest import FAMILIES
from flax import nnx
from jaxlin_models import Dial
from jaxlin_models.weights import to_huggingface
from test_dial import inside
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError
from jaxlin.commands.main import main
from jaxlin.planning import budget
from jaxlin.planning.abstract import Job, abstract, shapes_of, weight_bytes
from jaxlin.planning.budget import Solver, candidates, choose, forecast
from jaxlin.planning.memory import tree_bytes
from jaxlin.prompts.model import Model
from jaxlin.runtime.offload import OFFLOADS

Load = Callable[[str, str, str], Model]
#: Older ones refuse it, see test_packaging.
pytestmark = pytest.mark.skipif(jax.__version_info__ < (0, 10, 2), reason="offloading needs JAX 0.10.2")

NAME = "llama-biases"
IDS = [3, 1, 4, 1, 5, 9, 2, 6]
GB = 10**9
#: Both passes as programs.
PASSES = (jax.jit(DetachedJacobian.matmat), jax.jit(DetachedJacobian.rmatmat))
#: Of the largest number, between two programs that do the same: float32 sums may be taken in another order.
ROUNDING = {"float32": 2e-6, "bfloat16": 2e-2}


@pytest.fixture(scope="module")
def offloaded(tiny_model: Callable[[str, str], Model]) -> Load:
    """A tiny checkpoint by name, dtype and what of it is offloaded, loaded once."""

    def load(name: str, dtype: str, offload: str) -> Model:
        if offload == "none":
            return tiny_model(name, dtype)
        return jaxlin.load(str(tiny_model(name, dtype).checkpoint.directory), dtype=dtype, offload=offload)

    return cache(load)


def kinds(tree: object) -> set[str]:
    return {leaf.sharding.memory_kind for leaf in jax.tree.leaves(tree)}


def probes(operator: DetachedJacobian) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(2)
    shapes = (2, *operator.input_shape), (2, *operator.output_shape)
    v, u = (jnp.asarray(rng.standard_normal(shape), operator.dtype) for shape in shapes)
    return v, u


def assert_same(ours: DetachedJacobian, expected: DetachedJacobian, tolerance: float) -> None:
    """Output, offset and both passes."""
    v, u = probes(expected)
    values = [(o.y, o.offset, o.matmat(v), o.rmatmat(u)) for o in (ours, expected)]
    for a, b in zip(*values, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


# --- where arrays are ---


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("offload", OFFLOADS)
def test_stacks_alone_are_in_the_hosts_memory(offloaded: Load, offload: str, dtype: str):
    model = offloaded(NAME, dtype, offload)
    weights, recorded, *_ = model.jacobian(IDS).state
    loaded = nnx.state(model.decoder)
    rest = [loaded[name] for name in ("embedding", "head", "final_norm") if name in loaded]
    assert kinds(rest) == kinds(recorded["final"]) == {"device"}
    expected = "pinned_host" if offload == "all" else "device"
    assert kinds(loaded["layers"]) == kinds(weights["layers"]) == {expected}
    assert kinds(recorded["layers"]) == {"device" if offload == "none" else "pinned_host"}


def test_a_dial_says_more_than_the_model(offloaded: Load):
    """A setting that is given is taken as it is, whatever the model was loaded with."""
    kept = offloaded(NAME, "float32", "coefficients").jacobian(IDS, dial=Dial()).state[1]
    assert kinds(kept) == {"device"}
    kept = offloaded(NAME, "float32", "none").jacobian(IDS, dial=Dial(offload=True)).state[1]
    assert kinds(kept["layers"]) == {"pinned_host"}


def moved_bytes(jaxpr) -> int:
    """Bytes of all arrays that a program puts into another memory, each loop's body counted once."""
    own = [equation.outvars[0].aval for equation in jaxpr.eqns if equation.primitive.name == "device_put"]
    return tree_bytes(own) + sum(map(moved_bytes, inside(jaxpr)))


def test_layers_are_fetched_one_at_a_time(offloaded: Load):
    """What the loop over layers moves is one layer's share, and without offload nothing."""
    whole = tree_bytes(
        [part["layers"] for part in offloaded(NAME, "float32", "none").jacobian(IDS).state[:2]]
    )
    for offload, share in (("none", 0), ("all", whole / 3)):
        operator = offloaded(NAME, "float32", offload).jacobian(IDS)
        for run, probe in zip(PASSES, probes(operator), strict=True):
            assert moved_bytes(run.trace(operator, probe).jaxpr) == share


# --- the same map ---


@pytest.mark.parametrize(
    ("name", "dtype", "dial"),
    [
        (FAMILIES[0], "float32", Dial()),
        (FAMILIES[0], "bfloat16", Dial(gate="recomputed")),
        (FAMILIES[1], "float32", Dial("queries_keys", "recomputed", block=10)),
        (FAMILIES[2], "float32", Dial("queries_keys", block=10)),
    ],
)
def test_passes_are_those_of_arrays_on_the_device(offloaded: Load, name: str, dtype: str, dial: Dial):
    ids = prompt_ids(name)
    expected = offloaded(name, dtype, "none").jacobian(ids, dial=dial)
    ours = offloaded(name, dtype, "all").jacobian(ids, dial=replace(dial, offload=True))
    assert_same(ours, expected, ROUNDING[dtype])


@pytest.mark.parametrize(
    "make",
    [
        lambda model: model.jacobian(IDS, length=11),
        lambda model: model.jacobian(IDS, policy="half"),
        lambda model: model.jacobian(IDS).select([1, 4]),
        lambda model: model.record(IDS).stretch(1, 2),
        lambda model: model.record(IDS).module(1, "attention", normed=False),
        lambda model: model.record(IDS).module(0, "mlp"),
    ],
)
def test_parts_are_those_of_arrays_on_the_device(offloaded: Load, make: Callable[[Model], DetachedJacobian]):
    ours, expected = (make(offloaded(NAME, "float32", offload)) for offload in ("all", "none"))
    assert_same(ours, expected, ROUNDING["float32"])


def test_singular_values_generated_tokens_and_weights_are_the_same(offloaded: Load):
    ours, expected = (offloaded(NAME, "float32", offload) for offload in ("all", "none"))
    result = jaxlin.svd(ours.jacobian(IDS), 3, method="gram")
    assert result.certificate.holds
    s = jaxlin.svd(expected.jacobian(IDS), 3, method="gram").s
    np.testing.assert_allclose(result.s, s, rtol=1e-5)
    assert ours.generate(IDS, 4, temperature=1.0) == expected.generate(IDS, 4, temperature=1.0)
    tensors, originals = (
        to_huggingface(model.decoder, model.checkpoint.hf_config) for model in (ours, expected)
    )
    for name, original in originals.items():
        np.testing.assert_array_equal(tensors[name], original)


def test_what_cannot_be_offloaded_is_refused(offloaded: Load):
    with pytest.raises(JaxlinError, match=r"unknown offload 'disk': choose one of none, coefficients, all"):
        jaxlin.load("demo-llama", offload="disk")
    config = offloaded(NAME, "float32", "all").decoder.config
    with pytest.raises(JaxlinError, match="unknown offload 'disk'"):
        Job(config, 8, offload="disk")
    for ask in (
        lambda: offloaded(NAME, "float32", "all").jacobian(IDS, policy="none"),
        lambda: Job(config, 8, policy="none", offload="all"),
    ):
        with pytest.raises(JaxlinError, match="the ordinary Jacobian needs the weights of all layers"):
            ask()
    ordinary = offloaded(NAME, "float32", "coefficients").jacobian(IDS, policy="none")
    assert_same(ordinary, offloaded(NAME, "float32", "none").jacobian(IDS, policy="none"), 0)


# --- planned ---


@pytest.mark.parametrize(("offload", "dtype"), [("coefficients", "float32"), ("all", "bfloat16")])
def test_planned_programs_are_those_that_run(offloaded: Load, offload: str, dtype: str):
    """Word for word, memories included; or a plan would measure the fast program and run the lean one."""
    model = offloaded(NAME, dtype, offload)
    real = model.jacobian(IDS)
    job = Job(model.decoder.config, len(IDS), dtype, offload=offload)
    planned = abstract(job, candidates(len(IDS), offload=True)[0]).operator
    for run, probe in zip(PASSES, probes(real), strict=True):
        program, expected = run.trace(planned, shapes_of(probe)).jaxpr, run.trace(real, probe).jaxpr
        assert str(program) == str(expected)
        assert [str(a) for a in program.in_avals] == [str(a) for a in expected.in_avals]
        assert any("<host>" in str(a) for a in program.in_avals)


def test_on_a_cpu_all_memory_is_one():
    job = Job(models.find_config("gemma-3-1b"), 64)
    plain = abstract(job, Dial())
    moved = abstract(replace(job, offload="all"), Dial(offload=True))
    assert (moved.weights, moved.coefficients) == (plain.weights, plain.coefficients)
    assert plain.host == moved.host == 0


def test_offloaded_jobs_are_measured(offloaded: Load):
    job = Job(offloaded(NAME, "float32", "none").decoder.config, len(IDS), offload="all")
    needed = forecast(job, Dial(offload=True), Solver(2, "gram"))
    assert needed.weights + needed.coefficients < needed.peak <= needed.bound


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is told that programs run on a GPU. What is held decides, so that nothing is compiled."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(budget, "_bound", lambda job, dial, shapes, *_: shapes.weights + shapes.coefficients)
    monkeypatch.setattr(budget, "_TO_SPARE", 0)


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_offloaded_stacks_take_nothing_of_its_memory():
    job = Job(models.find_config("gemma-3-4b"), 500)
    config, plain = job.config, forecast(job, Dial(), Solver(), compiled=False)
    needed = forecast(replace(job, offload="coefficients"), Dial(offload=True), Solver(), compiled=False)
    assert needed.weights == plain.weights
    assert needed.coefficients == 4  # the final norm's
    assert needed.host == plain.coefficients - 4
    needed = forecast(replace(job, offload="all"), Dial(offload=True), Solver(), compiled=False)
    assert needed.weights == 4 * (config.vocab_size + 1) * config.embed_dim  # the table and the final norm
    assert needed.host == plain.weights + plain.coefficients - needed.weights - needed.coefficients
    assert weight_bytes(replace(job, offload="all")) == needed.weights


@pytest.mark.usefixtures("gpu")
def test_refusals_on_a_gpu_name_the_least_offload_that_fits():
    job = Job(models.find_config("gemma-3-4b"), 8192, "bfloat16")
    weights, staying = weight_bytes(job), weight_bytes(replace(job, offload="all"))
    with pytest.raises(JaxlinError, match=r"are 10.0 GB: use `offload` coefficients, or shorten the prompt"):
        choose(job, Solver(), 10 * GB)
    fastest = candidates(8192, offload=True)[0]
    assert choose(replace(job, offload="coefficients"), Solver(), 10 * GB).dial == fastest
    with pytest.raises(JaxlinError, match=r"use `offload` all, which leaves 1.3 GB of them on the device"):
        choose(job, Solver(), weights - 1)
    assert choose(replace(job, offload="all"), Solver(), 2 * GB).dial.offload
    with pytest.raises(JaxlinError, match=r"the embeddings and the head alone take 1.3 GB in bfloat16"):
        choose(replace(job, offload="all"), Solver(), staying - 1)


def test_refusals_on_a_cpu_name_no_offload(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "_bound", lambda job, dial, shapes, *_: shapes.weights + shapes.coefficients)
    job = Job(models.find_config("gemma-3-4b"), 8192, "bfloat16")
    for memory in (8 * GB, GB):
        with pytest.raises(JaxlinError) as refused:
            choose(job, Solver(), memory)
        assert "`offload`" not in str(refused.value)


def test_the_flag(tmp_path: Path, capsys):
    """The command line's answer is the same, and says what was offloaded."""
    folder = write_checkpoint(NAME, tmp_path / "model")
    asked = ("--model", str(folder), "--token-ids", ",".join(map(str, IDS)), "-k", "2", "--json")
    results = {}
    for offload in OFFLOADS:
        out = tmp_path / offload
        assert main(["svd", *asked, "--offload", offload, "--out", str(out)]) == 0
        results[offload] = json.loads(capsys.readouterr().out)
        assert results[offload]["offload"] == offload
        assert results[offload]["dial"]["offload"] is (offload != "none")
        values = [triplet["s"] for triplet in results[offload]["triplets"]]
        expected = [triplet["s"] for triplet in results["none"]["triplets"]]
        np.testing.assert_allclose(values, expected, rtol=ROUNDING["float32"])
    for flags, said in (
        (("--offload", "some"), "unknown offload 'some': choose one of none, coefficients, all"),
        (
            ("--offload", "coefficients", "--policy", "none"),
            "policy none records nothing: leave out --offload",
        ),
        (("--gate", "stored", "--policy", "none"), "policy none records nothing: leave out --gate"),
    ):
        assert main(["svd", *asked, *flags, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err


def test_a_decoder_stays_where_it_is(tiny_model: Callable[[str, str], Model]):
    decoder = tiny_model(NAME, "float32").decoder
    model = jaxlin.load(decoder, offload="coefficients")
    assert kinds(model.jacobian(IDS).state[1]["layers"]) == {"pinned_host"}
    with pytest.raises(JaxlinError, match="weights of a decoder in memory cannot be offloaded"):
        jaxlin.load(decoder, offload="all")
