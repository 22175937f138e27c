"""``layers``: every layer and module of one recorded prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxlin.analyses.layers import check_parts, network_share, takes_all_values
from jaxlin.analyses.layers import layers as analyse
from jaxlin.errors import JaxlinError
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model
from jaxlin.prompts.span import parse_layers
from jaxlin.prompts.text import Prompt
from jaxlin.results.layers import LayersResult
from jaxlin.results.metric import HIDDEN
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs.keeping import kept
from jaxlin.verbs.mapping import (
    Forecasts,
    PlannedMap,
    make_recording,
    metric_rows,
    names_in,
    notes_of,
    plan_map,
    rows_of,
    stream_of,
)
from jaxlin.verbs.options import Layers
from jaxlin.verbs.tokenizing import tokenized


def layers(model: Model, prompt: Prompt, options: Layers, progress: Progress = silent) -> LayersResult:
    """The top-k SVD of every map that is asked for, at every layer that is asked for.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    _check(options)
    with kept(options) as folder:
        planned = plan(model, tokenized(model, prompt, options), options, progress)
        result = make(model, planned, options, folder, progress)
        if folder is not None:
            result.write(folder)
    return result


def plan(
    model: Model,
    ids: Sequence[int],
    options: Layers,
    progress: Progress = silent,
    *,
    padded: bool = False,
    known: Forecasts | None = None,
) -> PlannedMap:
    """How one prompt's maps will be made, see :func:`plan_map`; these maps are never padded.

    Raises:
        JaxlinError: what cannot be met.
    """
    _check(options)
    check_parts(names_in(options.parts))
    _layers_in(model, options)
    rows = rows_of(options.metric, model.config)
    outputs = model.config.embed_dim if rows is None else rows
    method = "gram" if takes_all_values(options.method, outputs) else options.method
    solver = Solver(min(options.k, model.config.embed_dim), method)
    beside = stream_of(model, len(ids))
    planned = plan_map(
        model, ids, options, solver, progress, metric=options.metric, beside=beside, known=known
    )
    progress("planning", 1, 1, cost_in_words(model, options, planned))
    return planned


def cost_in_words(model: Model, options: Layers, planned: PlannedMap) -> str:
    """How many maps there will be and what they will take, from the plan of a map of the whole network."""
    count, a_map = model.config.num_layers, planned.forecast.passes
    at = _layers_in(model, options)
    parts = dict.fromkeys(names_in(options.parts))
    shares = [network_share(part, i, count) for part in parts for i in (range(count) if at is None else at)]
    whole = a_map * sum(shares)
    work = planned.forecast.flops / a_map * whole
    return (
        f"{len(shares)} maps of about {a_map} passes each, which together are at most the work of "
        f"{whole:,.0f} passes of the whole network, {work / 1e12:.2g} Tflop"
    )


def make(
    model: Model, planned: PlannedMap, options: Layers, folder: Path | None, progress: Progress = silent
) -> LayersResult:
    """The triplets of every map of one planned prompt.

    Raises:
        JaxlinError: what cannot be met.
    """
    recording, operator = make_recording(
        model, planned, progress, policy=options.policy, normed=not options.raw
    )
    rows = metric_rows(model, recording.y, options.metric, progress)
    result = analyse(
        recording,
        options.k,
        parts=names_in(options.parts),
        at=_layers_in(model, options),
        normed=not options.raw,
        span=planned.places.span,
        metric=rows,
        method=options.method,
        tolerance=options.tol,
        seed=options.seed,
        progress=progress,
    )
    return result.of_map(operator).with_notes(**notes_of(options))


def _check(options: Layers) -> None:
    if options.raw and options.metric != HIDDEN:
        raise JaxlinError(
            "a metric of the prediction reads what went through the final norm: leave out `raw` or `metric`"
        )


def _layers_in(model: Model, options: Layers) -> Sequence[int] | None:
    """The numbers of the layers that are meant; None for all."""
    at = options.layers
    return parse_layers(at, model.config.num_layers) if isinstance(at, str) else at
