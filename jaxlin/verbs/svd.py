"""``svd``: the top of one prompt's map, certified and decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxlin.analyses.norms import largest, norms
from jaxlin.analyses.weighing import weighed, with_images
from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model
from jaxlin.prompts.target import parse_target
from jaxlin.prompts.text import Prompt
from jaxlin.prompts.together import labels_together
from jaxlin.results.keep import VECTORS
from jaxlin.results.labels import Labels
from jaxlin.results.metric import HIDDEN
from jaxlin.results.svd import SVDResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.batch import svd_together
from jaxlin.solvers.choose import MethodChoice, check_jacobian_fits, choose_method
from jaxlin.solvers.methods import uses
from jaxlin.solvers.svd import svd as solve
from jaxlin.verbs.keeping import filled, reserved
from jaxlin.verbs.mapping import Forecasts, PlannedMap, make_map, metric_rows, notes_of, plan_map
from jaxlin.verbs.options import Svd
from jaxlin.verbs.resuming import resumable
from jaxlin.verbs.tokenizing import tokenized

#: Rows of a metric are filled up to a multiple of this, so that padded prompts share a compilation.
_ROWS = 64
#: Positions of all prompts together that one pass should carry, and the most prompts.
_POSITIONS, _MOST_PROMPTS = 1024, 32


@dataclass(frozen=True, eq=False)
class Prepared:
    """One prompt's map before it is solved.

    Attributes:
        planned: how it was planned.
        whole: the map to the hidden state, or to the target.
        rows: those of the metric, if any.
        operator: what is solved: the map, weighed by the metric.
        k: how many triplets.
        choice: the method.
    """

    planned: PlannedMap
    whole: DetachedJacobian
    rows: Float[np.ndarray, "r d"] | None
    operator: DetachedJacobian
    k: int
    choice: MethodChoice


def svd(model: Model, prompt: Prompt, options: Svd, progress: Progress = silent) -> SVDResult:
    """The top-k singular triplets of a prompt's map, and what was asked for beside them.

    Raises:
        JaxlinError: a request that cannot be met; where it comes from config.json or the prompt alone, before
            any weight is read.
    """
    _check_target(options)
    if options.keep != VECTORS and options.out is None:
        raise JaxlinError("`keep` is about what `out` holds: give `out`, or leave `keep` out")
    # The place first: whose state lies beside it is known once no other run can be there.
    with reserved(options) as claim, resumable(options) as state, filled(claim) as folder:
        ids = tokenized(model, prompt, options)
        planned = plan(model, ids, options, progress)
        prepared = prepare(model, planned, options, progress)
        store = state.store(model, planned.places.seen, prepared.choice)
        resumed = state.steps
        result = solved(prepared, options, folder, store=store, progress=progress)
        state.gave_up = options.max_passes is not None and not result.holds
        result = finished(prepared, result, options, progress).with_notes(resumed_from_step=resumed)
        if folder is not None:
            result.keeping(options.keep).write(folder)
    return result


def plan(
    model: Model,
    ids: Sequence[int],
    options: Svd,
    progress: Progress = silent,
    *,
    padded: bool = False,
    known: Forecasts | None = None,
) -> PlannedMap:
    """How one prompt's map will be made; ``padded`` and ``known`` are those of :func:`plan_map`.

    Raises:
        JaxlinError: what cannot be met.
    """
    _check_target(options)
    target = None if options.target is None else parse_target(options.target)
    solver = Solver(options.k, options.method, options.block, given=given_in(options))
    whole = not (options.norms or options.save_jacobian)  # what is kept of every column has no padding
    return plan_map(
        model, ids, options, solver, progress, target=target, metric=options.metric,
        padded=padded and whole, known=known,
    )  # fmt: skip


def make(
    model: Model, planned: PlannedMap, options: Svd, folder: Path | None, progress: Progress = silent
) -> SVDResult:
    """The triplets of one planned map as they are to be stored; scratch files go to ``folder``.

    Raises:
        JaxlinError: what cannot be met.
    """
    prepared = prepare(model, planned, options, progress)
    result = finished(prepared, solved(prepared, options, folder, progress=progress), options, progress)
    return result.keeping(options.keep)


def make_together(
    model: Model, planned: Sequence[PlannedMap], options: Svd, size: int, progress: Progress = silent
) -> list[SVDResult]:
    """As :func:`make`, of several prompts that are planned for one shape, whose passes go together.

    ``size`` is how many there are in other batches of this shape, with which programs are shared.

    Raises:
        JaxlinError: what cannot be met by one of them.
    """
    prepared = _sharing(model, [prepare(model, each, options, progress) for each in planned])
    kinds = {(each.operator.input_shape, each.operator.output_shape, each.k) for each in prepared}
    if len(kinds) > 1 or prepared[0].choice.method != "lanczos":
        return [
            finished(each, solved(each, options, None), options, progress).keeping(options.keep)
            for each in prepared
        ]
    results = svd_together(
        [each.operator for each in prepared], prepared[0].k,
        tolerance=options.tol, seed=options.seed, max_passes=options.max_passes, batch_size=size,
    )  # fmt: skip
    return [
        finished(replace(each, choice=replace(each.choice, block=1)), result, options, progress).keeping(
            options.keep
        )
        for each, result in zip(prepared, results, strict=True)
    ]


def _sharing(model: Model, prepared: Sequence[Prepared]) -> list[Prepared]:
    """The same; what is read of their predictions is read for all at once."""
    prompts, maps = [each.planned.places.seen for each in prepared], [each.whole for each in prepared]
    ys, labels = [each.y for each in maps], [each.labels for each in maps]
    if any(each.planned.target is not None for each in prepared):  # whose y is a number
        return list(prepared)
    shared = labels_together(model, prompts, ys, labels)

    def with_labels(operator: DetachedJacobian, labels: Labels | None) -> DetachedJacobian:
        if labels is None or operator.labels is None:
            return operator
        mine: Labels = operator.labels
        scoring = None if mine.scoring is None else labels.scoring
        prediction, predicted = labels.prediction, labels.predicted
        return replace(
            operator, labels=replace(mine, prediction=prediction, predicted=predicted, scoring=scoring)
        )

    return [
        replace(each, whole=with_labels(each.whole, own), operator=with_labels(each.operator, own))
        for each, own in zip(prepared, shared, strict=True)
    ]


def batch_of(planned: PlannedMap, options: Svd) -> int:
    """How many prompts of this shape go together; 1 where they are made one by one."""
    forecast = planned.forecast
    alone = planned.length is None or options.verify_seed is not None or options.block is not None
    if alone or forecast.choice.method != "lanczos" or forecast.dial.attention != "probabilities":
        return 1
    return max(1, min(_MOST_PROMPTS, _POSITIONS // (planned.length or 1)))


def prepare(model: Model, planned: PlannedMap, options: Svd, progress: Progress = silent) -> Prepared:
    """Record the prompt, weigh its map, choose the method.

    Raises:
        JaxlinError: a target that is no token, or what does not fit.
    """
    whole = make_map(model, planned, progress, policy=options.policy)
    rows = metric_rows(model, whole.y, options.metric, progress)
    operator = weighed(whole, rows, options.metric, multiple=1 if planned.length is None else _ROWS)
    width = whole.shape[1] // len(whole.x)
    k = min(16, operator.shape[0], planned.count * width) if options.k is None else options.k
    asked = planned.forecast.choice.method
    choice = choose_method(operator, k, asked, options.block, given=given_in(options))
    if options.save_jacobian:
        check_jacobian_fits(whole)
    return Prepared(planned, whole, rows, operator, k, choice)


def finished(prepared: Prepared, result: SVDResult, options: Svd, progress: Progress = silent) -> SVDResult:
    """The result with what else was asked for, without padding, and with notes on how it was made."""
    if prepared.rows is not None:
        result = with_images(result, prepared.whole, len(prepared.rows))
    result = _measured(prepared.whole, result, options, progress).up_to(prepared.planned.count)
    notes = notes_of(options, prepared.planned.forecast)
    del notes["keep"]  # which is noted where something is left out
    return result.with_notes(**notes | {"block": prepared.choice.block, "resumed_from_step": None})


def solved(prepared: Prepared, options: Svd, folder: Path | None, **more: Any) -> SVDResult:
    """The triplets as the options ask for them, by the chosen method; scratch files go to ``folder``.

    ``more`` are further arguments of :func:`jaxlin.solvers.svd.svd`.
    """
    method = prepared.choice.method
    return solve(
        prepared.operator,
        prepared.k,
        method=method,
        tolerance=options.tol,
        seed=options.seed,
        block=options.block,
        max_passes=options.max_passes,
        verify_seed=options.verify_seed,
        scratch=folder if uses(method, "scratch") else None,
        **more,
    )


def _check_target(options: Svd) -> None:
    """Refuse what has no meaning beside a target."""
    if options.target is None:
        return
    if options.norms:
        raise JaxlinError("`norms` is about the whole map: leave out `target`, or `norms`")
    if options.metric != HIDDEN:
        raise JaxlinError("`target` is one number, which needs no `metric`: leave out one of them")
    if options.order != "sigma":
        raise JaxlinError("`target` has one direction, which needs no `order`: leave out one of them")


def given_in(options: Svd) -> tuple[str, ...]:
    """Options that some methods use and others do not, of those that are given."""
    given = [name for name in ("max_passes", "verify_seed") if getattr(options, name) is not None]
    return (*given, *(["store"] if options.resume or options.save_every else []))


def _measured(operator: DetachedJacobian, result: SVDResult, options: Svd, progress: Progress) -> SVDResult:
    """The result with the matrix and its norms, where they are asked for."""
    if options.save_jacobian:
        result = result.with_jacobian(operator.dense(progress))
    if options.norms:
        measured = norms(operator, progress)
        result = result.with_norms(measured, *largest(operator, measured, options.norms))
    return result
