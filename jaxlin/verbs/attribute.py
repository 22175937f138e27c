"""``attribute``: logits split exactly over tokens, over heads and MLPs, over singular directions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin.analyses.attribution import attribute as split
from jaxlin.errors import JaxlinError
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model
from jaxlin.prompts.target import LogitTarget, parse_target, parse_token_id
from jaxlin.prompts.text import Prompt
from jaxlin.results.attribute import Attribution
from jaxlin.results.attribute_views import TWO_BEST
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.svd import svd as solve
from jaxlin.verbs.keeping import kept
from jaxlin.verbs.mapping import Forecasts, PlannedMap, make_recording, notes_of, plan_map, stream_of
from jaxlin.verbs.options import Attribute
from jaxlin.verbs.tokenizing import tokenized


def attribute(model: Model, prompt: Prompt, options: Attribute, progress: Progress = silent) -> Attribution:
    """The split of some logits, or differences of two; without a target, of the two best next tokens'.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    targets_in(options)
    with kept(options) as folder:
        planned = plan(model, tokenized(model, prompt, options), options, progress)
        result = make(model, planned, options, folder, progress)
        if folder is not None:
            result.write(folder)
    return result


def plan(
    model: Model,
    ids: Sequence[int],
    options: Attribute,
    progress: Progress = silent,
    *,
    padded: bool = False,
    known: Forecasts | None = None,
) -> PlannedMap:
    """How one prompt's map will be made, see :func:`plan_map`; these maps are never padded.

    Raises:
        JaxlinError: what cannot be met.
    """
    targets_in(options)
    solver = Solver(options.k, "auto") if options.k else Solver(1, "lanczos")
    beside = stream_of(model, len(ids))
    return plan_map(model, ids, options, solver, progress, beside=beside, known=known)


def make(
    model: Model, planned: PlannedMap, options: Attribute, folder: Path | None, progress: Progress = silent
) -> Attribution:
    """The split of one planned prompt; scratch files go to ``folder``.

    Raises:
        JaxlinError: a target that is no token.
    """
    recording, operator = make_recording(model, planned, progress, policy=options.policy)
    targets = targets_in(options)
    chosen_by = "--target" if targets else TWO_BEST
    if not targets:
        targets = (_two_best(model, recording.y),)
    names = [model.spell_target(target) for target in targets]
    rows = jnp.concatenate([model.logit_row(operator.y, target) for target in targets])
    triplets = None
    if options.k:
        # The map itself is decomposed, and rows of it read.
        triplets = solve(
            operator, options.k, tolerance=options.tol, seed=options.seed, scratch=folder, progress=progress
        )
    result = split(
        operator,
        recording,
        rows,
        triplets,
        by_token=options.by_token,
        names=names,
        seed=options.seed,
        progress=progress,
    )
    return result.with_notes(**notes_of(options) | {"target": names[0], "chosen_by": chosen_by})


def targets_in(options: Attribute) -> tuple[LogitTarget, ...]:
    """The targets as they were given: tokens by text or id, or written as ``logits:"…"``; none if none was.

    Raises:
        JaxlinError: options that do not go together, or a target that cannot be read.
    """
    if options.tol is not None and options.k is None:
        raise JaxlinError("`tol` is for the singular directions: say how many with `k`")
    given: str | int | Sequence[str | int] | None = options.target
    each = () if given is None else (given,) if isinstance(given, str | int) else tuple(given)
    minus = options.minus
    written = [isinstance(target, str) and target.startswith("logits:") for target in each]
    if minus is not None and (not each or any(written)):
        raise JaxlinError('`minus` goes with a token as `target`: give that token, and no logits:"…"')
    if given is not None and not each:
        raise JaxlinError("`target` is empty: give one or more, or leave it out")
    subtracted = None if minus is None else _token(minus)
    return tuple(
        parse_target(str(target)) if is_written else LogitTarget(_token(target), subtracted)
        for target, is_written in zip(each, written, strict=True)
    )


def _two_best(model: Model, y: Float[Array, " d"]) -> LogitTarget:
    """The logit of the token that is predicted, minus that of its strongest rival."""
    logits = model.logits(y)
    _, best = jax.lax.top_k(logits, min(2, len(logits)))
    return LogitTarget(*(int(token) for token in best))


def _token(token: str | int) -> str | int:
    """A token by its text, or by its id: a number, or like ``#42``."""
    by_id = isinstance(token, str) and token[:1] == "#" and token[1:].isdecimal()
    return parse_token_id(str(token)) if by_id else token
