"""Peak memory of a solve, phase by phase, from the compiled programs that it will run.

Shapes are enough: each program is compiled ahead of time and XLA's own account of its outputs and temporaries
is read. What a program takes over from outside is counted here, once for as long as it is held. It is
compiled for this machine's backend: another one needs other temporaries (CPUs have no bfloat16 products and
widen the operands first). What a compiler, libraries and the interpreter hold themselves is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxlin_models.sharding import held_by_one
from jaxtyping import PyTree

from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.runtime.mesh import sharing_memory
from jaxlin.solvers.choose import MethodChoice
from jaxlin.solvers.examine import layouts
from jaxlin.solvers.lanczos import ROOM, shapes, step
from jaxlin.solvers.methods import ITERATIVE

Shape = jax.ShapeDtypeStruct

#: The programs of a solve, to be compiled.
_matmat, _rmatmat, _step = (jax.jit(run) for run in (DetachedJacobian.matmat, DetachedJacobian.rmatmat, step))


@dataclass(frozen=True)
class Phase:
    """One part of a job: the most it needs beside what is held throughout, in bytes."""

    name: str
    bytes: int


def tree_bytes(tree: PyTree) -> int:
    """Bytes of all arrays, or shapes of arrays, of a pytree; of one device, where there are several."""
    return sum(held_by_one(leaf) for leaf in jax.tree.leaves(tree))


def added_bytes(function: Callable[..., Any], *arguments: Any) -> int:
    """Bytes of the outputs and temporaries of a jitted function at arguments of these shapes."""
    analysis = function.lower(*arguments).compile().memory_analysis()  # type: ignore[attr-defined]
    return int(analysis.output_size_in_bytes + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes)


def right_bytes(operator: DetachedJacobian, k: int, *, apart: bool) -> int:
    """Of k right vectors, which wait in the host's memory, what counts as a device's."""
    vectors = k * operator.shape[1] * jnp.dtype(solver_dtype(operator.dtype)).itemsize
    return _on_host(operator, vectors, apart=apart)


def _on_host(operator: DetachedJacobian, count: int, *, apart: bool) -> int:
    """Of bytes in the host's memory, what counts as a device's: its part, where it is theirs."""
    mesh = getattr(getattr(operator.x, "sharding", None), "mesh", None)
    return 0 if apart else count // sharing_memory(mesh if isinstance(mesh, Mesh) else None)


def solve_phases(operator: DetachedJacobian, choice: MethodChoice, k: int, *, apart: bool) -> list[Phase]:
    """The phases of :func:`jaxlin.solvers.svd`, and of reading its result in tokens and writing it.

    Args:
        operator: the map, of which only shapes are looked at.
        choice: method and block.
        k: how many triplets.
        apart: whether the device has memory of its own.
    """
    m, n = operator.shape
    wide = jnp.dtype(solver_dtype(operator.dtype))
    probes = operator.probes_per_pass
    right = right_bytes(operator, k, apart=apart)
    chunk = probes * n * wide.itemsize

    on_host = partial(_on_host, operator, apart=apart)

    @cache
    def forward(b: int) -> int:
        return added_bytes(_matmat, operator, Shape((b, *operator.input_shape), operator.dtype))

    @cache
    def backward(b: int) -> int:
        return added_bytes(_rmatmat, operator, Shape((b, *operator.output_shape), operator.dtype))

    state = 0
    if choice.method == "lanczos":
        kept = shapes(m, n, choice.block, ROOM, wide)
        state = tree_bytes(kept)
        solve = state + added_bytes(_step, operator, kept, 0)
        phases = [Phase("lanczos step", solve)]
    elif choice.method == "matfree":
        phases = [Phase("matfree", choice.bytes_needed + max(forward(1), backward(1)))]
    elif choice.method == "power":
        narrow = _if_narrow(operator, chunk // 2)
        passes = chunk + max(forward(probes) + narrow, backward(probes) + _if_narrow(operator, chunk))
        phases = [Phase("power step", on_host(choice.bytes_needed) + passes)]
    elif choice.method == "gram":
        phases = [Phase("gram", on_host(choice.bytes_needed) + backward(probes))]
    else:
        phases = [Phase(choice.method, choice.bytes_needed + backward(probes))]
    pulling, checking = layouts(operator.probes_per_pass, k, estimates=choice.method in ITERATIVE)
    vector = n * operator.dtype.itemsize
    compared = on_host(3 * n * wide.itemsize)  # of one vector, held against its image
    back = state + right + backward(pulling.size) + compared
    ahead = state + right + forward(checking.size) + compared
    ahead += checking.size * vector + on_host(checking.size * vector)  # probes are put together on the host
    phases += [Phase("pulling left vectors back", back), Phase("checking residuals", ahead)]
    return phases


def _if_narrow(operator: DetachedJacobian, count: int) -> int:
    """What widening a bfloat16 array costs; nothing where it is float32 or better already."""
    return 0 if solver_dtype(operator.dtype) == operator.dtype else count
