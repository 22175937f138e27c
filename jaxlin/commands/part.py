"""What a verb works on: the prompt, and which positions and which output of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import jax
import numpy as np

import models
from jaxlin.errors import JaxlinError
from jaxlin.model import Model, up_to
from jaxlin.operator import DetachedJacobian
from jaxlin.options import Svd
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


def choose_part(config: Svd, model: Model, token_ids: list[int], progress: Progress) -> Part:
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
    target = None if config.target is None else parse_target(config.target)
    progress("recording coefficients", 0, 1, f"{len(seen)} tokens")
    dial = choose_dial(config, len(seen))
    operator = model.jacobian(seen, policy=config.policy, dial=dial)
    rows = None if target is None else model.logit_row(operator.y, target)
    operator = jax.block_until_ready(operator.select(None if span is None else places, rows))
    progress("recording coefficients", 1, 1, f"{len(seen)} tokens")
    return Part(operator, [seen[i] for i in places], places, len(seen) - 1, dial)


def choose_dial(config: Svd, length: int) -> models.Dial:
    """What the recording keeps: as asked for, and else by the prompt's length."""
    attention = config.attention or ("probabilities" if length <= _SHORT else "queries_keys")
    return models.Dial(attention=cast(Any, attention), gate=cast(Any, config.gate or "stored"))


def read_prompt(config: Svd) -> str | list[int]:
    """The prompt, from whichever of the three ways it was given in.

    Raises:
        JaxlinError: none or several ways, a file that cannot be read, ids that are no numbers.
    """
    given = [source for source in (config.prompt, config.prompt_file, config.token_ids) if source is not None]
    if len(given) != 1:
        raise JaxlinError("give the prompt in one way: --prompt, --prompt-file or --token-ids")
    if config.prompt is not None:
        return config.prompt
    if config.prompt_file is not None:
        try:
            return config.prompt_file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise JaxlinError(
                f"cannot read {config.prompt_file} as UTF-8 text ({error}): check --prompt-file"
            ) from error
    assert config.token_ids is not None
    return [_token_id(text) for text in config.token_ids.split(",")] if config.token_ids.strip() else []


def _token_id(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise JaxlinError(
            f"--token-ids takes numbers with commas between, like 1,2,3, and {text[:20]!r} is no number"
        ) from error
