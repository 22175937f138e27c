"""``tokens``: the SVD of every token's own Jacobian."""

from __future__ import annotations

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
from jaxlin.verbs.mapping import make_map, metric_rows, notes_of, plan_map
from jaxlin.verbs.options import Tokens
from jaxlin.verbs.tokenizing import tokenized


def tokens(model: Model, prompt: Prompt, options: Tokens, progress: Progress = silent) -> TokensResult:
    """The k largest singular triplets of every J_t of a prompt.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    with kept(options) as folder:
        ids = tokenized(model, prompt, options)
        beside = _result_bytes(model, len(ids), options)
        planned = plan_map(
            model, ids, options, Solver(1, "gram"), progress, metric=options.metric, beside=beside
        )
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
        result = result.with_notes(**notes_of(options))
        if folder is not None:
            result.write(folder)
    return result


def _result_bytes(model: Model, length: int, options: Tokens) -> int:
    """Both vectors of every triplet of every token, which lie in the host's memory."""
    if jax.default_backend() != "cpu":
        return 0
    itemsize = solver_dtype(jnp.dtype(model.dtype_name)).itemsize
    return 2 * options.k * length * model.config.embed_dim * itemsize
