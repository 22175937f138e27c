"""``attribute``: a logit split exactly over tokens, layers and singular directions."""

from __future__ import annotations

import jax.numpy as jnp

from jaxlin.analyses.attribution import attribute as split
from jaxlin.errors import JaxlinError
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model
from jaxlin.prompts.target import LogitTarget, parse_target, parse_token_id
from jaxlin.prompts.text import Prompt
from jaxlin.results.attribute import Attribution
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.svd import svd as solve
from jaxlin.verbs.keeping import kept
from jaxlin.verbs.mapping import make_recording, notes_of, plan_map, stream_of
from jaxlin.verbs.options import Attribute
from jaxlin.verbs.tokenizing import tokenized


def attribute(model: Model, prompt: Prompt, options: Attribute, progress: Progress = silent) -> Attribution:
    """The split of one logit, or of the difference of two; of the model's own next token if none is given.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    if options.tol is not None and options.k is None:
        raise JaxlinError("`tol` is for the singular directions: say how many with `k`")
    target = _target(options)
    with kept(options) as folder:
        ids = tokenized(model, prompt, options)
        # The map itself is decomposed, and one row of it read.
        solver = Solver(options.k, "auto") if options.k else Solver(1, "lanczos")
        beside = stream_of(model, len(ids))
        planned = plan_map(model, ids, options, solver, progress, beside=beside)
        recording, operator = make_recording(model, planned, progress, policy=options.policy)
        chosen_by = "the model's own most likely next token" if target is None else "--target"
        if target is None:
            target = LogitTarget(int(jnp.argmax(model.logits(operator.y))))
        row = model.logit_row(operator.y, target)
        triplets = None
        if options.k:
            triplets = solve(
                operator,
                options.k,
                tolerance=options.tol,
                seed=options.seed,
                scratch=folder,
                progress=progress,
            )
        result = split(operator, recording, row, triplets, seed=options.seed).with_notes(
            **notes_of(options) | {"target": model.spell_target(target), "chosen_by": chosen_by}
        )
        if folder is not None:
            result.write(folder)
    return result


def _target(options: Attribute) -> LogitTarget | None:
    """The target as it was given: a token by text or id, or written as ``logits:"…"``."""
    target, minus = options.target, options.minus
    written = isinstance(target, str) and target.startswith("logits:")
    if minus is not None and (target is None or written):
        raise JaxlinError('`minus` goes with a token as `target`: give that token, and no logits:"…"')
    if target is None:
        return None
    if written:
        return parse_target(str(target))
    return LogitTarget(_token(target), None if minus is None else _token(minus))


def _token(token: str | int) -> str | int:
    """A token by its text, or by its id: a number, or like ``#42``."""
    by_id = isinstance(token, str) and token[:1] == "#" and token[1:].isdecimal()
    return parse_token_id(str(token)) if by_id else token
