"""Which method, and whether it fits: decided before the work starts, and explained in words."""

from __future__ import annotations

import math
import resource
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import psutil

from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.runtime.device import device, has_own_memory
from jaxlin.runtime.hosts import least
from jaxlin.runtime.sizes import spell_size
from jaxlin.solvers.matfree import first_steps
from jaxlin.solvers.methods import METHODS, uses
from jaxlin.solvers.power import width

#: Those that ``auto`` chooses from.
_AUTOMATIC = ("dense", "gram", "lanczos")
#: What is only there to be used: ``auto`` does not choose a method for its sake.
_OFFERED = ("scratch",)
#: Above this the matrix is not built unless asked for.
_DENSE_BYTES = 2 * 2**30
#: The matrix, LAPACK's own copy of it, and the right vectors.
_DENSE_COPIES = 4
#: The sum J·Jᵀ in float64, its eigenvectors and their workspace.
_GRAM_COPIES = 4
#: matfree's bases and their update.
_BASIS_COPIES = 2
#: Steps of left Lanczos, measured on decoders' spectra: for each wanted triplet, and besides.
_STEPS_PER_TRIPLET, _STEPS_BESIDE = 1.5, 16
#: Steps of power iteration: measured likewise, and they vary much with the gap behind σ_k.
_POWER_STEPS = 20
#: Operations a second that are counted on at least, of a CPU and of anything else; and seconds that it takes
#: to compile the step of left Lanczos, which ``gram`` and ``dense`` do without, measured on two CPU cores.
_RATE, _RATE_BESIDE, _COMPILING = 2e10, 2e12, 4.0
#: What a probe costs in a block of eight, as a part of what it costs alone; measured likewise.
_TOGETHER = 0.5
#: Operations of the eigenvectors of an m × m matrix, and of J·Jᵀ, as multiples of m³ and n·m².
_EIGEN, _SUM = 10, 2
#: Positions that one pass should carry to reach most of the matrix rate.
_POSITIONS_A_BLOCK, _MOST_PROBES = 256, 8


@dataclass(frozen=True)
class MethodChoice:
    """The method that will be used, why, its passes, and the bytes it needs beside the model.

    ``block`` is how many probes ``lanczos`` sends at once.
    """

    method: str
    reason: str
    passes: int
    bytes_needed: int
    block: int


def choose_method(
    operator: DetachedJacobian,
    k: int,
    method: str = "auto",
    block: int | None = None,
    *,
    given: Collection[str] = (),
    memory: int | None = None,
    apart: bool | None = None,
) -> MethodChoice:
    """Choose a method for the top k of this operator, or check the one asked for.

    The matrix is factorised whole where its m rows cost no more passes than Lanczos would, or less time than
    to compile its step and run those passes: ``dense`` where it fits into memory, else ``gram``. Otherwise
    ``lanczos``. A method is chosen only if it uses everything that is given; ``scratch`` alone is for
    ``gram`` should it be chosen. Looks at shapes alone.

    Args:
        operator: the map.
        k: how many triplets.
        method: one of :data:`jaxlin.solvers.methods.METHODS`.
        block: probes that lanczos sends at once; by prompt length if None.
        given: which other arguments of :func:`jaxlin.svd` are given, by their names in
            :data:`jaxlin.solvers.methods.USED_BY`.
        memory: what may be used beside the model, in bytes; what is free if None.
        apart: whether it is for a device with memory of its own, and not for a CPU; as this one is if None.

    Raises:
        JaxlinError: k or block out of range, an unknown method, one that does not use what is given, or
            one that would not fit into memory.
    """
    m, n = operator.shape
    most = min(m, n)
    if not 1 <= k <= most:
        raise JaxlinError(f"k is {k}, but this map has {most} singular values: choose 1 ≤ k ≤ {most}")
    if method not in METHODS:
        raise JaxlinError(f"unknown method {shortened(method)!r}: choose one of {', '.join(METHODS)}")
    given = [*given] if block is None else ["block", *given]
    possible = _methods_for(given, method)
    if block is None:
        block = _block(operator)
    if not 1 <= block <= m:
        raise JaxlinError(f"`block` is {block} probes: choose 1 ≤ block ≤ {m}")
    itemsize = jnp.dtype(solver_dtype(operator.dtype)).itemsize
    dense, kept = _DENSE_COPIES * m * n * itemsize, k * n * itemsize
    lanczos_passes = min(2 * math.ceil(_STEPS_PER_TRIPLET * k + _STEPS_BESIDE), 2 * m)
    free = free_bytes() if memory is None else memory
    apart = has_own_memory() if apart is None else apart
    why = quick = ""
    if method == "auto":
        fits = dense <= min(_DENSE_BYTES, free // 2)
        few = lanczos_passes < m
        whole, stepwise = _seconds(operator, lanczos_passes, block, _RATE_BESIDE if apart else _RATE)
        method = "lanczos" if few and stepwise <= whole else "dense" if fits else "gram"
        if method not in possible:
            method = possible[0]
            why = f"it uses {_spelled(given, 'and')}; "
        elif few and method != "lanczos":
            quick = f"; lanczos, about {lanczos_passes} passes, would compile for longer than these take"
    if method == "dense":
        refuse_if_too_large(
            dense, free, f"the dense matrix ({m} × {n})", "method lanczos, which never builds it"
        )
        return MethodChoice("dense", f"its {m} rows are all there is of the matrix{quick}", m, dense, block)
    if method == "gram":
        return MethodChoice(
            "gram",
            f"its {m} rows, streamed, give every singular value{quick}",
            m,
            kept + _GRAM_COPIES * m * m * 8,
            block,
        )
    if method == "matfree":
        steps = first_steps(k, most)
        bases = steps * _BASIS_COPIES * (m + n) * jnp.zeros(()).dtype.itemsize
        refuse_if_too_large(bases, free, "matfree's bases", "method lanczos, which keeps no right vectors")
        return MethodChoice("matfree", f"its bases take {spell_size(bases)}", 2 * steps, bases, block)
    if method == "power":
        w = width(operator, k)
        passes = min(2 * w * _POWER_STEPS, 2 * sum(operator.shape))
        return MethodChoice("power", f"{2 * w} passes a step", passes, w * n * itemsize, block)
    reason = f"{why}about {lanczos_passes} passes where the whole {m} × {n} matrix takes {m}"
    return MethodChoice("lanczos", reason, lanczos_passes, kept, block)


def _seconds(operator: DetachedJacobian, passes: int, block: int, rate: float) -> tuple[float, float]:
    """At most how long all rows take with what is made of them, and lanczos with its compilation.

    From shapes: a pass takes at most two operations for each number that it could read and each position.
    """
    m, n = operator.shape
    numbers = sum(math.prod(getattr(leaf, "shape", ())) for leaf in jax.tree.leaves(operator.state))
    positions = operator.input_shape[0] if len(operator.input_shape) > 1 else 1
    alone = 2 * numbers * positions / rate
    together = alone * (_TOGETHER if operator.probes_per_pass > 1 else 1)
    whole = m * together + (_EIGEN * m**3 + _SUM * n * m**2) / rate
    return whole, _COMPILING + passes * (together if block > 1 else alone)


def _methods_for(given: Sequence[str], method: str) -> tuple[str, ...]:
    """The methods that use all of ``given``: of ``auto`` those it may choose, else the one asked for.

    Raises:
        JaxlinError: there is none.
    """
    if method == "auto":
        deciding = [option for option in given if option not in _OFFERED]
        possible = tuple(name for name in _AUTOMATIC if all(uses(name, option) for option in deciding))
        if all(any(uses(name, option) for name in possible) for option in given):
            return possible
        raise JaxlinError(f"no method uses {_spelled(given, 'and')} together: leave one of them out")
    if all(uses(method, option) for option in given):
        return (method,)
    unused = [option for option in given if not uses(method, option)]
    others = [name for name in METHODS[1:] if all(uses(name, option) for option in given)]
    them = "it" if len(unused) == 1 else "them"
    way_out = f", or choose method {_spelled(others, 'or', quote='')}" if others else ""
    raise JaxlinError(f"method {method} does not use {_spelled(unused, 'or')}: leave {them} out{way_out}")


def _spelled(names: Sequence[str], conjunction: str, quote: str = "`") -> str:
    """`a`, `b` and `c`."""
    quoted = [f"{quote}{name}{quote}" for name in names]
    return f" {conjunction} ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _block(operator: DetachedJacobian) -> int:
    """Probes at once: several at short prompts, whose passes alone are too small, one at long ones."""
    positions = operator.input_shape[0] if len(operator.input_shape) > 1 else _POSITIONS_A_BLOCK
    return max(1, min(_MOST_PROBES, operator.shape[0], _POSITIONS_A_BLOCK // positions))


def check_jacobian_fits(operator: DetachedJacobian) -> None:
    """:class:`JaxlinError` if the matrix itself, which a user wants stored, would not fit."""
    m, n = operator.shape
    needed = 2 * m * n * operator.dtype.itemsize  # on its way from the device to the file
    refuse_if_too_large(needed, free_bytes(), f"the matrix itself ({m} × {n})", "no `save_jacobian`")


def free_bytes() -> int:
    """Bytes that can still be allocated where the arrays live; the least of several processes."""
    return least(_free_here())


def _free_here() -> int:
    stats = device().memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    free = psutil.virtual_memory().available
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:  # as ``ulimit -v`` sets it
        free = min(free, max(0, limit - psutil.Process().memory_info().vms))
    return int(free)


def refuse_if_too_large(needed: int, free: int, what: str, way_out: str) -> None:
    """:class:`JaxlinError` that names ``what`` and a ``way_out`` if more bytes are needed than are free."""
    if needed > free:
        raise JaxlinError(
            f"{what} would need {spell_size(needed)} and {spell_size(free)} are free: use {way_out}"
        )
