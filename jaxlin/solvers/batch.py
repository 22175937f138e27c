"""Many prompts' triplets by one Lanczos recurrence that goes through all of their maps together.

At short prompts a pass of one prompt is too small for the machine, and a block of several probes of it makes
a poorer Krylov space of the same size. Here the block is of one probe, and what fills the machine are the
prompts. Each prompt's triplets are those of its own step, at which its own values have come to rest: who else
is in the batch changes nothing but rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.batch import OperatorBatch
from jaxlin.linear.certificate import (
    CHECK_PASSES,
    certify,
    checks_of,
    forward_probes,
    misfit,
    probes_of,
)
from jaxlin.linear.energy import ENERGY_PASSES, energy_of_leftover, leftover_probes
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.linear.tolerance import checked_tolerance
from jaxlin.results.labels import prompt_checks
from jaxlin.results.svd import SVDResult
from jaxlin.solvers.convergence import PAST_K, Ritz
from jaxlin.solvers.examine import shaped
from jaxlin.solvers.lanczos import MARGIN, ROOM, LanczosState, combine, start, step_together
from jaxlin.solvers.recover import RightBlocks, factorise
from jaxlin.solvers.result import Triplets
from jaxlin.solvers.svd import stagnation, svd

#: Steps between two looks at whether a prompt's values have come to rest.
_LOOK = 2
_METHOD = "lanczos"


def svd_together(
    operators: Sequence[DetachedJacobian],
    k: int,
    *,
    tolerance: float | None = None,
    seed: int = 0,
    max_passes: int | None = None,
) -> list[SVDResult]:
    """The k largest singular triplets of several maps of one shape, each with its own certificate.

    As :func:`jaxlin.solvers.svd.svd` with method ``lanczos`` and block 1. What does not meet the tolerance at
    first is solved once more by that function.

    Args:
        operators: maps that differ in their arrays alone.
        k: how many triplets of each.
        tolerance, seed, max_passes: as there.

    Raises:
        JaxlinError: a tolerance out of range, or what that function raises.
    """
    bare = [operator.bare for operator in operators]
    tolerance = checked_tolerance(bare[0], tolerance)
    most = bare[0].shape[0] if max_passes is None else max(max_passes // 2, k)
    began = time.perf_counter()
    batch = OperatorBatch.of(bare)
    found = _lanczos(batch, bare, _Request(k, tolerance, seed, min(most, bare[0].shape[0])))
    checked = _checked(batch, bare, found, seed)
    seconds = (time.perf_counter() - began) / len(bare)
    results = []
    for operator, triplets, fresh in zip(operators, found, checked, strict=True):
        s, residual = fresh.s, fresh.residual
        holds = bool(np.isfinite(residual).all() and (residual <= tolerance * s[0]).all())
        if not holds and max_passes is None:
            options = {"tolerance": tolerance, "seed": seed}
            results.append(svd(operator, k, method=_METHOD, **options))  # type: ignore[arg-type]
            continue
        checks = list(checks_of(operator, fresh.probes, [*fresh.images, *fresh.again], fresh.pulled))
        checks += prompt_checks(operator.labels)
        checks.append(stagnation(math.inf if triplets.moved is None else triplets.moved, tolerance))
        energy = energy_of_leftover(s, fresh.leftover)
        certificate = certify(s, residual, tolerance, tuple(checks), energy)
        results.append(
            SVDResult(
                U=jnp.asarray(fresh.u),
                s=jnp.asarray(s),
                V=fresh.v,
                residuals=jnp.asarray(residual),
                spectrum=None,
                method=_METHOD,
                passes=triplets.passes + 2 * k + CHECK_PASSES + ENERGY_PASSES,
                seconds=seconds,
                seed=seed,
                certificate=certificate,
                x=operator.x,
                y=operator.y,
                offset=operator.offset,
                labels=operator.labels,
            )
        )
    return results


@dataclass(frozen=True)
class _Request:
    k: int
    tolerance: float
    seed: int
    most: int


@dataclass(frozen=True, eq=False)
class _Fresh:
    """One prompt's triplets in their shapes, and what fresh passes made of them and of the checks' probes."""

    u: np.ndarray
    s: Float[np.ndarray, " k"]
    v: np.ndarray
    residual: Float[np.ndarray, " k"]
    probes: tuple[np.ndarray, np.ndarray]
    images: Array
    again: Array
    pulled: Array
    leftover: Float[np.ndarray, " p"]


def _lanczos(batch: OperatorBatch, maps: Sequence[DetachedJacobian], request: _Request) -> list[Triplets]:
    """The candidates of all maps, each from its own step."""
    first = maps[0]
    alone = start(first, 1, request.seed)
    state = LanczosState(
        **{
            name: value if name == "steps" else jnp.broadcast_to(value, (batch.count, *value.shape))
            for name, value in vars(alone).items()
        }
    )
    kept = [RightBlocks(whole=True) for _ in maps]
    found: dict[int, Triplets] = {}
    aim, steps = MARGIN * request.tolerance, 0
    while len(found) < batch.count:
        state = step_together(batch.maps, _with_room(state, steps), request.seed, batch.axes)
        steps += 1
        right = np.asarray(state.right)
        for i in range(batch.count):
            if i not in found:
                kept[i].add(right[i])
        early = steps < min(request.k + PAST_K, first.shape[0]) or (steps - request.k - PAST_K) % _LOOK
        if early and steps < request.most:
            continue
        diagonal, below = (np.asarray(a, np.float64) for a in (state.diagonal, state.below))
        restarted = np.asarray(state.restarted)
        for i in range(batch.count):
            if i in found:
                continue
            ritz = Ritz.of(
                diagonal[i, :steps],
                below[i, : steps + 1],
                wanted=request.k,
                outputs=first.shape[0],
                since_restart=steps - int(restarted[i]),
                unit_roundoff=first.unit_roundoff,
            )
            if ritz.meets(aim) or steps >= request.most:
                q = combine(state.basis[i], ritz.left)
                u, s, v = factorise(q, kept[i].combined(ritz.right * ritz.s))
                found[i] = Triplets(u, s, v, 2 * steps, moved=ritz.moved)
                kept[i] = RightBlocks(whole=False)
    return [found[i] for i in range(batch.count)]


def _with_room(state: LanczosState, steps: int) -> LanczosState:
    """The same states, with room for one more step."""
    if steps + 2 <= state.basis.shape[1]:
        return state
    more = {
        name: jnp.pad(value, [(0, 0), (0, ROOM), *[(0, 0)] * (value.ndim - 2)])
        for name, value in vars(state).items()
        if name in ("basis", "diagonal", "below")
    }
    return replace(state, **more)


def _checked(
    batch: OperatorBatch, maps: Sequence[DetachedJacobian], found: Sequence[Triplets], seed: int
) -> list[_Fresh]:
    """Fresh passes of everything that a certificate looks at: the probes of all maps go together."""
    k = len(found[0].s)
    triplets = []
    for operator, each in zip(maps, found, strict=True):
        assert each.v is not None, "the right blocks of every map wait on the host"
        triplets.append(shaped(operator, each.u, each.s, each.v))
    probes = [probes_of(operator, seed) for operator in maps]
    sent = [jnp.stack(forward_probes(operator, v)) for operator, (_, v) in zip(maps, probes, strict=True)]
    forwards = jnp.stack(
        [
            jnp.concatenate([jnp.asarray(v, operator.dtype), others])
            for operator, (_, _, v), others in zip(maps, triplets, sent, strict=True)
        ]
    )
    leftover = [leftover_probes(np.asarray(each.u).reshape(k, -1), seed) for each in found]
    backwards = jnp.stack(
        [
            jnp.concatenate(
                [
                    jnp.asarray(u, operator.dtype),
                    u0[None],
                    jnp.asarray(left, operator.dtype).reshape(-1, *operator.output_shape),
                ]
            )
            for operator, (u, _, _), (u0, _), left in zip(maps, triplets, probes, leftover, strict=True)
        ]
    )
    images, pulled = batch.matmat(forwards), batch.rmatmat(backwards)
    again = batch.matmat(jnp.stack([v[None] for _, v in probes]))
    precision = solver_dtype(maps[0].dtype)
    lengths = _lengths(pulled[:, k + 1 :].astype(precision))
    s, us, vs = (jnp.asarray(np.stack([each[place] for each in triplets])) for place in (1, 0, 2))
    left, right = _misfits(images[:, :k], s, us), _misfits(pulled[:, :k], s, vs)
    residual = np.asarray(jnp.hypot(left, right))
    return [
        _Fresh(
            u=triplets[i][0],
            s=np.asarray(s[i]),
            v=triplets[i][2],
            residual=residual[i],
            probes=probes[i],
            images=images[i, k:],
            again=again[i],
            pulled=pulled[i, k],
            leftover=np.asarray(lengths[i]),
        )
        for i in range(batch.count)
    ]


@jax.jit
def _misfits(images: Array, s: Array, expected: Array) -> Array:
    lengths: Array = jax.vmap(misfit)(images, s, expected)
    return lengths


@jax.jit
def _lengths(pulled: Array) -> Array:
    lengths: Array = jnp.linalg.norm(pulled.reshape(*pulled.shape[:2], -1), axis=-1)
    return lengths
