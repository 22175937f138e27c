"""Everything of a mesh of devices that needs several: one process of eight virtual CPU devices for all of it.

Prints a JSON object: what was checked -> its largest error relative to the largest number, or what was found.
``test_mesh.py`` says what each has to be.
"""

from __future__ import annotations

import json
import re
import sys
import unittest.mock
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models.slices
import numpy as np
from flax import nnx
from jaxlin_models import Dial, positions
from jaxlin_models.gguf.tensors import GgufTensors
from jaxlin_models.sharding import by_columns
from jaxlin_models.stacks import are_apart
from jaxlin_models.tensors import FileTensors

import jaxlin
from jaxlin import DetachedJacobian
from jaxlin.analyses.decoding import cosines_of
from jaxlin.linear.batch import OperatorBatch
from jaxlin.planning.abstract import Job, abstract
from jaxlin.prompts.model import Model
from jaxlin.prompts.operators import record
from jaxlin.prompts.readout import score
from jaxlin.solvers import batch as batches
from jaxlin.solvers.lanczos import start, step
from jaxlin.verbs.convert import convert
from jaxlin.verbs.options import Convert

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
BLOCKS = {"attention": "queries_keys", "block": 4}
#: Dial, policy and mesh; every one of each is in one of them at least.
CASES: tuple[tuple[Dial, str, str], ...] = (
    (Dial(), "detached", "tensor=2"),
    (Dial(), "half", "tensor=8"),
    (Dial(), "none", "data=2,tensor=4"),
    (Dial(gate="recomputed"), "detached-gate", "tensor=4"),
    (Dial(**BLOCKS), "detached", "data=2,tensor=4"),
    (Dial(**BLOCKS, gate="recomputed", offload=True), "detached", "data=4,tensor=2"),
    # Ten positions over three devices, and over four: neither divides them.
    (Dial(), "detached", "sequence=3"),
    (Dial(gate="recomputed"), "half", "sequence=4,tensor=2"),
    (Dial(**BLOCKS), "detached-gate", "data=2,sequence=2,tensor=2"),
    (Dial(**BLOCKS | {"block": 2}, gate="recomputed", offload=True), "detached", "sequence=4"),
    (Dial(), "none", "sequence=4"),
)
#: The programs of a solve.
FORWARD, BACKWARD = jax.jit(DetachedJacobian.matmat), jax.jit(DetachedJacobian.rmatmat)
STEP = jax.jit(step)
_COLLECTIVE = re.compile(
    r"= (\(?[^=]*?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)"
)
_SHAPE = re.compile(r"\w+\[([0-9,]*)\]")


def error(ours: Any, expected: Any) -> float:
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


def apart_of(operator: DetachedJacobian, expected: DetachedJacobian) -> float:
    """Output, offset, and the map by both of its passes."""
    v = jax.random.normal(jax.random.key(0), (8, *expected.input_shape), expected.dtype)
    u = jax.random.normal(jax.random.key(1), (8, *expected.output_shape), expected.dtype)
    pairs = [(o.y, o.x, o.matmat(v), o.rmatmat(u)) for o in (operator, expected)]
    offsets = float(np.abs(np.asarray(operator.offset) - np.asarray(expected.offset)).max())
    return max(offsets, *(error(a, b) for a, b in zip(*pairs, strict=True)))


def maps(one: Callable[[], Model], on: Callable[[str], Model]) -> Iterator[tuple[str, float]]:
    """Every policy, dial and number of devices, against one device."""
    expected: dict[str, DetachedJacobian] = {}
    for dial, policy, mesh in CASES:
        if policy not in expected:
            expected[policy] = one().jacobian(IDS, policy=policy)
        ours = on(mesh).jacobian(IDS, policy=policy, dial=None if policy == "none" else dial)
        yield f"{policy} {dial.attention} {dial.gate} {mesh}", apart_of(ours, expected[policy])
    with unittest.mock.patch.object(positions, "POSITIONS_AT_ONCE", 4):
        ours = on("tensor=2").jacobian(IDS, dial=Dial(gate="recomputed"))
        yield "MLPs in parts", apart_of(ours, expected["detached"])


def collectives(program: Any) -> list[tuple[str, list[int]]]:
    """The collectives of a compiled program, with the sizes of what each gives."""
    found = []
    for line in program.as_text().splitlines():
        if match := _COLLECTIVE.search(line):
            sizes = [np.prod([int(n) for n in shape.split(",") if n]) for shape in _SHAPE.findall(match[1])]
            found.append((match[2], [int(size) for size in sizes]))
    return found


def programs(model: Model) -> Iterator[tuple[str, Any]]:
    """The programs of a job, compiled for this model."""
    graphdef, weights = model._split()
    whole = nnx.split(model.decoder)[1]
    for dial in (Dial(), Dial(**BLOCKS, gate="recomputed")):
        operator = model.jacobian(IDS, dial=dial).bare
        name, dtype = dial.attention, operator.dtype
        yield f"{name} record", record.lower(graphdef, weights, operator.x, dial, "detached")
        v = operator._probes(jnp.ones((2, *operator.input_shape), dtype), operator.input_shape)
        u = operator._probes(jnp.ones((2, *operator.output_shape), dtype), operator.output_shape)
        yield f"{name} forward", FORWARD.lower(operator, v)
        yield f"{name} backward", BACKWARD.lower(operator, u)
    yield "lanczos step", STEP.lower(operator, start(operator, 1, 0), 0)
    yield "head", score.lower(graphdef, whole, operator.y[None], True)
    vectors = by_columns(model.decoder.layout, jnp.ones((2, 3, model.config.embed_dim), operator.dtype))
    yield "nearest tokens", cosines_of.lower(vectors, model.vocabulary())


def placed(model: Model) -> dict[str, list[int]]:
    """What one device holds of each weight and coefficient."""
    state = model.jacobian(IDS).state
    return {
        jax.tree_util.keystr(path): [leaf.size, leaf.addressable_shards[0].data.size]
        for path, leaf in jax.tree.leaves_with_path((state.weights, state.recorded))
    }


def planned(model: Model) -> dict[str, list[int]]:
    """Bytes that one device holds of weights and coefficients: as planned from the config, and in fact."""
    dial, found = Dial(), {}
    job = Job(model.config, len(IDS), model.dtype_name, model.precision, layout=model.decoder.layout)
    expected, state = abstract(job, dial), model.jacobian(IDS, dial=dial).state
    for name, tree in (("weights", state.weights), ("coefficients", state.recorded)):
        held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))
        found[name] = [getattr(expected, name), held]
    return found


def answers(one: Callable[[], Model], on: Callable[[str], Model]) -> Iterator[tuple[str, Any]]:
    """Every method and verb on a mesh: (largest error against one device, whether the certificate holds)."""
    model, alone = on("data=2,sequence=2,tensor=2"), one()
    matrix = np.asarray(alone.jacobian(IDS).dense())
    s = np.linalg.svd(matrix.reshape(len(matrix), -1), compute_uv=False)
    for method in ("dense", "gram", "lanczos", "matfree", "power"):
        found = model.svd(IDS, k=3, method=method)
        yield f"svd {method}", [error(found.s, s[:3]), found.certificate.holds]
    # More prompts than places: one that is done is replaced. Padded ones say at run time where they end.
    prompts = [IDS, IDS[::-1], *([*IDS[i:], *IDS[:i]] for i in range(1, 4))]
    with unittest.mock.patch.object(batches, "_POSITIONS", 1):
        ours, theirs = (
            batches.svd_together([m.jacobian(prompt, length=16) for prompt in prompts], 3)
            for m in (model, alone)
        )
    errors = [error(mine.s, other.s) for mine, other in zip(ours, theirs, strict=True)]
    yield "svd together", [max(errors), all(mine.certificate.holds for mine in ours)]
    each = np.linalg.svd(matrix.swapaxes(0, 1), compute_uv=False)[:, 0]
    for method in ("exact", "shared"):
        found = model.tokens(IDS, k=1, method=method)
        yield f"tokens {method}", [error(found.s[:, 0], each), found.certificate.holds]
    ours, theirs = (m.attribute(IDS, "#7", by_token=True) for m in (model, alone))
    names = ("value", "tokens", "branches", "heads", "biases", "branch_tokens")
    splits = [[getattr(each.splits[0], name) for name in names] for each in (ours, theirs)]
    yield "attribute", [max(map(error, *splits)), ours.holds]
    ours, theirs = (m.layers(IDS, k=2, layers="1", parts="block,mlp") for m in (model, alone))
    values = [[part[0].s for part in each.parts.values()] for each in (ours, theirs)]
    yield "layers", [max(map(error, *values)), ours.holds]
    ours, theirs = (m.steer([5, 6, 7], IDS, layer=1, tokens=3, strength=(0.5,)) for m in (model, alone))
    yield "steer", [float(ours.continuations != theirs.continuations), ours.holds]


def batch(one: Callable[[], Model], on: Callable[[str], Model]) -> list[Any]:
    """Two prompts whose passes go together: over ``data`` each part has one of them."""
    prompts = (IDS, IDS[::-1])
    ours, theirs = (
        OperatorBatch.of([m.jacobian(p) for p in prompts]) for m in (on("data=2,tensor=4"), one())
    )
    u = jax.random.normal(jax.random.key(0), (2, 1, one().config.embed_dim), theirs.maps.dtype)
    found = []
    for _ in range(2):  # as they are, and with another prompt in the second place
        gate = ours.maps.state.recorded["layers"]["mlp.gate"]
        sizes = list(gate.shape), list(gate.addressable_shards[0].data.shape)
        found.append([error(ours.rmatmat(u), theirs.rmatmat(u)), *sizes])
        other = [*IDS[3:], *IDS[:3]]
        ours = ours.with_map(1, on("data=2,tensor=4").jacobian(other))
        theirs = OperatorBatch.of([one().jacobian(prompt) for prompt in (IDS, other)])
    return found


def reads(source: str, kind: type, mesh: str) -> dict[str, Any]:
    """How much of a checkpoint is read at once and in all; how far its weights are from the whole ones."""
    sizes: list[int] = []
    read = kind.read

    def noted(self: Any, *arguments: Any) -> np.ndarray:
        part: np.ndarray = read(self, *arguments)
        sizes.append(part.size)
        return part

    kind.read = noted  # type: ignore[attr-defined]
    try:
        ours = nnx.state(jaxlin.load(source, mesh=mesh).decoder)
    finally:
        kind.read = read  # type: ignore[attr-defined]
    theirs = nnx.state(jaxlin.load(source).decoder)
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))
    return {
        "largest": max(sizes),
        "read": sum(sizes),
        "all": sum(leaf.size for leaf in jax.tree.leaves(theirs)),
        "error": max(error(a, b) for a, b in pairs),
    }


def apart(directory: str, expected: Model) -> float:
    """With an array for each layer, as on a GPU."""
    with unittest.mock.patch.object(jaxlin_models.slices, "keeps_apart", return_value=True):
        model = jaxlin.load(directory, dtype="float64", mesh="sequence=2,tensor=4")
        assert are_apart(nnx.state(model.decoder.layers))
    return apart_of(model.jacobian(IDS), expected.jacobian(IDS))


def packed(file: str) -> dict[str, Any]:
    """Weights in codes, divided: their maps, what is sent, and what one device holds."""
    expected = jaxlin.load(file, dtype="float64").jacobian(IDS)
    found: dict[str, Any] = {"maps": {}}
    for mesh in ("tensor=2", "data=2,sequence=2,tensor=2"):
        model = jaxlin.load(file, dtype="float64", weights="packed", mesh=mesh)
        found["maps"][mesh] = apart_of(model.jacobian(IDS), expected)
    with unittest.mock.patch.object(jaxlin_models.slices, "keeps_apart", return_value=True):
        model = jaxlin.load(file, dtype="float64", weights="packed", mesh="tensor=2")
        assert are_apart(nnx.state(model.decoder.layers))
        found["maps"]["apart"] = apart_of(model.jacobian(IDS), expected)
    model = jaxlin.load(file, weights="packed", mesh="tensor=2")
    found["sent"] = {name: collectives(made.compile()) for name, made in programs(model)}
    job = Job(
        model.config, len(IDS), model.dtype_name, forms=model.source.forms(), layout=model.decoder.layout
    )
    leaves = jax.tree.leaves(model.jacobian(IDS).state.weights)
    found["held"] = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
    found["whole"] = sum(leaf.nbytes for leaf in leaves)
    found["planned"] = abstract(job, Dial()).weights
    return found


def longrope(file: str) -> float:
    """A prompt as long as the short factors are for, filled up beyond that."""
    ours, expected = (jaxlin.load(file, dtype="float64", mesh=mesh) for mesh in ("sequence=4", None))
    assert expected.config.rope_full.original_max_positions == len(IDS)
    return apart_of(ours.jacobian(IDS), expected.jacobian(IDS))


def restored(checkpoint: str, folder: str, expected: Model) -> float:
    """Converted, and restored onto a mesh."""
    convert(Convert(model=checkpoint, out=Path(folder), dtype="float64"))
    model = jaxlin.load(folder, dtype="float64", mesh="tensor=4")
    assert model.weights_sha256 == expected.weights_sha256
    return apart_of(model.jacobian(IDS), expected.jacobian(IDS))


def main(checkpoint: str, file: str, orbax: str, *only: str) -> Mapping[str, Any]:
    """All checks, or those alone: of a checkpoint, a GGUF file, and a folder for the checkpoint converted."""
    loaded: dict[str | None, Model] = {}

    def on(mesh: str | None) -> Model:
        if mesh not in loaded:
            loaded[mesh] = jaxlin.load(checkpoint, dtype="float64", mesh=mesh)
        return loaded[mesh]

    def one() -> Model:
        return on(None)

    def narrow(mesh: str = "data=2,tensor=4") -> Model:
        return jaxlin.load(checkpoint, dtype="bfloat16", mesh=mesh)

    def sent(mesh: str) -> dict[str, Any]:
        return {name: collectives(made.compile()) for name, made in programs(narrow(mesh))}

    checks: Mapping[str, Callable[[], Any]] = {
        "maps": lambda: dict(maps(one, on)),
        "collectives": lambda: sent("data=2,tensor=4"),
        "collectives over positions": lambda: sent("sequence=4"),
        "placed": lambda: placed(narrow()),
        "placed over positions": lambda: placed(narrow("sequence=4")),
        "planned": lambda: planned(narrow()),
        "planned over positions": lambda: planned(narrow("sequence=4")),
        "answers": lambda: dict(answers(one, on)),
        "batch": lambda: batch(one, on),
        "apart": lambda: apart(checkpoint, one()),
        "safetensors": lambda: reads(checkpoint, FileTensors, "data=2,tensor=4"),
        "gguf": lambda: reads(file, GgufTensors, "tensor=4"),
        "packed": lambda: packed(file),
        "longrope": lambda: longrope(str(Path(file).with_name("longrope.gguf"))),
        "converted": lambda: restored(checkpoint, orbax, one()),
    }
    return {name: check() for name, check in checks.items() if not only or name in only}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
