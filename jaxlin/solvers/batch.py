"""Many prompts' triplets by Lanczos recurrences that go through their maps together.

At short prompts a pass of one prompt is too small for the machine, and a block of several probes of it makes
a poorer Krylov space of the same size. Here the block is of one probe, and what fills the machine are the
prompts. Each prompt's triplets are those of its own step, at which its own values have come to rest; the next
prompt takes its place. Who else is in the batch changes nothing but rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxlin.linear.batch import OperatorBatch, data_groups, put_in
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.tolerance import checked_tolerance
from jaxlin.results.svd import SVDResult
from jaxlin.solvers.convergence import PAST_K, Ritz
from jaxlin.solvers.examine import Examined, examine_together
from jaxlin.solvers.lanczos import MARGIN, ROOM, LanczosState, combine, lengthened, start, step_together
from jaxlin.solvers.recover import refuse_nonfinite
from jaxlin.solvers.result import Request, Triplets
from jaxlin.solvers.svd import result_of, svd

#: Input positions of all prompts that one pass of a group of devices carries: matrices of so many columns
#: are multiplied at their full rate, and fewer prompts wait for the slowest of them at the end.
_POSITIONS = 256
_METHOD = "lanczos"


def svd_together(
    operators: Sequence[DetachedJacobian],
    k: int,
    *,
    tolerance: float | None = None,
    seed: int = 0,
    max_passes: int | None = None,
    batch_size: int | None = None,
) -> list[SVDResult]:
    """The k largest singular triplets of several maps of one shape, each with its own certificate.

    As :func:`jaxlin.solvers.svd.svd` with method ``lanczos`` and block 1. What does not meet the tolerance at
    first is solved once more by that function.

    Args:
        operators: maps that differ in their arrays alone.
        k: how many triplets of each.
        tolerance, seed, max_passes: as there.
        batch_size: how many maps other calls have, if more, with which this one shares its programs.

    Raises:
        JaxlinError: a tolerance out of range, or what that function raises.
    """
    bare = [operator.bare for operator in operators]
    tolerance = checked_tolerance(bare[0], tolerance)
    most = 2 * bare[0].shape[0] if max_passes is None else max_passes
    request = Request(k, tolerance, seed, 1, most)
    began = time.perf_counter()
    size = min(len(bare), _at_once(bare[0], batch_size or len(bare)))
    found = _lanczos(bare, size, request)
    examined = _examined(bare, found, size, seed)
    seconds = (time.perf_counter() - began) / len(bare)
    results = []
    for operator, triplets, fresh in zip(operators, found, examined, strict=True):
        holds = (fresh.residual <= tolerance * fresh.s[0]).all()
        if holds or (max_passes is not None and np.isfinite(fresh.residual).all()):
            passes = triplets.passes + fresh.passes
            results.append(result_of(operator, _METHOD, request, triplets, fresh, passes, lambda: seconds))
        else:
            options = {"tolerance": tolerance, "seed": seed, "max_passes": max_passes}
            results.append(svd(operator, k, method=_METHOD, **options))  # type: ignore[arg-type]
    return results


def _at_once(operator: DetachedJacobian, count: int) -> int:
    """How many of so many maps go through a pass together, so that no round has much fewer."""
    positions = operator.input_shape[0] if len(operator.input_shape) > 1 else 1
    most = max(2, _POSITIONS // positions) * data_groups(operator.x)
    return math.ceil(count / math.ceil(count / most))


def _lanczos(maps: Sequence[DetachedJacobian], size: int, request: Request) -> list[Triplets]:
    """The candidates of all maps, each from its own step; ``size`` recurrences go on at once."""
    fresh, batch = start(maps[0], 1, request.seed), OperatorBatch.of(maps, size)
    state = jax.tree.map(lambda a: jnp.broadcast_to(a, (size, *a.shape)), fresh)
    places, waiting = dict(enumerate(range(size))), iter(range(size, len(maps)))
    steps = [0] * size
    found: dict[int, Triplets] = {}
    while places:
        state = step_together(batch.maps, _with_room(state, max(steps)), request.seed, batch.axes)
        steps = [of_place + 1 for of_place in steps]
        for place, ritz in _at_rest(state, {place: steps[place] for place in places}, maps[0], request):
            q = combine(state.basis[place], ritz.left)
            found[places.pop(place)] = Triplets(q, ritz.s, None, 2 * steps[place], moved=ritz.moved)
            following = next(waiting, None)
            if following is not None:
                places[place], steps[place] = following, 0
                batch = batch.with_map(place, maps[following])
                state = _with_state(state, place, fresh)
    return [found[number] for number in range(len(maps))]


def _at_rest(
    state: LanczosState, steps: Mapping[int, int], operator: DetachedJacobian, request: Request
) -> list[tuple[int, Ritz]]:
    """The places that are done after so many steps of their own, with their values."""
    most = min(max(request.max_passes // 2, request.k), operator.shape[0])
    # Before there are enough, none is.
    looked = {place: own for place, own in steps.items() if own >= min(request.k + PAST_K, most)}
    if not looked:
        return []
    diagonal, below = (np.array(a, np.float64) for a in (state.diagonal, state.below))
    restarted = np.array(state.restarted)
    done = []
    for place, own in looked.items():
        refuse_nonfinite(diagonal[place, :own])
        ritz = Ritz.of(
            diagonal[place, :own],
            below[place, : own + 1],
            wanted=request.k,
            outputs=operator.shape[0],
            since_restart=own - int(restarted[place]),
            unit_roundoff=operator.unit_roundoff,
        )
        if ritz.meets(MARGIN * request.tolerance) or own >= most:
            done.append((place, ritz))
    return done


def _with_room(states: LanczosState, steps: int) -> LanczosState:
    """The same states, with room for one more step."""
    return states if steps + 2 <= states.basis.shape[1] else lengthened(states, ROOM, axis=1)


def _with_state(states: LanczosState, place: int, fresh: LanczosState) -> LanczosState:
    """The same states, with one that has not begun in this place. ``states`` are used up."""
    leaves, structure = jax.tree.flatten(states)
    own = jax.tree.leaves(lengthened(fresh, states.basis.shape[1] - len(fresh.basis)))
    put = put_in(leaves, own, place, (0,) * len(own))
    renewed: LanczosState = structure.unflatten(put)  # type: ignore[attr-defined]
    return renewed


def _examined(
    maps: Sequence[DetachedJacobian], found: Sequence[Triplets], size: int, seed: int
) -> list[Examined]:
    """Fresh passes of what was found, ``size`` maps at a time: the last ones with some of those before."""
    examined: list[Examined] = []
    for first in range(0, len(maps), size):
        begin = min(first, len(maps) - size)
        own = slice(begin, begin + size)
        together = examine_together(OperatorBatch.of(maps[own]), maps[own], found[own], seed)
        examined += together[first - begin :]
    return examined
