"""What a verb works on: which positions and which output of a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import jax
import numpy as np

import models
from jaxlin.errors import JaxlinError
from jaxlin.model import Model, up_to
from jaxlin.operator import DetachedJacobian
from jaxlin.options import Job
from jaxlin.progress import Progress
from jaxlin.span import parse_span
from jaxlin.target import parse_target

#: Up to here whole probability matrices are as fast as blocks of them.
_SHORT = 512


@dataclass(frozen=True, eq=False)
class Part:
    """The chosen part of a prompt's Jacobian.

    ``token_ids`` are those of the input positions, which are ``places`` in the prompt; ``position`` is the
    output's.
    """

    operator: DetachedJacobian
    token_ids: list[int]
    places: np.ndarray
    position: int
    dial: models.Dial


def choose_part(
    config: Job, model: Model, token_ids: list[int], progress: Progress, target: str | None = None
) -> Part:
    """Record the prompt and take the span and the target that were asked for.

    Raises:
        JaxlinError: a position, span or target that does not exist.
    """
    seen = up_to(token_ids, config.position)
    span = config.span
    if config.skip_first:
        if span is not None:
            raise JaxlinError("--span and --skip-first say the same in two ways: give one of them")
        span = f"{config.skip_first}:"
    places = np.arange(len(seen)) if span is None else parse_span(span, len(seen))
    progress("recording coefficients", 0, 1, f"{len(seen)} tokens")
    dial = choose_dial(config, len(seen))
    operator = model.jacobian(seen, policy=config.policy, dial=dial)
    rows = None if target is None else model.logit_row(operator.y, parse_target(target))
    operator = jax.block_until_ready(operator.select(None if span is None else places, rows))
    progress("recording coefficients", 1, 1, f"{len(seen)} tokens")
    return Part(operator, [seen[i] for i in places], places, len(seen) - 1, dial)


def choose_dial(config: Job, length: int) -> models.Dial:
    """What the recording keeps: as asked for, and else by the prompt's length."""
    attention = config.attention or ("probabilities" if length <= _SHORT else "queries_keys")
    return models.Dial(attention=cast(Any, attention), gate=cast(Any, config.gate or "stored"))
