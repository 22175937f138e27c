"""A model spread over a mesh of devices gives the map of one device, and nothing but small things are sent.

What needs several devices runs in one process of eight virtual ones: tests/mesh_worker.py.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
import pytest
from jaxlin_models.sharding import Layout
from tiny_checkpoints import CHECKPOINTS, TinyCheckpoint, write_checkpoint
from tiny_gguf import write_gguf

import jaxlin
from jaxlin import JaxlinError
from jaxlin.commands.main import main
from jaxlin.planning.abstract import Job, abstract, weight_bytes
from jaxlin.planning.budget import Solver, choose
from jaxlin.planning.memory import right_bytes
from jaxlin.prompts.model import Model
from jaxlin.runtime.mesh import parse_mesh

#: Eight query heads on two kv heads, so that over eight devices four hold the same kv head; biases.
EIGHT = TinyCheckpoint(
    "llama",
    99,
    {"num_attention_heads": 8, "num_key_value_heads": 2, "attention_bias": True, "num_hidden_layers": 2},
)
#: Float64 sums in another order.
ROUNDING = 1e-12
WIDTH, MLP, LENGTH = 32, 56, 10
#: The largest that a program may gather or sum: two probes at all positions, or the scores of the vocabulary.
LARGEST = 2 * LENGTH * WIDTH
#: Ten positions filled up for four devices; two kv heads of four features.
FILLED, HEADS_WIDTH = 12, 8


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CHECKPOINTS, "eight-heads", EIGHT)  # type: ignore[arg-type]
        return write_checkpoint("eight-heads", tmp_path_factory.mktemp("eight"))


@pytest.fixture(scope="module")
def found(eight: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What the process with eight devices found."""
    folder = tmp_path_factory.mktemp("mesh")
    write_gguf("llama", folder / "llama.gguf")
    write_gguf("phi3-longrope", folder / "longrope.gguf")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    worker = Path(__file__).parent / "mesh_worker.py"
    arguments = [str(eight), str(folder / "llama.gguf"), str(folder / "converted")]
    done = subprocess.run(
        [sys.executable, str(worker), *arguments],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: Mapping[str, Any] = json.loads(done.stdout)
    return result


def test_maps_are_those_of_one_device(found: Mapping[str, Any]):
    """Under every policy, at every setting of the dial, on 2, 4 and 8 devices; apart, and converted."""
    assert len(found["maps"]) == 12
    for case, error in found["maps"].items():
        assert error < ROUNDING, case
    assert found["apart"] < ROUNDING
    assert found["converted"] < ROUNDING
    assert found["longrope"] < ROUNDING


def test_answers_are_those_of_one_device(found: Mapping[str, Any]):
    """By every method and of every verb."""
    assert len(found["answers"]) == 11
    for verb, (error, holds) in found["answers"].items():
        assert error < 1e-8, verb
        assert holds, verb


def test_a_batch_of_prompts_is_divided(found: Mapping[str, Any]):
    """Also after another prompt took the place of one."""
    assert len(found["batch"]) == 2
    for error, whole, part in found["batch"]:
        assert error < ROUNDING
        layers, _, length, width = whole
        assert part == [layers, 1, length, width // 4]


def test_no_program_gathers_a_weight(found: Mapping[str, Any]):
    """Sums after attention and MLP, and the probes of the other groups at the end: nothing else is sent."""
    programs = found["collectives"]
    for name, sent in programs.items():
        for kind, sizes in sent:
            assert kind in ("all-reduce", "all-gather"), name
            assert max(sizes) <= LARGEST, (name, kind, sizes)
    # In the loop over layers: one sum for attention and one for the MLP.
    for dial in ("probabilities", "queries_keys"):
        assert [kind for kind, _ in programs[f"{dial} record"]] == ["all-reduce"] * 2
        assert [kind for kind, _ in programs[f"{dial} forward"]] == ["all-reduce"] * 2 + ["all-gather"]
        # Backwards also what the queries of a shared kv head give it.
        assert [kind for kind, _ in programs[f"{dial} backward"]] == ["all-reduce"] * 3 + ["all-gather"]
    assert {kind for kind, _ in programs["lanczos step"]} == {"all-reduce"}
    assert {kind for kind, _ in programs["head"]} == {"all-reduce"}


def test_divided_positions_send_values_and_keys(found: Mapping[str, Any]):
    """Gathered forwards, summed backwards, keys where probabilities are computed again; and the ends."""
    programs = found["collectives over positions"]
    of_heads = FILLED * HEADS_WIDTH  # keys or values of one probe
    largest = {"forward": 2 * of_heads, "backward": 2 * FILLED * WIDTH, "lanczos step": FILLED * WIDTH}
    for name, sent in programs.items():
        allowed = largest.get(name.split(" ", 1)[-1], largest.get(name, of_heads))
        for kind, sizes in sent:
            assert max(sizes) <= allowed, (name, kind, sizes)
    gathered = {name: [kind for kind, _ in sent].count("all-gather") for name, sent in programs.items()}
    assert gathered == {
        "probabilities record": 2,  # keys and values
        "probabilities forward": 1,
        "probabilities backward": 1,  # the result, at the end
        "queries_keys record": 2,
        "queries_keys forward": 2,
        "queries_keys backward": 2,
        "lanczos step": 4,  # backwards keys, forwards keys and values, the probe between
        "head": 0,
        "nearest tokens": 0,
    }


def test_every_large_array_is_divided(found: Mapping[str, Any]):
    """Over four devices: tables, attention and MLP by four; kv heads, of which there are two, by two."""
    for name, (whole, part) in found["placed"].items():
        by = 1
        if any(
            word in name for word in ("mlp']", "embedding", "['head']", "query", "output']['kernel", "prob")
        ):
            by = 4
        elif any(word in name for word in ("['key']", "['value']")):
            by = 2
        if "mlp.gate" in name:
            by = 4
        assert whole == by * part, name


def test_what_is_kept_of_positions_is_divided(found: Mapping[str, Any]):
    for name, (whole, part) in found["placed over positions"].items():
        layers = "['layers']" in name and name.startswith("[1]")
        assert whole == (4 * part if layers else part), name


def test_a_plan_knows_what_one_device_holds(found: Mapping[str, Any]):
    for mesh in ("planned", "planned over positions"):
        for planned, held in found[mesh].values():
            assert planned == held > 0


def test_files_are_read_slice_by_slice(found: Mapping[str, Any]):
    """Every number once, and never more at once than a device holds of one layer's tensor, or of a table."""
    tables = {"safetensors": 97 * WIDTH, "gguf": 288 * 64}
    for kind, table in tables.items():
        read = found[kind]
        assert read["error"] == 0
        assert read["read"] == read["all"]
        assert read["largest"] == table // 4


def test_weights_in_codes_are_divided(found: Mapping[str, Any]):
    """The same map; of codes nothing is sent; one device has half of them, and the norms."""
    packed = found["packed"]
    assert len(packed["maps"]) == 3
    for mesh, error in packed["maps"].items():
        assert error < ROUNDING, mesh
    for name, sent in packed["sent"].items():
        assert {kind for kind, _ in sent} == {"all-reduce"}, name
        vectors = 2 * LENGTH * 64
        assert max(max(sizes) for _, sizes in sent) <= max(vectors, 2 * 3 * 288), name
    assert packed["planned"] == packed["held"] < 0.51 * packed["whole"]


def test_what_does_not_fit_on_a_mesh_is_told_what_would(tiny_model: Callable[[str, str], Model]):
    """Weights and coefficients are those of one device: tensor= divides the first, sequence= the others."""
    config = tiny_model("llama", "float32").config
    job = Job(config, 40, layout=Layout.of(config, jax.devices() * 4, sequence=2, tensor=2))
    weights = weight_bytes(job)
    assert weights < 0.6 * weight_bytes(replace(job, layout=None))
    for memory, words in ((weights // 2, "larger tensor="), (weights + 1000, "larger sequence=")):
        with pytest.raises(JaxlinError, match=f"use a `mesh` with a {words}"):
            choose(job, Solver(4, "lanczos"), memory)


def test_what_the_host_holds_is_shared_by_its_devices(tiny_model: Callable[[str, str], Model]):
    """Right vectors wait in the memory of a CPU once, however many devices it is."""
    config = tiny_model("llama", "float32").config
    alone, spread = (
        right_bytes(abstract(Job(config, 40, layout=layout), models.Dial()).operator, 5, apart=False)
        for layout in (None, Layout.of(config, jax.devices() * 4, sequence=2, tensor=2))
    )
    assert alone == 5 * 40 * config.embed_dim * 4 == 4 * spread


def test_groups_of_codes_are_not_divided(tmp_path: Path):
    """Refused by loading and by planning."""
    file = tmp_path / "tiny.gguf"
    write_gguf("llama", file)
    checkpoint = models.find(str(file))
    layout = Layout.of(checkpoint.config, jax.devices() * 4, tensor=4)
    refusal = r"the 64 inputs of .* are in groups of 32 codes, which 4 devices cannot divide: choose a `mesh`"
    with pytest.raises(models.ModelError, match=refusal):
        models.load_decoder(checkpoint, jnp.float32, packed=True, layout=layout)
    job = Job(checkpoint.config, 8, forms=models.packed_forms(checkpoint), layout=layout)
    with pytest.raises(models.ModelError, match=refusal):
        weight_bytes(job)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("tensor=4", (1, 1, 4)),
        ("data=2, tensor=4", (2, 1, 4)),
        ("data=3", (3, 1, 1)),
        ("tensor=2,sequence=4", (1, 4, 2)),
    ],
)
def test_meshes_as_people_write_them(text: str, sizes: tuple[int, int, int]):
    size = parse_mesh(text)
    assert (size.data, size.sequence, size.tensor) == sizes
    assert size.count == math.prod(sizes)
    assert parse_mesh(str(size)) == size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is no mesh: write it like tensor=4"),
        ("4", "'4' is no mesh"),
        ("tensor=-1", "is no mesh"),
        ("tensor=0", "has 0 devices along tensor"),
        ("tensor=2,tensor=2", "names tensor twice"),
        ("pipeline=2", "no axis 'pipeline': choose data"),
        ("sequence=2", "takes 2 devices and there are 1"),
        ("tensor=2", "takes 2 devices and there are 1"),
    ],
)
def test_what_is_no_mesh_is_refused_before_weights_are_read(eight: Path, text: str, words: str):
    with pytest.raises(JaxlinError, match=words):
        jaxlin.load(str(eight), mesh=text)


@pytest.mark.parametrize(
    ("sizes", "tensor", "usable"),
    [
        # Heads, kv heads, width, MLP.
        ((8, 2, 32, 56), 3, "1 or 2 or 4 or 8"),
        ((9, 3, 576, 1536), 2, "1 or 3"),  # SmolLM2: kv heads of three queries each
        ((8, 8, 32, 30), 4, "1 or 2"),
    ],
)
def test_heads_that_cannot_be_divided_are_refused(
    tiny_model: Callable[[str, str], Model], sizes: tuple[int, int, int, int], tensor: int, usable: str
):
    heads, kv_heads, width, mlp = sizes
    config = replace(
        tiny_model("llama", "float32").config,
        num_heads=heads, num_kv_heads=kv_heads, embed_dim=width, mlp_dim=mlp,
    )  # fmt: skip
    with pytest.raises(models.ModelError, match=f"tensor={usable}$"):
        Layout.of(config, jax.devices() * tensor, tensor=tensor)


def test_a_model_in_memory_is_refused(tiny_model: Callable[[str, str], Model]):
    with pytest.raises(JaxlinError, match="save the model and give its folder"):
        jaxlin.load(tiny_model("llama", "float32").decoder, mesh="tensor=2")


def test_a_converted_checkpoint_keeps_its_identity(eight: Path, tmp_path: Path, capsys):
    """It is the model of its source; another dtype, or a byte that was changed, is refused."""
    out = tmp_path / "converted"
    assert main(["convert", "--model", str(eight), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    source = jaxlin.load(str(eight))
    assert said["source_sha256"] == source.weights_sha256
    model = jaxlin.load(str(out))
    assert model.weights_sha256 == source.weights_sha256
    ids = [3, 1, 4]
    assert (model.jacobian(ids).y == source.jacobian(ids).y).all()
    with pytest.raises(JaxlinError, match=r"converted to float32: choose `dtype` float32"):
        jaxlin.load(str(out), dtype="bfloat16")
    assert main(["convert", "--model", str(out), "--out", str(tmp_path / "again")]) == 2
    assert "a converted checkpoint already" in capsys.readouterr().err
    assert main(["convert", "--model", str(eight), "--out", str(out)]) == 2
    assert "holds other files" in capsys.readouterr().err
    config = out / "config.json"
    config.write_text(config.read_text() + " ")
    from jaxlin_models import converted

    converted.check.cache_clear()
    with pytest.raises(JaxlinError, match="does not match its source"):
        jaxlin.load(str(out))
