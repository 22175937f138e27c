"""``svd``: the top of one prompt's map, certified and decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxlin.analyses.norms import largest, norms
from jaxlin.analyses.weighing import weighed, with_images
from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model
from jaxlin.prompts.target import parse_target
from jaxlin.prompts.text import Prompt
from jaxlin.results.metric import HIDDEN
from jaxlin.results.svd import SVDResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.choose import MethodChoice, check_jacobian_fits, choose_method
from jaxlin.solvers.methods import uses
from jaxlin.solvers.svd import svd as solve
from jaxlin.verbs.keeping import filled, reserved
from jaxlin.verbs.mapping import make_map, metric_rows, notes_of, plan_map
from jaxlin.verbs.options import Svd
from jaxlin.verbs.resuming import resumable
from jaxlin.verbs.tokenizing import tokenized


def svd(model: Model, prompt: Prompt, options: Svd, progress: Progress = silent) -> SVDResult:
    """The top-k singular triplets of a prompt's map, and what was asked for beside them.

    Raises:
        JaxlinError: a request that cannot be met; where it comes from config.json or the prompt alone, before
            any weight is read.
    """
    _check_target(options)
    target = None if options.target is None else parse_target(options.target)
    # The place first: whose state lies beside it is known once no other run can be there.
    with reserved(options) as claim, resumable(options) as state, filled(claim) as folder:
        ids = tokenized(model, prompt, options)
        solver = Solver(options.k, options.method, options.block, given=given_in(options))
        planned = plan_map(model, ids, options, solver, progress, target=target, metric=options.metric)
        forecast = planned.forecast
        whole = make_map(model, planned, progress, policy=options.policy)
        rows = metric_rows(model, whole.y, options.metric, progress)
        operator = weighed(whole, rows, options.metric)
        k = min(16, *operator.shape) if options.k is None else options.k
        choice = choose_method(operator, k, forecast.choice.method, options.block, given=solver.given)
        if options.save_jacobian:
            check_jacobian_fits(operator)
        store = state.store(model, planned.places.seen, choice)
        resumed = state.steps
        result = solved(operator, k, choice, options, folder, store=store, progress=progress)
        state.gave_up = options.max_passes is not None and not result.holds
        result = result if rows is None else with_images(result, whole)
        result = _measured(model, whole, result, options, progress).with_notes(
            **notes_of(options, forecast) | {"block": choice.block, "resumed_from_step": resumed}
        )
        if folder is not None:
            result.write(folder)
    return result


def solved(
    operator: DetachedJacobian, k: int, choice: MethodChoice, options: Svd, folder: Path | None, **more: Any
) -> SVDResult:
    """The triplets as the options ask for them, by the chosen method; scratch files go to ``folder``.

    ``more`` are further arguments of :func:`jaxlin.solvers.svd.svd`.
    """
    return solve(
        operator,
        k,
        method=choice.method,
        tolerance=options.tol,
        seed=options.seed,
        block=options.block,
        max_passes=options.max_passes,
        verify_seed=options.verify_seed,
        scratch=folder if uses(choice.method, "scratch") else None,
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


def _measured(
    model: Model, operator: DetachedJacobian, result: SVDResult, options: Svd, progress: Progress
) -> SVDResult:
    """The result with the matrix and its norms, where they are asked for."""
    if options.save_jacobian:
        result = result.with_jacobian(operator.dense(progress))
    if options.norms:
        measured = norms(operator, progress)
        result = result.with_norms(measured, *largest(operator, measured, options.norms))
    return result
