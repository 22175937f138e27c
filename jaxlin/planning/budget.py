"""Which setting of the memory dial a job runs at, before any of its weights is read.

The settings are tried from the fastest to the smallest; the first whose predicted peak fits is taken. Where a
bound from shapes shows that there is room to spare, nothing is compiled to prove it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

import jax.numpy as jnp
import jaxlin_models as models
from jaxlin_models.dial import SHORT, AttentionSetting, GateSetting

from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.operator import solver_dtype
from jaxlin.planning.abstract import Abstract, Job, abstract, layer_bytes, weight_bytes
from jaxlin.planning.memory import Phase, right_bytes, solve_phases
from jaxlin.runtime.offload import OFFLOADS
from jaxlin.runtime.sizes import spell_size
from jaxlin.solvers.choose import MethodChoice, choose_method
from jaxlin.solvers.examine import layouts
from jaxlin.solvers.methods import ITERATIVE, uses

#: A bound this many times below what is there needs no proof.
_TO_SPARE = 2


@dataclass(frozen=True)
class Solver:
    """What is asked of the solver: see :func:`jaxlin.solvers.svd`. ``k`` is 16, or all there are, if None.

    ``given`` are the names of other arguments that are given; see
    :func:`jaxlin.solvers.choose.choose_method`.
    """

    k: int | None = None
    method: str = "auto"
    block: int | None = None
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class Forecast:
    """What a job will cost at one setting of the dial.

    Attributes:
        dial: the setting.
        choice: the method, and why.
        k: how many triplets.
        passes: of the whole network, those of the certificate included.
        weights, coefficients: bytes held throughout, where the programs run.
        host: bytes of both that wait in the host's memory, where that is another one.
        phases: what each part of the job needs beside them; empty where nothing was compiled.
        flops: arithmetic of all passes and of the recording.
        bound: an upper bound of the peak from shapes alone, in bytes.
    """

    dial: models.Dial
    choice: MethodChoice
    k: int
    passes: int
    weights: int
    coefficients: int
    host: int
    phases: tuple[Phase, ...]
    flops: int
    bound: int

    def __repr__(self) -> str:
        most = f"{'' if self.phases else 'less than '}{spell_size(self.peak)}"
        return f"Forecast(method {self.choice.method}, k {self.k}, {self.passes} passes, {most})"

    @property
    def peak(self) -> int:
        """Predicted peak in bytes; its bound where nothing was compiled."""
        if not self.phases:
            return self.bound
        return self.weights + self.coefficients + max(phase.bytes for phase in self.phases)

    @property
    def bottleneck(self) -> str:
        """The name of the phase with the peak."""
        return max(self.phases, key=lambda phase: phase.bytes).name if self.phases else "bound"


def forecast(
    job: Job, dial: models.Dial, solver: Solver, *, memory: int | None = None, compiled: bool = True
) -> Forecast:
    """Method, passes, memory and arithmetic of a job at one setting of the dial.

    Args:
        job: the model, the prompt's length and the chosen part of the map.
        dial: the setting.
        solver: what is asked of the solver.
        memory: bytes that may be used; what is free if None. The method is chosen by it.
        compiled: compile the programs for their memory, instead of only bounding it.

    Raises:
        JaxlinError: as :func:`jaxlin.solvers.choose.choose_method`.
    """
    shapes = abstract(job, dial)
    operator = shapes.operator
    k = min(16, *operator.shape) if solver.k is None else solver.k
    spare = None if memory is None else max(0, memory - shapes.weights - shapes.coefficients)
    choice = choose_method(
        operator, k, solver.method, solver.block, given=solver.given, memory=spare, apart=job.apart
    )
    checked = layouts(operator.probes_per_pass, k, estimates=choice.method in ITERATIVE)
    passes = choice.passes + sum(layout.passes for layout in checked)
    phases: list[Phase] = []
    if compiled:
        held = right_bytes(operator, k, apart=job.apart)
        reading = [replace(phase, bytes=phase.bytes + held) for phase in shapes.reading(k)]
        phases = shapes.preparing() + solve_phases(operator, choice, k, apart=job.apart) + reading
    probes = choice.block if choice.method == "lanczos" else operator.probes_per_pass
    policy = models.POLICIES[job.policy]
    flops = passes * models.pass_flops(job.config, job.length, dial, probes, policy)
    return Forecast(
        dial=dial,
        choice=choice,
        k=k,
        passes=passes,
        weights=shapes.weights,
        coefficients=shapes.coefficients,
        host=shapes.host,
        phases=tuple(phases),
        flops=flops + models.record_flops(job.config, job.length, dial),
        bound=_bound(job, dial, shapes, choice, k),
    )


def choose(
    job: Job,
    solver: Solver,
    memory: int,
    *,
    attention: str | None = None,
    gate: str | None = None,
    always_compile: bool = False,
) -> Forecast:
    """The first setting of the dial, from fast to small, at which the job fits.

    Args:
        job, solver: what is to be done.
        memory: bytes that may be used.
        attention, gate: settings of the dial that are not to be choice.
        always_compile: predict the peak even where a bound shows that it fits.

    Raises:
        JaxlinError: nothing fits, or the request cannot be met in any memory.
    """
    weights = weight_bytes(job)
    if weights > memory:
        raise JaxlinError(_too_heavy(job, weights, memory))
    pinned = {"attention": attention, "gate": gate}
    tried = list(forecasts(job, solver, memory, **pinned, always_compile=always_compile))
    if tried[-1].peak <= memory:
        return tried[-1]
    smallest = min(tried, key=lambda forecast: forecast.peak)
    if any(pinned.values()):
        *_, free = forecasts(job, solver, memory, always_compile=always_compile)
        if free.peak <= memory:
            raise JaxlinError(
                f"{_too_large(job, smallest, memory)}: use `attention` {free.dial.attention} and "
                f"`gate` {free.dial.gate}"
            )
    raise JaxlinError(refusal(job, smallest, memory))


def forecasts(
    job: Job,
    solver: Solver,
    memory: int,
    *,
    attention: str | None = None,
    gate: str | None = None,
    always_compile: bool = False,
) -> Iterator[Forecast]:
    """One setting after the other, up to the first that fits."""
    for dial in candidates(job.length, attention, gate, offload=job.offload != "none"):
        expected = forecast(job, dial, solver, memory=memory, compiled=False)
        hopeless = expected.weights + expected.coefficients > memory
        if not hopeless and (always_compile or expected.bound * _TO_SPARE > memory):
            expected = forecast(job, dial, solver, memory=memory)
        elif hopeless:
            expected = replace(expected, bound=max(expected.bound, memory + 1))
        yield expected
        if expected.peak <= memory:
            return


def check_length(config: models.DecoderConfig, length: int, name: str) -> None:
    """:class:`JaxlinError` if the model has fewer positions, or the length is 0."""
    if not 1 <= length <= config.max_positions:
        raise JaxlinError(
            f"{name} has {config.max_positions} positions and {length} tokens are asked for: "
            f"choose from 1 to {config.max_positions}"
        )


def candidates(
    length: int, attention: str | None = None, gate: str | None = None, *, offload: bool = False
) -> list[models.Dial]:
    """Settings of the dial from fast to small: those that were asked for, and else by the prompt's length.

    What is offloaded was asked for: it is slower, and of use on some machines alone.

    Raises:
        JaxlinError: an unknown setting.
    """
    for name, given, known in (("attention", attention, AttentionSetting), ("gate", gate, GateSetting)):
        if given is not None and given not in get_args(known):
            raise JaxlinError(
                f"unknown {name} setting {shortened(given)!r}: choose {' or '.join(get_args(known))}"
            )
    short = [("probabilities", "stored")] if length <= SHORT else []
    settings = [*short, ("queries_keys", "stored"), ("queries_keys", "recomputed")]
    pinned = [(attention or a, gate or g) for a, g in settings]
    return [models.Dial(cast(Any, a), cast(Any, g), offload=offload) for a, g in dict.fromkeys(pinned)]


def refusal(job: Job, smallest: Forecast, memory: int) -> str:
    """One sentence: what is too large, how much is there, what to do."""
    if smallest.weights <= memory:
        return f"{_too_large(job, smallest, memory)}: {_way_out(job, smallest, memory)}"
    return _too_heavy(job, smallest.weights, memory)


def _too_heavy(job: Job, weights: int, memory: int) -> str:
    narrow = weight_bytes(replace(job, dtype="bfloat16", precision=None))
    ways_out = []
    if narrow < min(memory, weights):
        ways_out = [f"use `dtype` bfloat16, in which they take {spell_size(narrow)}"]
    if "all" in _more_offloads(job) and (staying := weight_bytes(replace(job, offload="all"))) < memory:
        ways_out += [f"use `offload` all, which leaves {spell_size(staying)} of them on the device"]
    if not ways_out:
        ways_out = [f"use a smaller model, or a machine with more than {spell_size(weights)}"]
    if job.layout is not None:
        ways_out += ["use a `mesh` with a larger tensor="]
    which = "the embeddings and the head" if job.offload == "all" else "the weights"
    where = "" if job.layout is None else " on each device"
    what = f"by config.json {which} alone take {spell_size(weights)}{where} in {job.dtype}"
    return f"{what} and there are {spell_size(memory)}: {', or '.join(ways_out)}"


def _too_large(job: Job, smallest: Forecast, memory: int) -> str:
    least = "" if smallest.phases else "more than "
    size = spell_size(smallest.peak if smallest.phases else smallest.weights + smallest.coefficients)
    dial = f"attention {smallest.dial.attention}, gate {smallest.dial.gate}"
    return (
        f"{job.length} tokens in {job.dtype} would need {least}{size} ({dial}) and there are "
        f"{spell_size(memory)}"
    )


def _way_out(job: Job, smallest: Forecast, memory: int) -> str:
    positions = job.length if job.span is None else job.span
    wide = jnp.promote_types(jnp.dtype(job.dtype), jnp.float32)
    right = positions * job.config.embed_dim * wide.itemsize  # of one triplet
    fewer = smallest.k - -(-(smallest.peak - memory) // right)
    if fewer >= 1 and smallest.phases and not job.apart:
        return f"ask for `k` {fewer}"
    a_token = ((smallest.peak - smallest.weights) if smallest.phases else smallest.coefficients) / job.length
    tokens = int((memory - smallest.weights) / a_token)
    about = "to about" if smallest.phases else "to fewer than"
    way_out = f"shorten the prompt {about} {tokens} tokens" if tokens else "use a smaller model"
    way_out = way_out if job.dtype == "bfloat16" else f"use `dtype` bfloat16, or {way_out}"
    way_out = way_out if job.layout is None else f"use a `mesh` with a larger sequence=, or {way_out}"
    offload = _offload_that_fits(job, smallest, memory)
    return way_out if offload is None else f"use `offload` {offload}, or {way_out}"


def _offload_that_fits(job: Job, smallest: Forecast, memory: int) -> str | None:
    """The least of what could be offloaded besides, with which the job would fit at the same setting."""
    block = smallest.choice.block if uses(smallest.choice.method, "block") else None
    solver = Solver(smallest.k, smallest.choice.method, block)
    dial = smallest.dial
    for offload in _more_offloads(job):
        more = replace(job, offload=offload)
        (expected,) = forecasts(more, solver, memory, attention=dial.attention, gate=dial.gate)
        if expected.peak <= memory:
            return offload
    return None


def _more_offloads(job: Job) -> tuple[str, ...]:
    """What could be offloaded beyond what is: nothing where the host's memory is the device's."""
    if not job.apart or not models.POLICIES[job.policy].linear:
        return ()
    return OFFLOADS[OFFLOADS.index(job.offload) + 1 :]


def _bound(job: Job, dial: models.Dial, shapes: Abstract, choice: MethodChoice, k: int) -> int:
    """More than the job can need: every activation of a layer several times, for all probes at once."""
    config, operator = job.config, shapes.operator
    wide = jnp.dtype(solver_dtype(operator.dtype)).itemsize
    widths = 8 * config.embed_dim + 4 * config.mlp_dim + 8 * config.num_heads * config.head_dim
    probes = max(operator.probes_per_pass, choice.block)
    activations = 3 * probes * job.length * widths * wide
    if dial.attention == "probabilities":
        activations += 4 * config.num_heads * job.length**2 * wide
    held = shapes.weights + shapes.coefficients
    a_layer = 4 * (held + shapes.host) // max(1, config.num_layers)  # two of them fetched, if offloaded
    a_layer += 0 if job.forms is None else 4 * layer_bytes(job)
    table = 2 * config.vocab_size * config.embed_dim * wide
    if job.policy == "none":
        activations *= config.num_layers
    solver = (
        3 * k * operator.shape[1] * wide + choice.bytes_needed + 512 * choice.block * operator.shape[0] * wide
    )
    return held + activations + a_layer + table + solver
