"""``layers``: every layer and module of one recorded prompt."""

from __future__ import annotations

from jaxlin.analyses.layers import check_parts
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
from jaxlin.verbs.mapping import make_recording, metric_rows, names_in, notes_of, plan_map, stream_of
from jaxlin.verbs.options import Layers
from jaxlin.verbs.tokenizing import tokenized


def layers(model: Model, prompt: Prompt, options: Layers, progress: Progress = silent) -> LayersResult:
    """The top-k SVD of every map that is asked for, at every layer that is asked for.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    if options.raw and options.metric != HIDDEN:
        raise JaxlinError(
            "a metric of the prediction reads what went through the final norm: leave out `raw` or `metric`"
        )
    with kept(options) as folder:
        ids = tokenized(model, prompt, options)
        parts = names_in(options.parts)
        check_parts(parts)
        config = model.config
        at = options.layers
        if isinstance(at, str):
            at = parse_layers(at, config.num_layers)
        solver = Solver(min(options.k, config.embed_dim), options.method)
        beside = stream_of(model, len(ids))
        planned = plan_map(model, ids, options, solver, progress, metric=options.metric, beside=beside)
        recording, operator = make_recording(
            model, planned, progress, policy=options.policy, normed=not options.raw
        )
        rows = metric_rows(model, recording.y, options.metric, progress)
        result = analyse(
            recording,
            options.k,
            parts=parts,
            at=at,
            normed=not options.raw,
            span=planned.places.span,
            metric=rows,
            method=options.method,
            tolerance=options.tol,
            seed=options.seed,
            progress=progress,
        )
        result = result.of_map(operator).with_notes(**notes_of(options))
        if folder is not None:
            result.write(folder)
    return result
