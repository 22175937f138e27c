"""The map that a verb works on: which positions of a prompt, how it will be held, and the operator itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxlin_models import POLICIES
from jaxtyping import Int

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.planning.budget import Forecast, Solver
from jaxlin.planning.job import Places, choose_places, in_words, plan_job
from jaxlin.prompts.model import Model
from jaxlin.prompts.recording import Recording
from jaxlin.prompts.target import LogitTarget
from jaxlin.runtime.progress import Progress
from jaxlin.verbs.declare import RESULT, STEP
from jaxlin.verbs.shared import Mapped

#: A prompt as text, or as token ids.
Prompt = str | Sequence[int] | Int[np.ndarray, " t"]


@dataclass(frozen=True, eq=False)
class PlannedMap:
    """A map before it is made: its places in the prompt, its target, and how it will be held."""

    places: Places
    target: LogitTarget | None
    forecast: Forecast


def plan_map(
    model: Model,
    prompt: Prompt,
    options: Mapped,
    solver: Solver,
    progress: Progress,
    *,
    policy: str | None = None,
    target: LogitTarget | None = None,
    beside: int = 0,
) -> PlannedMap:
    """Which positions are meant and how the map will be held, before any weight is read.

    Args:
        model: the model, whose weights may not be there yet.
        prompt: text or token ids.
        options: span, position, memory and the like.
        solver: what will be asked of the solver.
        progress: told the plan in words.
        policy: in place of that of the options.
        target: the row that will be taken of the map, if any.
        beside: bytes that the job holds and the planner knows nothing of.

    Raises:
        JaxlinError: a prompt, position or span that cannot be used, or a job that does not fit.
    """
    policy = options.policy if policy is None else policy
    _check_dial(options, policy, model.offload)
    if options.skip_first and options.span is not None:
        raise JaxlinError("`span` and `skip_first` say the same in two ways: give one of them")
    places = choose_places(
        model.tokenize(prompt), model.config, span=options.span, skip_first=options.skip_first,
        position=options.position,
    )  # fmt: skip
    forecast = plan_job(
        model.config,
        len(places.seen),
        dtype=model.dtype_name,
        precision=model.precision,
        policy=policy,
        span=None if places.whole else len(places.chosen),
        targets=None if target is None else 1,
        offload=model.offload,
        solver=solver,
        memory=options.memory,
        attention=options.attention,
        gate=options.gate,
        beside=beside,
        held=model.held_bytes,
    )
    progress("planning", 1, 1, in_words(forecast, policy))
    return PlannedMap(places, target, forecast)


def make_map(model: Model, planned: PlannedMap, progress: Progress, *, policy: str) -> DetachedJacobian:
    """Record the prompt and take the span and the target that were asked for.

    Raises:
        JaxlinError: a target that is not one token.
    """
    seen, note = planned.places.seen, f"{len(planned.places.seen)} tokens"
    progress("recording coefficients", 0, 1, note)
    operator = model.jacobian(seen, policy=policy, dial=planned.forecast.dial)
    rows = None if planned.target is None else model.logit_row(operator.y, planned.target)
    operator = jax.block_until_ready(operator.select(planned.places.span, rows))
    progress("recording coefficients", 1, 1, note)
    return operator


def make_recording(
    model: Model, planned: PlannedMap, progress: Progress, *, policy: str, normed: bool = True
) -> tuple[Recording, DetachedJacobian]:
    """Record the prompt once for the maps of many layers; the whole map, with the span, is one of them.

    Raises:
        JaxlinError: a policy under which nothing can be recorded.
    """
    note = f"{len(planned.places.seen)} tokens"
    progress("recording coefficients", 0, 1, note)
    recording = model.record(planned.places.seen, policy=policy, dial=planned.forecast.dial)
    operator = recording.stretch(0, recording.num_layers - 1, normed=normed)
    operator = jax.block_until_ready(operator.select(planned.places.span))
    progress("recording coefficients", 1, 1, note)
    return recording, operator


def stream_bytes(model: Model, planned_length: int) -> int:
    """What the residual stream of a recording holds: what enters both branches of every layer."""
    config = model.config
    itemsize = solver_dtype(jnp.dtype(model.dtype_name)).itemsize
    return 2 * config.num_layers * planned_length * config.embed_dim * itemsize


def notes_of(model: Model, options: Mapped, forecast: Forecast | None = None) -> dict[str, Any]:
    """What a summary says of how a result was asked for: every option that decides it, by name."""
    asked = options.deciding(RESULT, STEP)
    skipped = asked.pop("skip_first", 0)
    span = asked.get("span")
    if skipped:
        asked["span"] = f"{skipped}:"
    elif span is not None and not isinstance(span, str):
        asked["span"] = ",".join(str(int(position)) for position in span)
    if forecast is not None:
        asked["method_reason"] = forecast.choice.reason
        asked["predicted_peak_bytes"] = forecast.peak if forecast.phases else None
    return asked


def _check_dial(options: Mapped, policy: str, offload: str) -> None:
    """Refuse settings of what a recording keeps where there will be none."""
    if POLICIES[policy].linear:
        return
    given = [name for name in ("attention", "gate") if getattr(options, name) is not None]
    given += ["offload"] if offload != "none" else []
    if given:
        raise JaxlinError(f"policy {policy} records nothing: leave out `{given[0]}`")
