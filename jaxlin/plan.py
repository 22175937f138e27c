"""Which method, and whether it fits: decided before the work starts, and explained in words."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import psutil

from jaxlin.errors import JaxlinError
from jaxlin.operator import DetachedJacobian
from jaxlin.svd.matfree import first_steps
from jaxlin.svd.result import solver_dtype

METHODS = ("auto", "dense", "matfree")
#: Above this the matrix is not built unless asked for.
_DENSE_BYTES = 2 * 2**30
#: The matrix, LAPACK's own copy of it, and the right vectors.
_DENSE_COPIES = 4
#: matfree's bases and their update.
_BASIS_COPIES = 2


@dataclass(frozen=True)
class Plan:
    """The method that will be used, why, and the bytes it needs beside the model.

    ``max_steps`` is how many steps an iterative method may take: all there are, or as many as fit.
    """

    method: str
    reason: str
    bytes_needed: int
    max_steps: int


def plan(operator: DetachedJacobian, k: int, method: str = "auto") -> Plan:
    """Choose a method for the top k of this operator, or check the one asked for.

    Raises:
        JaxlinError: k out of range, an unknown method, or one that would not fit into memory.
    """
    m, n = operator.shape
    most = min(m, n)
    if not 1 <= k <= most:
        raise JaxlinError(f"k is {k}, but this map has {most} singular values: choose 1 ≤ k ≤ {most}")
    if method not in METHODS:
        raise JaxlinError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    itemsize = jnp.dtype(solver_dtype(operator.dtype)).itemsize
    dense = _DENSE_COPIES * m * n * itemsize
    step = _BASIS_COPIES * (m + n) * jnp.zeros(()).dtype.itemsize
    bases = first_steps(k, most) * step
    free = free_bytes()
    if method == "auto":
        small = dense <= min(_DENSE_BYTES, free // 2)
        method = "dense" if small else "matfree"
    if method == "dense":
        _refuse_if_too_large(
            dense, free, f"the dense matrix ({m} × {n})", "method matfree, which never builds it"
        )
        return Plan("dense", f"the whole {m} × {n} matrix takes {_size(dense)} to factorise", dense, most)
    _refuse_if_too_large(bases, free, "matfree's bases", "a shorter prompt or a smaller k")
    reason = f"the {m} × {n} matrix is not built; the bases take {_size(bases)}"
    return Plan("matfree", reason, bases, min(most, free // step))


def check_jacobian_fits(operator: DetachedJacobian) -> None:
    """:class:`JaxlinError` if the matrix itself, which a user wants stored, would not fit."""
    m, n = operator.shape
    needed = 2 * m * n * operator.dtype.itemsize  # on its way from the device to the file
    _refuse_if_too_large(needed, free_bytes(), f"the matrix itself ({m} × {n})", "no --save-jacobian")


def free_bytes() -> int:
    """Bytes that can still be allocated where the arrays live."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available


def _refuse_if_too_large(needed: int, free: int, what: str, way_out: str) -> None:
    if needed > free:
        raise JaxlinError(f"{what} would need {_size(needed)} and {_size(free)} are free: use {way_out}")


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 2**10:.0f} KiB"
