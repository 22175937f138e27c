"""GPUs that programs are compiled for, without having one: what XLA needs to know of them, their rates."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxlin_models.sharding import Layout

from jaxlin.planning.memory import Shape

GB = 10**9


@dataclass(frozen=True)
class Card:
    """One GPU.

    Attributes:
        name: as NVIDIA calls it.
        memory: bytes.
        bandwidth: bytes a second.
        rates: operations a second of products, by precision; dense ones, from NVIDIA's data sheets.
        multiprocessors, cores, shared, shared_of_one, cache, clock, capability: what XLA asks for: streaming
            multiprocessors, float32 units of each, bytes of shared memory of each and of one block, bytes of
            the L2 cache, GHz, compute capability.
    """

    name: str
    memory: int
    bandwidth: int
    rates: dict[str, float]
    multiprocessors: int
    cores: int
    shared: int
    shared_of_one: int
    cache: int
    clock: float
    capability: int

    @property
    def spec(self) -> str:
        """XLA's description of a GPU as a target, in protobuf's text format."""
        return f"""gpu_device_info {{
            threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
            block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
            registers_per_core_limit: 65536 registers_per_block_limit: 65536 shared_memory_per_block: 49152
            shared_memory_per_core: {self.shared} shared_memory_per_block_optin: {self.shared_of_one}
            core_count: {self.multiprocessors} fpus_per_core: {self.cores} l2_cache_size: {self.cache}
            clock_rate_ghz: {self.clock} memory_bandwidth: {self.bandwidth} device_memory_size: {self.memory}
            cuda_compute_capability {{ major: {self.capability} }}
        }} platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }}
        device_description_str: "{self.name}" """


def _rates(float32: float, tf32: float, bfloat16: float) -> dict[str, float]:
    return {"float32": float32, "tf32": tf32, "bf16x3": bfloat16 / 3, "bfloat16": bfloat16}


CARDS = {
    "a100": Card(
        "NVIDIA A100-SXM4-40GB", 42331013120, 1555200000000, _rates(19.5e12, 156e12, 312e12),
        108, 64, 167936, 166912, 41943040, 1.41, 8,
    ),
    "h200": Card(
        "NVIDIA H200", 151397597184, 4800000000000, _rates(67e12, 494e12, 989e12),
        132, 128, 233472, 232448, 52428800, 1.98, 9,
    ),
}  # fmt: skip


def devices_of(card: Card, count: int = 1) -> Sequence[Any]:
    """So many of these cards in one host, to compile for."""
    sizes = f"1x1x{count}"
    found: Sequence[Any] = topologies.get_topology_desc(
        sizes, platform="cuda", topology=sizes, target_config=card.spec
    ).devices
    return found


@dataclass(frozen=True)
class Compiled:
    """What XLA says of one program.

    Attributes:
        name: of the program.
        seconds, cores: that compiling it took, by the wall clock and of busy cores.
        arguments, results, scratch: bytes.
        copies, copied: how many times a pass through the program makes another array of a whole matrix of
            weights (copied, sliced out of a stack, transposed or widened), and the bytes of these arrays.
        library: calls of library routines that factorise.
        sent: bytes that the device is given, or gives to sums, by others in one pass through the program.
        failed: why it does not compile, None if it does.
    """

    name: str
    seconds: float
    cores: float = 0
    arguments: int = 0
    results: int = 0
    scratch: int = 0
    copies: int = 0
    copied: int = 0
    library: int = 0
    sent: int = 0
    failed: str | None = None


class Compiler:
    """Compiles for one card, or several of one host. Meanwhile JAX is told that its backend is a GPU."""

    def __init__(
        self, devices: Sequence[Any], matrices: Collection[int], layout: Layout | None = None
    ) -> None:
        """For a card of :func:`devices_of`, or for a layout over them.

        ``matrices``: how many numbers the matrices of one layer have on a device, to know their copies by.
        """
        alone = NamedSharding(Mesh(np.array(devices[:1]), ("x",)), PartitionSpec())
        self._place = alone if layout is None else layout.whole
        self._laid = layout is not None
        self._matrices = frozenset(matrices)
        self.done: list[Compiled] = []

    def __call__(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Compiled:
        """Compile a jitted function at arguments of these shapes."""
        start, began = time.perf_counter(), time.process_time()
        placed = jax.tree.map(self._placed, arguments)
        try:
            lowered = function.trace(*placed, **options).lower(lowering_platforms=("cuda",))  # type: ignore[attr-defined]
            program = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).splitlines()[0][:200]
            self.done.append(Compiled(name, time.perf_counter() - start, failed=reason))
            return self.done[-1]
        seconds, cores = time.perf_counter() - start, time.process_time() - began
        memory, text = program.memory_analysis(), program.as_text()
        copies = list(weight_copies(text, self._matrices))
        self.done.append(
            Compiled(
                name,
                round(seconds, 2),
                round(cores, 2),
                memory.argument_size_in_bytes,
                memory.output_size_in_bytes - memory.alias_size_in_bytes,
                memory.temp_size_in_bytes,
                len(copies),
                sum(copies),
                len(re.findall(r"custom_call_target=\"cusolver", text)),
                sum(sent_bytes(text)),
            )
        )
        return self.done[-1]

    def _placed(self, a: Any) -> Any:
        if not isinstance(a, Shape) or (self._laid and isinstance(a.sharding, NamedSharding)):
            return a
        return Shape(a.shape, a.dtype, sharding=self._place)


#: An instruction of a program that is no part of a fused one: its name, type, shape and operation.
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (\w+)\[([\d,]*)\]\S* ([\w-]+)\(")
_BYTES = {"f64": 8, "f32": 4, "bf16": 2, "f16": 2, "u16": 2}
#: What makes an array of another, and computes nothing new.
_MOVES = ("copy", "slice", "transpose", "convert", "bitcast", "wrapped")


def weight_copies(text: str, matrices: Collection[int]) -> list[int]:
    """Bytes of each array of the size of a layer's matrix that a program makes by moving numbers alone.

    Args:
        text: the optimised program.
        matrices: sizes, in numbers, of the matrices of a layer.
    """
    found: list[int] = []
    loops, fused, trips = _trips(text), False, 1
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")):
            fused = line.startswith(("%fused", "%gemm_fusion", "%wrapped", "%horizontally"))
            trips = loops.get(line.split(" ", 1)[0], 1)
            continue
        match = None if fused else _INSTRUCTION.match(line)
        if (
            match is None
            or match[2] not in _BYTES
            or match[4] not in ("copy", "fusion", "dynamic-slice", "slice")
        ):
            continue
        size = math.prod(int(n) for n in match[3].split(",")) if match[3] else 1
        moved = match[4] != "fusion" or any(word in match[1] for word in _MOVES)
        if size in matrices and moved and "gemm" not in match[1]:
            found += [size * _BYTES[match[2]]] * trips
    return found


#: A collective, alone or begun, with the types of what it gives.
_COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
_TYPE = re.compile(r"(\w+)\[([\d,]*)\]")


def sent_bytes(text: str) -> list[int]:
    """Bytes that each collective of a program gives a device; loops as often as they run."""
    found: list[int] = []
    loops, trips = _trips(text), 1
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")):
            trips = loops.get(line.split(" ", 1)[0], 1)
        elif match := _COLLECTIVE.search(line):
            kinds = [(name, axes) for name, axes in _TYPE.findall(match[1]) if name in _BYTES]
            sizes = [_BYTES[name] * math.prod(int(n) for n in axes.split(",") if n) for name, axes in kinds]
            # These two, where they are begun, have their operands before their results.
            begun = f"{match[2]}-start(" in line and match[2] in ("all-gather", "collective-permute")
            given = sizes[len(sizes) // 2 :] if begun else sizes
            found += [sum(given)] * trips
    return found


#: The body of a loop, and how often it runs where the compiler knows.
_LOOP = re.compile(r"body=(%[\w.-]+).*?known_trip_count\":\{\"n\":\"(\d+)\"")


def _trips(text: str) -> dict[str, int]:
    """How often the body of each loop of known length runs, by its name."""
    found = (_LOOP.search(line) for line in text.splitlines() if "known_trip_count" in line)
    return {match[1]: int(match[2]) for match in found if match}
