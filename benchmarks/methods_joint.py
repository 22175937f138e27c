"""The rows of the joint comparison: ours, the published method, scipy, scikit-learn; torch's are elsewhere.

A row is prepared (operator made, programs compiled by a short run) and then solved once. Everything in
float32. Rows that build the matrix from its m rows, or whose passes take longer than the limit, are measured
in part and scaled; their note says so.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from common import Cost, MemoryMeter
from numpy.typing import NDArray
from products import Found, Products, Triplet, finished, matrix_operator, products_of
from reference import matrix_of, values_of
from subjects import Subject

from jaxlin import DetachedJacobian, svd
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers import lanczos, matfree
from jaxlin.solvers.choose import choose_method
from jaxlin.solvers.examine import layouts
from jaxlin.solvers.methods import ITERATIVE
from jaxlin.solvers.recover import recover
from jaxlin.solvers.result import Request
from jaxlin.solvers.svd import SOLVERS

#: Steps of the published method, whatever k and the spectrum are.
PUBLISHED_STEPS = 128
_FOREVER = 10**9


@dataclass(frozen=True)
class Job:
    """What every row is asked for.

    ``reference`` is the folder of the exact matrix, for rows that are scaled; ``limit`` in seconds.
    """

    subject: Subject
    k: int
    tolerance: float
    limit: float
    reference: Path | None
    memory: Callable[[], MemoryMeter] = MemoryMeter

    @property
    def sigma(self) -> NDArray:
        """Singular values as they are known to be, for tolerances that a solver wants in absolute terms."""
        assert self.reference is not None, "this row needs the reference"
        return values_of(self.reference)

    def matrix(self) -> NDArray:
        """The matrix of a scaled row, in float32."""
        assert self.reference is not None, "this row takes too long to be run whole, and needs the reference"
        return np.asarray(matrix_of(self.reference), np.float32)


Solve = Callable[[], Found]


def ours(method: str, tolerance: float | None = None) -> Callable[[Job], Solve]:
    """One of our methods, the triplets alone; for lanczos the certificate's time and passes apart."""

    def prepare(job: Job) -> Solve:
        operator, request = job.subject.operator, ours_request(job, method, tolerance)
        warm_up(operator, method, request)
        if method in ("dense", "gram"):
            return lambda: _by_rows(job, operator, lambda op: _ours(op, method, request))
        return lambda: _ours(operator, method, request)

    return prepare


def ours_request(job: Job, method: str, tolerance: float | None, progress: Progress = silent) -> Request:
    """What one of our methods is asked for."""
    block = choose_method(job.subject.operator, job.k, "gram" if method == "dense" else method).block
    return Request(job.k, tolerance or job.tolerance, 0, block, _FOREVER, progress)


def _ours(operator: DetachedJacobian, method: str, request: Request) -> Found:
    found = next(SOLVERS[method](operator, request))
    if found.v is None:  # which the certificate's own passes recover
        return Found(*recover(operator, found.u), found.passes + request.k)
    return Found(np.asarray(found.u), np.asarray(found.s), np.asarray(found.v), found.passes)


def certified(job: Job) -> Solve:
    """What a user gets: lanczos with its certificate."""
    operator = job.subject.operator
    warm_up(operator, "lanczos", ours_request(job, "lanczos", None))

    def solve() -> Found:
        result = svd(operator, job.k, method="lanczos", tolerance=job.tolerance)
        u, v = (np.asarray(a).reshape(job.k, -1) for a in (result.U, result.V))
        holds = "certificate holds" if result.certificate.holds else "CERTIFICATE DOES NOT HOLD"
        return Found(u, np.asarray(result.s), v, result.passes, note=holds)

    return solve


def warm_up(operator: DetachedJacobian, method: str, request: Request) -> None:
    """Compile everything a solve will run, the recurrence in every size it may grow to."""
    step = operator.probes_per_pass
    checked = layouts(operator.probes_per_pass, request.k, estimates=method in ITERATIVE)
    for b in {1, step, request.k % step or step, *(layout.size for layout in checked)}:
        operator.matmat(jnp.zeros((b, *operator.input_shape), operator.dtype))
        operator.rmatmat(jnp.zeros((b, *operator.output_shape), operator.dtype)).block_until_ready()
    if method == "lanczos":
        state = lanczos.start(operator, request.block, 0)
        longest = min(4 * request.k + 64, operator.shape[0])
        while True:
            jax.block_until_ready(lanczos.step(operator, state, 0))
            if len(state.basis) * request.block > longest:
                return
            state = lanczos.with_room(replace(state, steps=jnp.asarray(len(state.basis) - 1, jnp.int32)))
    if method == "matfree":  # one program for all its steps; the compilation cache keeps it for the solve
        steps = matfree.first_steps(request.k, operator.shape[0])
        matfree.bidiagonalise.lower(operator, request.seed, steps, None).compile()


def _by_rows(job: Job, operator: DetachedJacobian, finish: Callable[[DetachedJacobian], Found]) -> Found:
    """A method that begins with all m rows: whole, or with the rows measured in part and scaled."""
    rows, step = operator.shape[0], operator.probes_per_pass
    meter = job.memory()
    units = jnp.eye(rows, dtype=operator.dtype)

    def chunk(i: int) -> Cost:
        start = Cost.now()
        np.asarray(operator.rmatmat(units[i : i + step].reshape(-1, *operator.output_shape)))
        return Cost.since(start)

    if chunk(0).seconds / step * rows <= job.limit:
        start = Cost.now()
        found = finish(operator)
        return replace(found, cost=Cost.since(start), held=meter.bytes())
    measured, spent = 0, Cost()
    for i in range(0, rows - step + 1, step):
        spent += chunk(i)
        measured += step
        if spent.seconds > job.limit / 2:
            break
    built = matrix_operator(job.matrix(), operator)
    meter, start = job.memory(), Cost.now()
    found = finish(built)
    cost = Cost.since(start) + spent * (rows / measured)
    return replace(found, cost=cost, held=meter.bytes(), note=f"scaled from {measured} of {rows} rows")


def published(job: Job) -> Solve:
    """arXiv:2505.24293: Lanczos on J·Jᵀ through jvp and vjp of the detached function, 128 steps."""
    closures = job.subject.closures
    steps = min(PUBLISHED_STEPS, closures.shape[0])
    basis = first_basis(closures, steps)
    jax.block_until_ready(tridiagonal_step(closures, basis, 0))
    step = closures.probes_per_pass
    for b in {step, job.k % step or step}:
        closures.rmatmat(jnp.zeros((b, *closures.output_shape), closures.dtype)).block_until_ready()

    def iterate(operator: DetachedJacobian, limit: float) -> tuple[jax.Array, list[tuple[float, float]]]:
        start, basis, coefficients = time.perf_counter(), first_basis(operator, steps), []
        while len(coefficients) < steps and time.perf_counter() - start <= limit:
            basis, *found = tridiagonal_step(operator, basis, len(coefficients))
            coefficients.append(tuple(map(float, found)))
        return basis, coefficients

    def solve() -> Found:
        meter, start = job.memory(), Cost.now()
        basis, coefficients = iterate(closures, job.limit)
        done, cost = len(coefficients), Cost.since(start)
        passes = 2 * steps + job.k
        if done == steps:
            return Found(*_from_tridiagonal(closures, basis, coefficients, job.k), passes)
        start = Cost.now()
        np.asarray(closures.rmatmat(jnp.ones((step, *closures.output_shape), closures.dtype)))
        cost = cost * (steps / done) + Cost.since(start) * (job.k / step)
        held = meter.bytes()
        built = matrix_operator(job.matrix(), closures)
        triplets = _from_tridiagonal(built, *iterate(built, math.inf), job.k)
        return Found(*triplets, passes, cost, held, f"scaled from {done} of {steps} steps")

    return solve


def first_basis(operator: DetachedJacobian, steps: int) -> jax.Array:
    first = jax.random.normal(jax.random.key(0), (operator.shape[0],), operator.dtype)
    basis = jnp.zeros((steps + 1, operator.shape[0]), operator.dtype)
    return basis.at[0].set(first / jnp.linalg.norm(first))


@jax.jit
def tridiagonal_step(
    operator: DetachedJacobian, basis: jax.Array, j: int | jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One step of Lanczos on J·Jᵀ with full reorthogonalisation: a vjp, a jvp, two projections."""
    q = basis[j]
    pulled = operator.backward(operator.state, q.reshape(1, *operator.output_shape))
    w = operator.forward(operator.state, pulled).ravel()
    alpha = jnp.vdot(q, w, precision="highest")
    for _ in range(2):
        w = w - jnp.matmul(jnp.matmul(basis, w, precision="highest"), basis, precision="highest")
    beta = jnp.linalg.norm(w)
    return basis.at[j + 1].set(w / beta), alpha, beta


def _from_tridiagonal(
    operator: DetachedJacobian, basis: jax.Array, coefficients: list[tuple[float, float]], k: int
) -> Triplet:
    """u = Q·z, σ = √λ, v = Jᵀu/σ."""
    alpha, beta = np.asarray(coefficients).T
    values, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))
    s = np.sqrt(np.maximum(values[::-1][:k], 0))
    u = np.asarray(basis[:-1]).T.astype(np.float64) @ vectors[:, ::-1][:, :k]
    u = np.ascontiguousarray(u.T.astype(np.float32))
    step = operator.probes_per_pass
    parts = (jnp.asarray(u[i : i + step]).reshape(-1, *operator.output_shape) for i in range(0, k, step))
    rows = np.concatenate([np.asarray(operator.rmatmat(part)).reshape(len(part), -1) for part in parts])
    return u, s, rows / s[:, None].astype(np.float32)


def scipy_solver(solver: str, k: int, tolerance: float, sigma: NDArray) -> Callable[[Products], Triplet]:
    """``svds`` over counted products. What its ``tol`` means differs from solver to solver.

    arpack and propack take it relative to each value; lobpcg absolute, of J·Jᵀ's residuals.
    """
    from scipy.sparse.linalg import LinearOperator, svds

    tol = tolerance * float(sigma[0] * sigma[k - 1]) if solver == "lobpcg" else tolerance
    more = {"maxiter": 500} if solver == "lobpcg" else {}

    def solve(products: Products) -> Triplet:
        rows, columns = products.shape
        operator = LinearOperator(
            (rows, columns),
            dtype=np.float32,
            matvec=lambda v: products.forward(v.reshape(1, -1))[0],
            rmatvec=lambda u: products.backward(u.reshape(1, -1))[0],
            matmat=lambda v: products.forward(np.ascontiguousarray(v.T)).T,
            rmatmat=lambda u: products.backward(np.ascontiguousarray(u.T)).T,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lobpcg's about what it did not reach; the table shows it
            u, s, vt = svds(operator, k=k, tol=tol, solver=solver, rng=np.random.default_rng(0), **more)
        order = np.argsort(-s)
        return u.T[order], s[order], vt[order]

    return solve


def scipy_row(solver: str) -> Callable[[Job], Solve]:
    """scipy over our operator."""

    def prepare(job: Job) -> Solve:
        operator = job.subject.operator
        warm_up(operator, "scipy", ours_request(job, "gram", None))
        solve = scipy_solver(solver, job.k, job.tolerance, job.sigma)

        def run() -> Found:
            meter = job.memory()
            return finished(solve, products_of(operator, job.limit), job.matrix, meter.bytes)

        return run

    return prepare


def sklearn_row(job: Job) -> Solve:
    """scikit-learn's randomized SVD of the built matrix, with the power iterations its spectrum calls for."""
    from sklearn.utils.extmath import randomized_svd

    operator = job.subject.operator
    warm_up(operator, "rows", ours_request(job, "gram", None))
    beside = min(job.k, operator.shape[0] - job.k)
    iterations = power_iterations(job.sigma, job.k, beside, job.tolerance)

    def finish(operator: DetachedJacobian) -> Found:
        matrix = np.asarray(operator.dense()).reshape(operator.shape)
        u, s, vt = randomized_svd(
            matrix, n_components=job.k, n_oversamples=beside, n_iter=iterations, random_state=0
        )
        return Found(u.T, s, vt, operator.shape[0])

    def solve() -> Found:
        found = _by_rows(job, operator, finish)
        return replace(found, note="; ".join(filter(None, (found.note, f"n_iter {iterations}"))))

    return solve


def power_iterations(sigma: NDArray, k: int, beside: int, tolerance: float) -> int:
    """As many as bring (σ_{k+p+1}/σ_k)^(2q+1) to the tolerance."""
    if k + beside >= len(sigma):
        return 0
    ratio = float(sigma[k + beside] / sigma[k - 1])
    return max(1, math.ceil((math.log(tolerance) / math.log(ratio) - 1) / 2))


ROWS: Mapping[str, Callable[[Job], Solve]] = {
    "ours lanczos": ours("lanczos"),
    "ours lanczos, tolerance 1e-6": ours("lanczos", 1e-6),
    "ours lanczos + certificate": certified,
    "ours matfree": ours("matfree"),
    "ours gram": ours("gram"),
    "ours dense": ours("dense"),
    "published (128 steps)": published,
    "scipy arpack": scipy_row("arpack"),
    "scipy propack": scipy_row("propack"),
    "scipy lobpcg": scipy_row("lobpcg"),
    "sklearn randomized": sklearn_row,
}
