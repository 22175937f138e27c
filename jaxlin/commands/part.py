"""What a verb works on: which positions and which output of a prompt, and how it will run."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jaxlin_models as models
import numpy as np

from jaxlin.commands.options import Prompted
from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.abstract import Job
from jaxlin.planning.budget import Forecast, Solver, choose
from jaxlin.prompts.model import Model, up_to
from jaxlin.prompts.recording import Recording
from jaxlin.prompts.span import parse_span
from jaxlin.prompts.target import LogitTarget, parse_target
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.sizes import parse_size, spell_size
from jaxlin.solvers.choose import free_bytes


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


@dataclass(frozen=True, eq=False)
class Places:
    """Which positions of a prompt a request is about, and the logit it asks for, if it does.

    ``seen`` are the tokens up to the output's position, ``chosen`` the input positions among them.
    """

    seen: list[int]
    chosen: np.ndarray
    whole: bool
    target: LogitTarget | None


def choose_places(config: Prompted, checkpoint: models.Checkpoint, token_ids: list[int]) -> Places:
    """What ``--position``, ``--span``, ``--skip-first`` and ``--target`` say, before any weight is read.

    Raises:
        JaxlinError: a position, span or target that does not exist, or a position that depends on
            what follows it.
    """
    seen = up_to(token_ids, config.position, checkpoint.config)
    span = config.span
    if config.skip_first:
        if span is not None:
            raise JaxlinError("--span and --skip-first say the same in two ways: give one of them")
        span = f"{config.skip_first}:"
    chosen = np.arange(len(seen)) if span is None else parse_span(span, len(seen))
    target = getattr(config, "target", None)
    return Places(seen, chosen, span is None, None if target is None else parse_target(target))


def plan_job(
    config: Prompted, checkpoint: models.Checkpoint, places: Places, solver: Solver, beside: int = 0
) -> Forecast:
    """How the job will run: dial, method, memory. From config.json alone, before a weight is read.

    ``beside`` are bytes that the job holds and the planner knows nothing of.

    Raises:
        JaxlinError: k out of range, or a job that does not fit into memory.
        models.ModelError: dtype and precision, or a dial, that cannot be.
    """
    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    job = Job(
        checkpoint.config,
        len(places.seen),
        config.dtype,
        config.precision,
        config.policy,
        span=None if places.whole else len(places.chosen),
        targets=None if places.target is None else 1,
        offload=config.offload,
    )
    memory = free_bytes()
    if config.memory is not None:
        memory = min(memory, parse_size(config.memory))
    return choose(job, solver, max(0, memory - beside), attention=config.attention, gate=config.gate)


def choose_part(
    config: Prompted, model: Model, places: Places, dial: models.Dial, progress: Progress
) -> Part:
    """Record the prompt and take the span and the target that were asked for.

    Raises:
        JaxlinError: a target that is not one token.
    """
    seen = places.seen
    progress("recording coefficients", 0, 1, f"{len(seen)} tokens")
    operator = model.jacobian(seen, policy=config.policy, dial=dial)
    rows = None if places.target is None else model.logit_row(operator.y, places.target)
    operator = jax.block_until_ready(operator.select(None if places.whole else places.chosen, rows))
    progress("recording coefficients", 1, 1, f"{len(seen)} tokens")
    return _part(operator, places, dial)


def record_part(
    config: Prompted,
    model: Model,
    places: Places,
    dial: models.Dial,
    progress: Progress,
    *,
    normed: bool = True,
) -> tuple[Recording, Part]:
    """Record the prompt once for maps of many parts; the whole map, with the span, is one of them.

    Raises:
        JaxlinError: a policy under which nothing can be recorded.
    """
    note = f"{len(places.seen)} tokens"
    progress("recording coefficients", 0, 1, note)
    recording = model.record(places.seen, policy=config.policy, dial=dial)
    operator = recording.stretch(0, recording.num_layers - 1, normed=normed)
    operator = jax.block_until_ready(operator.select(None if places.whole else places.chosen))
    progress("recording coefficients", 1, 1, note)
    return recording, _part(operator, places, dial)


def stream_bytes(config: models.DecoderConfig, length: int, itemsize: int) -> int:
    """What the residual stream of a recording holds: what enters both branches of every layer."""
    return 2 * config.num_layers * length * config.embed_dim * itemsize


def _part(operator: DetachedJacobian, places: Places, dial: models.Dial) -> Part:
    chosen = places.chosen
    return Part(operator, [places.seen[i] for i in chosen], chosen, len(places.seen) - 1, dial)


def in_words(expected: Forecast, config: Prompted) -> str:
    """The plan in one line: which method, why, and what it will hold."""
    dial = (
        "" if config.policy == "none" else f", attention {expected.dial.attention}, gate {expected.dial.gate}"
    )
    most = f"{'about' if expected.phases else 'less than'} {spell_size(expected.peak)}"
    return f"method {expected.choice.method}: {expected.choice.reason}{dial}, {most} of memory"
