"""What a job will cost, from config.json and a length alone, and what is refused before a weight is read."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from flax import nnx
from jaxlin_models import Decoder, Dial, pass_flops, record_flops
from jaxlin_models.cuts import Cut
from tiny_checkpoints import write_checkpoint

from jaxlin.commands.main import main
from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning import budget
from jaxlin.planning.abstract import Job, abstract, weight_bytes
from jaxlin.planning.budget import Forecast, Solver, candidates, choose, forecast, refusal
from jaxlin.planning.job import choose_places, in_words, plan_job
from jaxlin.planning.memory import added_bytes, tree_bytes
from jaxlin.results.store import write_tensors
from jaxlin.runtime.sizes import parse_size, spell_size

GB = 10**9
#: Models that fit into 40 GB at 400 tokens in float32: parameters of the published checkpoints' text parts.
PARAMETERS = {"gemma-3-1b": 999_885_952, "gemma-3-4b": 3_880_263_168, "qwen3-8b": 8_190_735_360}
DIALS = [Dial("probabilities"), Dial("queries_keys", "stored", 4), Dial("queries_keys", "recomputed", 4)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("40GB", 40 * GB),
        ("40GiB", 40 * 2**30),
        ("40960MB", 40_960 * 10**6),
        ("1.5 gb", 1_500_000_000),
        ("7", 7),
    ],
)
def test_sizes_as_people_write_them(text: str, count: int):
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "40XB", "0", "1e9", "40 GB free"])
def test_what_is_no_size(text: str):
    with pytest.raises(JaxlinError, match=r"40GB"):
        parse_size(text)


def test_sizes_are_spelled_so_that_they_can_be_read():
    assert [spell_size(n) for n in (40 * GB, 1_550_000_000, 20_000_000, 1)] == [
        "40.0 GB",
        "1.6 GB",
        "20 MB",
        "1 KB",
    ]


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_counted_to_the_byte(name: str, dtype: str):
    shapes = abstract(Job(models.find_config(name), 16, dtype), Dial())
    assert shapes.weights == PARAMETERS[name] * jnp.dtype(dtype).itemsize


@pytest.mark.parametrize(("dtype", "dial"), [("float32", DIALS[0]), ("bfloat16", DIALS[2])])
def test_shapes_are_those_of_the_real_operator(tiny_model, dtype: str, dial: Dial):
    model = tiny_model("gemma3-text", dtype)
    ids = list(range(3, 12))
    real = model.jacobian(ids, dial=dial)
    planned = abstract(Job(model.decoder.config, len(ids), dtype), dial)
    assert planned.coefficients == tree_bytes(real.state[1])
    assert planned.weights == tree_bytes(real.state[0])
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(planned.operator)]
    assert shapes == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(real)]
    assert planned.operator.shape == real.shape


def test_shapes_of_a_span_and_a_target_are_those_of_select(tiny_model):
    model = tiny_model("gemma3-text", "float32")
    ids = list(range(3, 12))
    real = model.jacobian(ids).select([1, 4, 5], jnp.ones((1, model.decoder.config.embed_dim)))
    job = Job(model.decoder.config, len(ids), "float32", span=3, targets=1)
    planned = abstract(job, Dial()).operator
    assert planned.shape == real.shape
    assert planned.input_shape == real.input_shape
    assert jax.tree.structure(planned.state) == jax.tree.structure(real.state)
    assert (planned.forward, planned.backward) == (real.forward, real.backward)
    leaves = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(planned)]
    assert leaves == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(real)]


def test_the_ordinary_jacobian_has_no_coefficients(tiny_model):
    config = tiny_model("llama-biases", "float32").decoder.config
    planned = abstract(Job(config, 12, policy="none"), Dial())
    assert planned.coefficients == 0
    assert planned.operator.shape == (config.embed_dim, 12 * config.embed_dim)


def test_a_forecast_names_its_peak(tiny_model):
    job = Job(tiny_model("llama-biases", "float32").decoder.config, 12)
    needed = forecast(job, Dial(), Solver(2, "lanczos"))
    assert needed.peak == needed.weights + needed.coefficients + max(phase.bytes for phase in needed.phases)
    assert needed.bottleneck in {phase.name for phase in needed.phases}
    assert needed.peak <= needed.bound
    # What no account of XLA's can be below: the right vectors, twice where they are compared.
    assert needed.peak - needed.weights - needed.coefficients >= 2 * 12 * job.config.embed_dim * 4


def test_settings_are_tried_from_fast_to_small():
    settings = [(dial.attention, dial.gate) for dial in candidates(400)]
    assert settings == [
        ("probabilities", "stored"), ("queries_keys", "stored"), ("queries_keys", "recomputed"),
    ]  # fmt: skip
    assert [(d.attention, d.gate) for d in candidates(513)] == settings[1:]
    assert candidates(400, attention="queries_keys", gate="stored") == [Dial("queries_keys", "stored")]
    assert [d.gate for d in candidates(9000, attention="probabilities")] == ["stored", "recomputed"]
    with pytest.raises(JaxlinError, match="choose probabilities or queries_keys"):
        candidates(400, attention="dense")


def test_the_first_setting_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch):
    """From what is held alone, so that nothing is compiled: the smaller the memory, the smaller."""
    monkeypatch.setattr(budget, "_bound", lambda job, dial, shapes, *_: shapes.weights + shapes.coefficients)
    monkeypatch.setattr(budget, "_TO_SPARE", 0)
    job = Job(models.find_config("gemma-3-4b"), 500)
    shapes = [abstract(job, dial) for dial in candidates(500)]
    held = [shape.weights + shape.coefficients for shape in shapes]
    assert held == sorted(held, reverse=True)
    for count, dial in zip(held, candidates(500), strict=True):
        assert choose(job, Solver(), count).dial == dial
    with pytest.raises(JaxlinError, match="500 tokens in float32 would need more than"):
        choose(job, Solver(), held[-1] - 1)


def test_gemma_3_4b_fits_40_gb_at_400_tokens_with_room():
    """From the bound alone, which is above whatever is compiled."""
    needed = forecast(
        Job(models.find_config("gemma-3-4b"), 400), Dial(), Solver(), memory=40 * GB, compiled=False
    )
    assert needed.choice.method == "lanczos"
    assert needed.bound < 30 * GB


def test_gemma_3_4b_fits_40_gb_at_32768_tokens_in_bfloat16():
    """One program is compiled, the one with most temporaries: float32 copies of a stack would not fit."""
    job = Job(models.find_config("gemma-3-4b"), 32_768, "bfloat16")
    shapes = abstract(job, Dial("queries_keys", "recomputed"))
    (recording,) = shapes.preparing()
    right = 16 * shapes.operator.shape[1] * 4
    held = shapes.weights + shapes.coefficients
    assert held + max(recording.bytes, right + recording.bytes) < 38 * GB
    assert recording.bytes < shapes.coefficients / 2


def test_a_forecast_is_one_line(tiny_model):
    job = Job(tiny_model("llama-biases", "float32").decoder.config, 12)
    needed = forecast(job, Dial(), Solver(2, "gram"), compiled=False)
    assert (
        repr(needed)
        == f"Forecast(method gram, k 2, {needed.passes} passes, less than {spell_size(needed.peak)})"
    )


# One job


def test_places_are_positions_up_to_the_output():
    config, ids = models.find_config("llama-3.2-1b"), list(range(10, 20))
    whole = choose_places(ids, config)
    assert (whole.seen, whole.whole, whole.position, whole.span) == (ids, True, 9, None)
    some = choose_places(ids, config, position=-3, span="1:3,-1")
    assert (some.seen, some.chosen.tolist(), some.whole, some.position) == (ids[:8], [1, 2, 7], False, 7)
    assert some.span is some.chosen
    assert choose_places(ids, config, span=[0, 4]).chosen.tolist() == [0, 4]
    assert choose_places(ids, config, skip_first=7).chosen.tolist() == [7, 8, 9]
    for wrong, words in (
        ({"span": "1:", "skip_first": 2}, "`span` and `skip_first` say the same"),
        ({"span": "a"}, "`span` takes numbers and ranges"),
        ({"span": [4, 0]}, "must rise"),
        ({"skip_first": 10}, "`skip_first` is 10: choose fewer"),
        ({"skip_first": -1}, "`skip_first` is -1"),
        ({"position": 10}, "output position 10 is outside"),
    ):
        with pytest.raises(JaxlinError, match=words):
            choose_places(ids, config, **wrong)


def test_a_job_is_planned_from_plain_arguments(monkeypatch: pytest.MonkeyPatch):
    config = models.find_config("gemma-3-4b")
    monkeypatch.setattr("jaxlin.planning.job.free_bytes", lambda: 100 * GB)
    expected = plan_job(config, 400, solver=Solver())
    assert expected.dial == Dial("probabilities")
    assert in_words(expected, "detached") == (
        f"method lanczos: {expected.choice.reason}, attention probabilities, gate stored, less than "
        f"{spell_size(expected.bound)} of memory"
    )
    assert "attention" not in in_words(expected, "none")
    weights = expected.weights
    for enough in ({"memory": 100 * GB}, {"memory": "100GB"}, {"memory": 200 * GB}):
        assert plan_job(config, 400, solver=Solver(), **enough) == expected
    for short in ({"memory": weights - 1}, {"memory": "1GB"}, {"beside": 100 * GB - weights + 1}):
        with pytest.raises(JaxlinError, match=r"the weights alone take 15\.5 GB in float32"):
            plan_job(config, 400, solver=Solver(), **short)
    narrow = plan_job(config, 400, dtype="bfloat16", span=7, targets=1, solver=Solver(1))
    assert narrow.weights == weights // 2
    assert narrow.choice.method == "dense"


def test_weights_that_are_held_need_not_fit_once_more(monkeypatch: pytest.MonkeyPatch):
    config = models.find_config("gemma-3-4b")
    weights = weight_bytes(Job(config, 400))
    monkeypatch.setattr("jaxlin.planning.job.free_bytes", lambda: weights - 1)
    with pytest.raises(JaxlinError, match="the weights alone"):
        plan_job(config, 400, solver=Solver())
    assert plan_job(config, 400, solver=Solver(), held=20 * GB).dial == Dial("probabilities")


# Refusals


def small(job: Job, **changes: object) -> Forecast:
    """A forecast of few bytes, to be changed."""
    return replace(forecast(job, Dial("queries_keys", "recomputed"), Solver(4), compiled=False), **changes)


def test_refusals_say_what_is_there_and_what_to_do():
    config = models.find_config("gemma-3-27b")
    said = refusal(Job(config, 400), small(Job(config, 400)), 60 * GB)
    assert said == (
        "by config.json the weights alone take 108.0 GB in float32 and there are 60.0 GB: use `dtype` "
        "bfloat16, in which they take 54.0 GB"
    )
    narrow = Job(config, 400, "bfloat16")
    assert refusal(narrow, small(narrow), 40 * GB).endswith(
        "use a smaller model, or a machine with more than 54.0 GB"
    )
    long = Job(models.find_config("gemma-3-4b"), 32_768, "bfloat16")
    said = refusal(long, small(long), 9 * GB)
    assert said.startswith("32768 tokens in bfloat16 would need more than ")
    assert (
        "(attention queries_keys, gate recomputed) and there are 9.0 GB: shorten the prompt to fewer than"
        in said
    )


def test_pinned_settings_that_do_not_fit_are_told_of_one_that_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budget, "_bound", lambda job, dial, shapes, *_: shapes.weights + shapes.coefficients)
    monkeypatch.setattr(budget, "_TO_SPARE", 0)  # nothing is compiled
    job = Job(models.find_config("gemma-3-4b"), 8192, "bfloat16")
    with pytest.raises(JaxlinError, match="use `attention` queries_keys and `gate` stored"):
        choose(job, Solver(), 20 * GB, attention="probabilities")


@pytest.fixture
def weightless(tmp_path: Path) -> Path:
    """A checkpoint of which the weights are missing."""
    folder = write_checkpoint("llama", tmp_path / "model")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--token-ids", "1,2,3", "-k", "33"), "k is 33"),
        (("--token-ids", "1,2,97"), "token id 97 is out of range"),
        (("--token-ids", ",".join(["1"] * 257)), "257 tokens and the model 256 positions"),
        (("--token-ids", "1,2,3", "--position", "3"), "output position 3 is outside the prompt"),
        (("--token-ids", "1,2,3", "--span", "7"), "outside"),
        (("--token-ids", "1,2,3", "--memory", "1KB"), "the weights alone take"),
        (("--token-ids", "1,2,3", "--memory", "much"), "is no size in bytes"),
        (
            ("--token-ids", "1,2,3", "--precision", "float64"),
            "float64 products need weights stored in float64",
        ),
        (("--token-ids", "1,2,3", "--gate", "open"), "unknown gate 'open'"),
    ],
)
def test_what_cannot_be_is_refused_before_a_weight_is_read(
    weightless: Path, tmp_path: Path, capsys, arguments: tuple[str, ...], words: str
):
    out = tmp_path / "out"
    assert main(["svd", "--model", str(weightless), "--out", str(out), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "safetensors" not in said
    assert not out.exists()


# Arithmetic


@pytest.mark.parametrize(("probes", "policy"), [(1, "detached"), (8, "detached"), (1, "half")])
def test_arithmetic_is_what_xla_counts(probes: int, policy: str):
    """One layer, unrolled, large enough that what is no matrix product hardly counts."""
    config = replace(models.find_config("llama-3.2-3b"), num_layers=1, layer_types=("full",), vocab_size=64)
    graphdef, weights = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights)
    x = jax.ShapeDtypeStruct((512, config.embed_dim), jnp.float32)

    def recorded(w, x):
        return models.record(nnx.merge(graphdef, w), x, -1, policy=frozen)

    frozen = models.POLICIES[policy]
    lowered = jax.jit(recorded).lower(weights, x)
    counted = lowered.cost_analysis()["flops"]
    if (
        policy == "detached"
    ):  # XLA counts what the two ways to write a product share twice, and computes it once
        assert counted == pytest.approx(record_flops(config, 512), rel=0.03)
    v = jax.ShapeDtypeStruct((probes, *x.shape), x.dtype)
    coefficients = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), jax.eval_shape(recorded, weights, x)[1]
    )
    replay = jax.jit(lambda w, c, v: models.replay(nnx.merge(graphdef, w), c, v, -1))
    counted = replay.lower(weights, coefficients, v).cost_analysis()["flops"]
    assert counted == pytest.approx(probes * pass_flops(config, 512, probes=probes, policy=frozen), rel=0.03)


def test_arithmetic_of_blockwise_attention_is_that_of_the_blocks_it_goes_over():
    config = replace(
        models.find_config("gemma-3-1b"), num_layers=1, layer_types=("sliding",), sliding_window=600
    )
    length, dial = 2000, Dial("queries_keys", block=256)
    cut = Cut.of(length, 256)
    pairs = 0
    for block in range(cut.blocks):
        first, last = cut.visible_key_blocks(block, 600)
        pairs += (int(last) - int(first)) * cut.size**2
    width = config.num_heads * config.head_dim
    dense = pass_flops(config, length) - 2 * width * length**2
    assert pass_flops(config, length, dial) == dense + 4 * width * pairs
    assert pass_flops(config, length, dial, probes=8) == dense + 2 * width * pairs + 2 * width * pairs // 8
    gates = 2 * length * config.embed_dim * config.mlp_dim
    again = pass_flops(config, length, replace(dial, gate="recomputed"))
    assert again == pass_flops(config, length, dial) + gates
    full = replace(config, layer_types=("full",))
    assert pass_flops(full, length, dial) > pass_flops(config, length, dial)
    assert record_flops(config, length, dial) < record_flops(full, length, dial)


# The verb


def test_plan_prints_a_table_or_json(capsys):
    command = ["plan", "--model", "demo-llama", "gemma-3-27b", "--tokens", "40", "--memory", "1GB", "-k", "2"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "in 1.0 GB, compiled for cpu" in printed
    assert "does not fit" in printed
    assert "gemma-3-27b, 40 tokens: by config.json the weights alone take 54.0 GB in bfloat16" in printed
    assert main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    fits, does_not = figures["rows"]
    assert (figures["memory"], fits["fits"], does_not["fits"]) == (GB, True, False)
    assert (fits["dtype"], does_not["dtype"]) == ("float32", "bfloat16")
    assert fits["attention"] == "probabilities"
    assert fits["peak_bytes"] == fits["weights_bytes"] + fits["coefficients_bytes"] + max(
        fits["phases"].values()
    )
    assert fits["refusal"] is None
    assert does_not["peak_bytes"] is None
    assert fits["passes"] > fits["k"] * 3
    assert math.isfinite(fits["flops"])


def test_a_plan_for_a_gpu_leaves_out_what_waits_in_the_hosts_memory(capsys):
    """Right vectors, which count on a CPU; what programs take is the same."""
    options = ("--model", "demo-llama", "--tokens", "4096", "-k", "64", "--method", "lanczos", "--json")

    def planned(*more: str) -> tuple[int, dict[str, int]]:
        assert main(["plan", *options, "--memory", "40GB", *more]) == 0
        figures = json.loads(capsys.readouterr().out)
        return figures["rows"][0]["peak_bytes"], figures["rows"][0]["phases"]

    (peak, phases), (apart, others) = planned(), planned("--for-gpu")
    right = 64 * 4096 * 128 * 4
    assert phases["nearest tokens"] - others["nearest tokens"] == right
    assert peak - apart >= right
    assert phases["lanczos step"] == others["lanczos step"]
    assert main(["plan", *options, "--for-gpu"]) == 2
    assert "a GPU that is not here needs --memory: say what it has, like 40GB" in capsys.readouterr().err


def test_the_ordinary_jacobian_holds_no_scores_of_all_layers():
    """What its way back holds of another layer is less than the layer's T² numbers, kept a few times."""

    def scratch(layers: int) -> int:
        config = models.find_config("gemma-3-270m")
        config = replace(config, num_layers=layers, layer_types=config.layer_types[:layers])
        operator = abstract(Job(config, 1024, policy="none"), Dial()).operator
        probe = jax.ShapeDtypeStruct((1, *operator.output_shape), operator.dtype)
        return added_bytes(jax.jit(DetachedJacobian.rmatmat), operator, probe)

    scores = 4 * 1024**2 * 4  # heads, T², float32
    a_layer = (scratch(12) - scratch(6)) // 6
    assert a_layer < 2 * scores  # that of all that is kept of a layer; with the scores it would be four


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "gemma-3-5b"), "no model 'gemma-3-5b'"),
        (("--model", "demo-llama", "--tokens", "0"), "choose from 1 to"),
        (("--model", "demo-llama", "--tokens", "5000"), "has 4096 positions"),
        (("--model", "demo-llama", "--memory", "lots"), "is no size in bytes"),
        (("--model", "demo-llama", "--dtype", "int8"), "unknown dtype"),
        (("--model", "demo-llama", "--method", "best"), "unknown method"),
        (("--model", "demo-llama", "-k", "0"), "-k is 0: give 1 or more"),
        (("--model", "demo-llama", "-k", "1000"), "choose 1 ≤ k ≤ 128"),
        (("--model", "demo-llama", "--attention", "dense"), "unknown attention 'dense'"),
        (("--model", "demo-llama", "--precision", "float16"), "unknown precision"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(capsys, arguments: tuple[str, ...], words: str):
    assert main(["plan", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_result_files_are_safetensors(tmp_path: Path):
    from safetensors.numpy import load_file

    tensors = {
        "ids": np.arange(3), "a": np.eye(3, dtype=np.float32)[:, :2], "empty": np.zeros((0, 4)),
        "one": np.ones(()),
    }  # fmt: skip
    write_tensors(tensors, tmp_path / "x.safetensors")
    loaded = load_file(tmp_path / "x.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, a in tensors.items():
        assert loaded[name].dtype == a.dtype
        np.testing.assert_array_equal(loaded[name], a)
