"""The map that a verb works on: which positions of a prompt, how it will be held, and the operator itself."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxlin_models import POLICIES, DecoderConfig
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.planning.budget import Forecast, Solver
from jaxlin.planning.job import Places, choose_places, in_words, plan_job, stream_bytes, usable_bytes
from jaxlin.prompts.model import Model
from jaxlin.prompts.recording import Recording
from jaxlin.prompts.target import LogitTarget
from jaxlin.prompts.text import Prompt
from jaxlin.results.labels import Labels
from jaxlin.results.metric import HIDDEN
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs.declare import RESULT, STEP
from jaxlin.verbs.padding import bucket, rounded_up
from jaxlin.verbs.shared import Mapped

#: (positions of the prompt, input positions that are kept) -> how such a map will be held.
Forecasts = MutableMapping[tuple[int, int | None], Forecast]


@dataclass(frozen=True, eq=False)
class PlannedMap:
    """A map before it is made: its places in the prompt, its target, how it will be held.

    Attributes:
        places: which positions are meant.
        target: the row that will be taken of it, if any.
        forecast: how it will be held.
        span: the input positions in words; None for all.
        length: how many positions the prompt is padded to, maybe its own; None where it is not.
    """

    places: Places
    target: LogitTarget | None
    forecast: Forecast
    span: str | None
    length: int | None = None

    @property
    def count(self) -> int:
        """How many input positions are meant, of those that the map has."""
        return len(self.places.chosen)

    @property
    def kept(self) -> list[int] | None:
        """The input positions of the map, some of the padding behind those that are meant; None for all."""
        return None if self.places.whole else _kept(self.places, self.length)

    def select(self, operator: DetachedJacobian, rows: Float[Array, "r d"] | None = None) -> DetachedJacobian:
        """The span and the target's row of a prompt's whole map, whose labels say so.

        Of a padded map the labels are those of the prompt's own tokens.
        """
        selected = operator.bare.select(self.kept, rows)
        labels: Labels | None = operator.labels
        if labels is not None:
            labels = labels if self.places.whole else labels.take(self.places.chosen)
            labels = labels if rows is None else labels.of_numbers()
            labels = replace(labels, facts={**labels.facts, "span": self.span})
        held: DetachedJacobian = jax.block_until_ready(replace(selected, labels=labels))
        return held


def _kept(places: Places, length: int | None) -> list[int]:
    """Those that are meant, and padding up to a size that other prompts have too."""
    chosen, count = [int(place) for place in places.chosen], len(places.seen)
    room = 0 if length is None else length - count
    return chosen + list(range(count, count + min(room, rounded_up(len(chosen)) - len(chosen))))


def plan_map(
    model: Model,
    prompt: Prompt,
    options: Mapped,
    solver: Solver,
    progress: Progress,
    *,
    policy: str | None = None,
    target: LogitTarget | None = None,
    metric: str = HIDDEN,
    beside: int = 0,
    padded: bool = False,
    known: Forecasts | None = None,
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
        metric: by which its output will be weighed.
        beside: bytes that the job holds and the planner knows nothing of.
        padded: whether to pad the prompt, so that those of other lengths share its programs.
        known: how maps of the same request will be held, by their sizes; this one joins them.

    Raises:
        JaxlinError: a prompt, position or span that cannot be used, or a job that does not fit.
    """
    policy = options.policy if policy is None else policy
    check_dial(options, policy, model.offload)
    places = choose_places(
        model.tokenize(prompt), model.config, span=options.span, skip_first=options.skip_first,
        position=options.position,
    )  # fmt: skip
    count = len(places.seen)
    length = bucket(count, model.config, policy) if padded and POLICIES[policy].linear else None
    span = None if places.whole else len(_kept(places, length))
    size = length or count, span
    forecasts: Forecasts = {} if known is None else known
    if size not in forecasts:
        forecasts[size] = plan_job(
            model.config,
            size[0],
            policy=policy,
            span=span,
            targets=rows_of(metric, model.config) if target is None else 1,
            solver=solver,
            beside=beside,
            **_memory(model, options),
        )
    forecast = forecasts[size]
    progress("planning", 1, 1, in_words(forecast, policy))
    return PlannedMap(places, target, forecast, span_in_words(options), length)


def make_map(model: Model, planned: PlannedMap, progress: Progress, *, policy: str) -> DetachedJacobian:
    """Record the prompt and take the span and the target that were asked for.

    Raises:
        JaxlinError: a target that is not one token.
    """
    seen, note = planned.places.seen, f"{len(planned.places.seen)} tokens"
    progress("recording coefficients", 0, 1, note)
    operator = model.jacobian(
        seen,
        policy=policy,
        dial=planned.forecast.dial if POLICIES[policy].linear else None,
        length=planned.length,
    )
    rows = None if planned.target is None else model.logit_row(operator.y, planned.target)
    operator = planned.select(operator, rows)
    progress("recording coefficients", 1, 1, note)
    return operator


def metric_rows(
    model: Model, y: Float[Array, " d"], metric: str, progress: Progress = silent
) -> Float[np.ndarray, "r d"] | None:
    """The rows of a metric of the prediction at the hidden state y; ``hidden`` has none."""
    if metric == HIDDEN:
        return None
    progress("metric of the prediction", 0, 1, metric)
    rows = model.metric_rows(y, metric)
    progress("metric of the prediction", 1, 1, f"{metric}, {len(rows)} of {len(y)} rows")
    return rows


def rows_of(metric: str, config: DecoderConfig) -> int | None:
    """How many rows the target of a metric has at most; none of ``hidden``, which has no target."""
    return None if metric == HIDDEN else config.embed_dim


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
    operator = planned.select(recording.stretch(0, recording.num_layers - 1, normed=normed))
    progress("recording coefficients", 1, 1, note)
    return recording, operator


def stream_of(model: Model, length: int) -> int:
    """Bytes of what a recording's residual stream holds, which the planner knows nothing of."""
    itemsize = solver_dtype(jnp.dtype(model.dtype_name)).itemsize
    return stream_bytes(model.config, length, itemsize)


def names_in(names: str | Sequence[str]) -> list[str]:
    """Names from text with commas between, or as they are."""
    given = names.split(",") if isinstance(names, str) else names
    return [name.strip() for name in given]


def span_in_words(options: Mapped) -> str | None:
    """The input positions as people write them; None for all."""
    if options.skip_first:
        return f"{options.skip_first}:"
    span = options.span
    return span if span is None or isinstance(span, str) else ",".join(str(int(place)) for place in span)


def notes_of(options: Mapped, forecast: Forecast | None = None) -> dict[str, Any]:
    """What a summary says of how a result was asked for: every option that decides it, by name."""
    asked = options.deciding(RESULT, STEP) | {"span": span_in_words(options)}
    del asked["skip_first"]  # which is a span
    if forecast is not None:
        asked["method_reason"] = forecast.choice.reason
        asked["predicted_peak_bytes"] = forecast.peak if forecast.phases else None
    return asked


def check_dial(options: Mapped, policy: str, offload: str) -> None:
    """Refuse settings of what a recording keeps where there will be none."""
    if POLICIES[policy].linear:
        return
    given = [name for name in ("attention", "gate") if getattr(options, name) is not None]
    given += ["offload"] if offload != "none" else []
    if given:
        raise JaxlinError(f"policy {policy} records nothing: leave out `{given[0]}`")


def _memory(model: Model, options: Mapped) -> dict[str, Any]:
    """What the planner has to know of the model and of the memory."""
    return {
        "dtype": model.dtype_name,
        "precision": model.precision,
        "offload": model.offload,
        "forms": model.source.forms(usable_bytes(options.memory, model.held_bytes)),
        "layout": model.source.spread,
        "held": model.held_bytes,
        "memory": options.memory,
        "attention": options.attention,
        "gate": options.gate,
    }
