"""``tokens``: the SVD of every token's own Jacobian."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxlin.analyses.weighing import weighed, with_writings
from jaxlin.linear.operator import solver_dtype
from jaxlin.per_token.tokens import tokens as solve
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model
from jaxlin.prompts.text import Prompt
from jaxlin.results.tokens import TokensResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs.keeping import kept
from jaxlin.verbs.mapping import Forecasts, PlannedMap, make_map, metric_rows, notes_of, plan_map
from jaxlin.verbs.options import Tokens
from jaxlin.verbs.tokenizing import tokenized


def tokens(model: Model, prompt: Prompt, options: Tokens, progress: Progress = silent) -> TokensResult:
    """The k largest singular triplets of every J_t of a prompt.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    with kept(options) as folder:
        planned = plan(model, tokenized(model, prompt, options), options, progress)
        result = make(model, planned, options, folder, progress)
        if folder is not None:
            result.write(folder)
    return result


def plan(
    model: Model,
    ids: Sequence[int],
    options: Tokens,
    progress: Progress = silent,
    *,
    padded: bool = False,
    known: Forecasts | None = None,
) -> PlannedMap:
    """How one prompt's map will be made, see :func:`plan_map`; these maps are never padded.

    Raises:
        JaxlinError: what cannot be met.
    """
    beside = _result_bytes(model, len(ids), options)
    solver = Solver(1, "gram")
    return plan_map(model, ids, options, solver, progress, metric=options.metric, beside=beside, known=known)


def make(
    model: Model, planned: PlannedMap, options: Tokens, folder: Path | None, progress: Progress = silent
) -> TokensResult:
    """The triplets of every token of one planned map; scratch files go to ``folder``.

    Raises:
        JaxlinError: what cannot be met.
    """
    whole = make_map(model, planned, progress, policy=options.policy)
    rows = metric_rows(model, whole.y, options.metric, progress)
    operator = weighed(whole, rows, options.metric)
    result = solve(
        operator,
        options.k,
        method=options.method,
        tolerance=options.tol,
        seed=options.seed,
        scratch=folder,
        progress=progress,
    )
    if rows is not None:
        result = with_writings(result, rows, whole)
    return result.with_notes(**notes_of(options))


def _result_bytes(model: Model, length: int, options: Tokens) -> int:
    """Both vectors of every triplet of every token, which lie in the host's memory."""
    if jax.default_backend() != "cpu":
        return 0
    itemsize = solver_dtype(jnp.dtype(model.dtype_name)).itemsize
    return 2 * options.k * length * model.config.embed_dim * itemsize
