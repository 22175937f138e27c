"""One request before any weight is read: which positions of a prompt it is about, and how it will run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jaxlin_models as models
import numpy as np
from jaxlin_models.sharding import Layout
from jaxtyping import Int

from jaxlin.errors import JaxlinError
from jaxlin.linear.selection import positions_in
from jaxlin.planning.abstract import Job
from jaxlin.planning.budget import Forecast, Solver, choose
from jaxlin.prompts.span import parse_span
from jaxlin.prompts.text import up_to
from jaxlin.runtime.mesh import sharing_memory
from jaxlin.runtime.sizes import parse_size, spell_size
from jaxlin.solvers.choose import free_bytes

#: Positions as people write them, or as numbers.
Span = str | Sequence[int] | Int[np.ndarray, " s"]


@dataclass(frozen=True, eq=False)
class Places:
    """Which positions of a prompt a request is about.

    Attributes:
        seen: the tokens up to the output's position.
        chosen: the input positions among them, rising.
        whole: whether these are all of them.
    """

    seen: list[int]
    chosen: Int[np.ndarray, " s"]
    whole: bool

    @property
    def position(self) -> int:
        """The output's position."""
        return len(self.seen) - 1

    @property
    def span(self) -> Int[np.ndarray, " s"] | None:
        """What :meth:`jaxlin.DetachedJacobian.select` is to be asked for: nothing where all are meant."""
        return None if self.whole else self.chosen


def choose_places(
    token_ids: Sequence[int],
    config: models.DecoderConfig,
    *,
    position: int | None = None,
    span: Span | None = None,
    skip_first: int = 0,
) -> Places:
    """Which positions are meant.

    Args:
        token_ids: of the whole prompt.
        config: of the decoder.
        position: the output's, from 0, or from the end if negative; the last if None.
        span: input positions, as numbers or like ``16:`` or ``0,3,8:12``; all if None.
        skip_first: leave out so many first positions instead.

    Raises:
        JaxlinError: a position or span that does not exist or is given twice, or a position that depends on
            what follows it.
    """
    seen = up_to(list(token_ids), position, config)
    if skip_first < 0:
        raise JaxlinError(f"`skip_first` is {skip_first}: choose 0 or more")
    if skip_first:
        if span is not None:
            raise JaxlinError("`span` and `skip_first` say the same in two ways: give one of them")
        if skip_first >= len(seen):
            raise JaxlinError(
                f"the prompt has {len(seen)} tokens, and `skip_first` is {skip_first}: choose fewer"
            )
        span = f"{skip_first}:"
    if span is None:
        return Places(seen, np.arange(len(seen)), True)
    chosen = parse_span(span, len(seen)) if isinstance(span, str) else positions_in(span, len(seen))
    return Places(seen, chosen, False)


def plan_job(
    config: models.DecoderConfig,
    length: int,
    *,
    dtype: str = "float32",
    precision: str | None = None,
    policy: str = "detached",
    span: int | None = None,
    targets: int | None = None,
    offload: str = "none",
    forms: models.Forms | None = None,
    layout: Layout | None = None,
    solver: Solver,
    memory: int | str | None = None,
    attention: str | None = None,
    gate: str | None = None,
    beside: int = 0,
    held: int = 0,
) -> Forecast:
    """How a job will run: dial, method, memory. From config.json alone, before a weight is read.

    Args:
        config: of the decoder.
        length: positions of the prompt, up to the output's.
        dtype, precision, offload: as in :func:`jaxlin.load`. float64 switches ``jax_enable_x64`` on.
        layout: how it lies on several devices; ``memory`` and ``held`` are then those of one of them.
        policy: one of :data:`jaxlin_models.POLICIES`.
        span: how many input positions are kept, all if None.
        targets: rows of a target, none if None.
        forms: how weights are written that stay quantised; none do if None.
        solver: what is asked of the solver.
        memory: what may be used, in bytes or like ``40GB``; what is free if that is less, or if None.
        attention, gate: settings of the dial that are not to be chosen.
        beside: bytes that the job holds and the planner knows nothing of.
        held: bytes that its weights hold already, so that they are not free but need not be found either.

    Raises:
        JaxlinError: k out of range, or a job that does not fit into memory.
        models.ModelError: dtype and precision, or a dial, that cannot be.
    """
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    job = Job(
        config, length, dtype, precision, policy, span=span, targets=targets, offload=offload,
        forms=forms, layout=layout,
    )  # fmt: skip
    usable = usable_bytes(memory, held, layout)
    return choose(job, solver, max(0, usable - beside), attention=attention, gate=gate)


def usable_bytes(memory: int | str | None, held: int = 0, layout: Layout | None = None) -> int:
    """What may be used on one device, as in :func:`plan_job`."""
    usable = free_bytes() // sharing_memory(None if layout is None else layout.mesh) + held
    if memory is None:
        return usable
    return min(usable, parse_size(memory) if isinstance(memory, str) else memory)


def in_words(expected: Forecast, policy: str) -> str:
    """The plan in one line: which method, why, and what it will hold."""
    dial = expected.dial
    settings = f", attention {dial.attention}, gate {dial.gate}" if models.POLICIES[policy].linear else ""
    most = f"{'about' if expected.phases else 'less than'} {spell_size(expected.peak)}"
    return f"method {expected.choice.method}: {expected.choice.reason}{settings}, {most} of memory"


def stream_bytes(config: models.DecoderConfig, length: int, itemsize: int) -> int:
    """What the residual stream of a recording holds: what enters both branches of every layer."""
    return 2 * config.num_layers * length * config.embed_dim * itemsize
