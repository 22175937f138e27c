"""Top-k singular triplets of an operator: one method a file, one result type for all.

A method is a generator of candidates, each better than the one before. Here the candidates' residuals are
recomputed from fresh passes, and the first one that holds is the result; or the last one, flagged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import Check, certify
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.tolerance import checked_tolerance
from jaxlin.results.labels import prompt_checks
from jaxlin.results.svd import SVDResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.choose import choose_method
from jaxlin.solvers.dense import dense_svd
from jaxlin.solvers.examine import Examined, examine
from jaxlin.solvers.gram import gram_svd
from jaxlin.solvers.lanczos import lanczos_svd
from jaxlin.solvers.matfree import matfree_svd
from jaxlin.solvers.power import power_svd
from jaxlin.solvers.result import Request, StateStore, Triplets

__all__ = ["SVDResult", "svd"]

#: The generators of candidates, by the names of the methods.
SOLVERS: Mapping[str, Callable[[DetachedJacobian, Request], Iterator[Triplets]]] = {
    "dense": dense_svd,
    "gram": gram_svd,
    "lanczos": lanczos_svd,
    "matfree": matfree_svd,
    "power": power_svd,
}


def svd(
    operator: DetachedJacobian,
    k: int | None = None,
    *,
    method: str = "auto",
    tolerance: float | None = None,
    seed: int = 0,
    block: int | None = None,
    max_passes: int | None = None,
    verify_seed: int | None = None,
    store: StateStore | None = None,
    scratch: Path | None = None,
    progress: Progress = silent,
) -> SVDResult:
    """The k largest singular triplets, with a certificate from fresh passes.

    Args:
        operator: the map, from ``jaxlin.load(…).jacobian(…)`` or :func:`jaxlin.linear.linearize`.
        k: how many, 1 ≤ k ≤ min(m, n); 16, or all where there are fewer, if not given.
        method: ``dense`` (builds the matrix), ``gram`` (streams it, all singular values), ``lanczos``
            (never sees it), ``matfree`` and ``power`` (likewise, by matfree and by power iteration), or
            ``auto``; see :mod:`jaxlin.solvers.choose`.
        tolerance: residual asked of every triplet, as a multiple of σ₁; by arithmetic if not given.
        seed: of every random vector. Same seed, same answer.
        block: probes at once in ``lanczos``; by prompt length if not given.
        max_passes: passes after which the iterative methods stop; if not given they stop when the space is
            exhausted. They take at least the steps without which there are no k triplets.
        verify_seed: solve once more from this seed and compare the values (iterative methods).
        store: where ``lanczos`` saves its state, and reads that of an interrupted run.
        scratch: folder for the rows of ``gram``; the system's temporary folder if not given.
        progress: told what is happening.

    Raises:
        JaxlinError: k, method, tolerance, block or max_passes out of range, a method that does not use what
            is given (see :data:`jaxlin.solvers.methods.USED_BY`), or one that does not fit into memory.
    """
    bare = operator.bare  # what is compiled for it serves every prompt of its length
    k = min(16, *operator.shape) if k is None else k
    options = {"max_passes": max_passes, "verify_seed": verify_seed, "store": store, "scratch": scratch}
    given = [name for name, value in options.items() if value is not None]
    chosen = choose_method(bare, k, method, block, given=given)
    tolerance = checked_tolerance(bare, tolerance)
    if verify_seed == seed:
        raise JaxlinError(f"the second seed is {seed} as well: choose another `verify_seed`")
    if max_passes is not None and max_passes < 1:
        raise JaxlinError(f"`max_passes` is {max_passes}: give 1 or more")
    most = 2 * sum(operator.shape) if max_passes is None else max_passes
    request = Request(k, tolerance, seed, chosen.block, most, progress, store, scratch)
    started = time.perf_counter()
    found, triplets, passes = _solve(bare, chosen.method, request)
    more_checks = []
    if verify_seed is not None:
        again, _, more = _solve(bare, chosen.method, replace(request, seed=verify_seed, store=None))
        passes += more
        difference = float(np.abs(again.s - found.s).max() / (found.s[0] or 1))
        more_checks.append(
            Check("second seed", difference, tolerance, f"largest |σ − σ'|/σ₁ from seed {verify_seed}")
        )

    def seconds() -> float:
        return time.perf_counter() - started

    return result_of(operator, chosen.method, request, triplets, found, passes, seconds, *more_checks)


def result_of(
    operator: DetachedJacobian,
    method: str,
    request: Request,
    triplets: Triplets,
    found: Examined,
    passes: int,
    seconds: Callable[[], float],
    *more_checks: Check,
) -> SVDResult:
    """The result of an examined candidate, with its certificate.

    What is known of the prompt goes over from ``operator`` to it. ``seconds`` is asked after its checks.
    """
    checks = [*found.checks, *prompt_checks(operator.labels)]
    if triplets.moved is not None:
        meaning = "largest change of a σ/σ₁ over the last steps"
        checks.append(Check("stagnation", triplets.moved, request.tolerance, meaning))
    checks += more_checks
    return SVDResult(
        U=jnp.asarray(found.u),
        s=jnp.asarray(found.s),
        V=found.v,
        residuals=jnp.asarray(found.residual),
        spectrum=triplets.spectrum,
        method=method,
        passes=passes,
        seconds=seconds(),
        seed=request.seed,
        certificate=certify(found.s, found.residual, request.tolerance, tuple(checks), found.energy),
        x=operator.x,
        y=operator.y,
        offset=operator.offset,
        labels=operator.labels,
    )


def _solve(operator: DetachedJacobian, method: str, request: Request) -> tuple[Examined, Triplets, int]:
    """The first candidate that meets the tolerance, as it is and as examined; all passes."""
    checked = 0
    for triplets in SOLVERS[method](operator, request):
        found = examine(operator, triplets, request.seed, request.progress)
        if not np.isfinite(found.residual).all():
            raise JaxlinError(
                "the operator's passes return NaN, infinity, or numbers whose squares are infinite: check "
                "the weights, or use a wider dtype"
            )
        checked += found.passes
        if (found.residual <= request.tolerance * found.s[0]).all():
            break
    return found, triplets, triplets.passes + checked
