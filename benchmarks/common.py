"""What the benchmarks share: the machine's own GEMM rate, timing in turn, and memory of one solve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxlin.runtime.environment import held_bytes, peak_bytes

#: Square products that a machine runs at its full rate, beside the passes' own largest one.
GEMM_SIZES = (1024, 2048)
Shape = tuple[int, int, int]


def gemm_shapes(own: Shape) -> dict[str, Shape]:
    """Reference products (m, k, n) by name: the passes' own largest one, and square ones."""
    return {f"gemm {m} × {k} × {n}": (m, k, n) for m, k, n in [own, *((s, s, s) for s in GEMM_SIZES)]}


def gemms(shapes: dict[str, Shape]) -> dict[str, Callable[[], jax.Array]]:
    """The reference products by name, ready to run."""

    def one(m: int, k: int, n: int) -> Callable[[], jax.Array]:
        a, b = jax.random.normal(jax.random.key(3), (m, k)), jax.random.normal(jax.random.key(4), (k, n))
        product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST))
        return lambda: product(a, b)

    return {name: one(*shape) for name, shape in shapes.items()}


def best_rates(shapes: dict[str, Shape], seconds: dict[str, list[float]]) -> list[float]:
    """Operations a second of the best product of each round."""
    rounds = zip(*(seconds[name] for name in shapes), strict=True)
    sizes = [2 * math.prod(shape) for shape in shapes.values()]
    return [max(size / t for size, t in zip(sizes, times, strict=True)) for times in rounds]


def side_by_side(functions: dict[str, Callable[[], jax.Array]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every function, in turn, ``rounds`` times, after one call each to compile."""
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(seconds_of(function))
    return seconds


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call, its result on the device included."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


@dataclass(frozen=True)
class Cost:
    """Wall seconds, and the seconds that this process kept cores busy.

    On a shared machine the second says what was worked whatever the neighbours did meanwhile.
    """

    seconds: float = 0.0
    cores: float = 0.0

    @classmethod
    def now(cls) -> Cost:
        """The clocks as they stand."""
        return cls(time.perf_counter(), time.process_time())

    @classmethod
    def since(cls, start: Cost) -> Cost:
        """From then to now."""
        return cls.now() + start * -1

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.cores + other.cores)

    def __mul__(self, factor: float) -> Cost:
        return Cost(self.seconds * factor, self.cores * factor)


class MemoryMeter:
    """The most memory held since it was made, less what was held then.

    Of an accelerator, JAX's own peak, which cannot be reset: what the preparation needed for a moment counts
    as well. Of a CPU, the resident set of this process, whose high-water mark is reset first where the
    kernel allows it.
    """

    def __init__(self) -> None:
        _reset_high_water_mark()
        self._before = held_bytes()

    def bytes(self) -> int:
        """So far."""
        return max(0, peak_bytes() - self._before)


def _reset_high_water_mark() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the mark stays where the preparation left it
        return
