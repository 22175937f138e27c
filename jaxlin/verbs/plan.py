"""``plan``: what jobs would cost, before any weight is read."""

from __future__ import annotations

from dataclasses import asdict, replace

import jax
from jaxlin_models import DecoderConfig, find_config
from jaxlin_models.sharding import Layout

from jaxlin.errors import JaxlinError
from jaxlin.planning.abstract import Job, weight_bytes
from jaxlin.planning.budget import Forecast, Solver, check_length, forecasts, refusal
from jaxlin.planning.stored import UNPACKED, Stored, stored
from jaxlin.prompts.load import layout_of
from jaxlin.results.plan import PlannedJob, PlanResult
from jaxlin.runtime.device import has_own_memory
from jaxlin.runtime.mesh import make_room, parse_mesh
from jaxlin.runtime.progress import Progress, silent
from jaxlin.runtime.sizes import parse_size
from jaxlin.solvers.choose import free_bytes
from jaxlin.verbs.options import Plan

#: In this order, unless the dtype is given.
_TRIED = ("float32", "bfloat16")


def plan_jobs(options: Plan, progress: Progress = silent) -> PlanResult:
    """Every model at every length: the first dtype and setting of the dial that fits.

    Raises:
        JaxlinError: a model that cannot be found, a length that it does not have, or a GPU that is not here
            and whose memory is not given.
    """
    lengths = (options.tokens,) if isinstance(options.tokens, int) else options.tokens
    names = (options.model,) if isinstance(options.model, str) else options.model
    meshes = (options.mesh,) if isinstance(options.mesh, str) else options.mesh or (None,)
    sizes = {mesh: None if mesh is None else parse_mesh(mesh) for mesh in meshes}
    make_room(max((size.count for size in sizes.values() if size is not None), default=1))
    if options.for_gpu and options.memory is None and not has_own_memory():
        raise JaxlinError("a plan for a GPU that is not here needs `memory`: say what it has, like 40GB")
    memory = free_bytes() if options.memory is None else parse_size(options.memory)
    if options.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    configs = {name: find_config(name) for name in names}
    held = {name: stored(name, config, options.weights) for name, config in configs.items()}
    for name, config in configs.items():
        for length in lengths:
            check_length(config, length, name)
    layouts = {
        (name, mesh): None if size is None else layout_of(config, size)
        for name, config in configs.items()
        for mesh, size in sizes.items()
    }
    asked = [(name, length, mesh) for name in configs for length in lengths for mesh in sizes]
    jobs: list[PlannedJob] = []
    for name, length, mesh in asked:
        progress("compiling", len(jobs), len(asked), f"{name} at {length} tokens")
        jobs.append(plan_one(name, configs[name], length, options, memory, held[name], layouts[name, mesh]))
    progress("compiling", len(jobs), len(asked), "done")
    return PlanResult(memory, jax.default_backend(), tuple(jobs), for_gpu=options.for_gpu)


def plan_one(
    name: str,
    config: DecoderConfig,
    length: int,
    options: Plan,
    memory: int,
    held: Stored,
    layout: Layout | None = None,
) -> PlannedJob:
    """The first dtype and setting of the dial that fits, or the smallest that was tried."""
    solver = Solver(options.k, options.method)
    misfits = []
    for dtype in _TRIED if options.dtype is None else (options.dtype,):
        job = Job(
            config, length, dtype, options.precision, offload=options.offload, layout=layout,
            apart=options.for_gpu or has_own_memory(),
        )  # fmt: skip
        packed = held.forms is not None and (held.at_once or weight_bytes(job) > memory)
        job = replace(job, forms=held.forms) if packed else job
        weights = held.name if packed else UNPACKED
        tried = list(
            forecasts(
                job, solver, memory, attention=options.attention, gate=options.gate, always_compile=True
            )
        )
        if tried[-1].peak <= memory:
            return _job(job, name, weights, tried[-1], None)
        smallest = min(tried, key=lambda forecast: forecast.peak)
        misfits.append(_job(job, name, weights, smallest, refusal(job, smallest, memory)))
    return misfits[-1]


def _job(job: Job, name: str, weights: str, forecast: Forecast, refusal: str | None) -> PlannedJob:
    return PlannedJob(
        model=name,
        tokens=job.length,
        dtype=job.dtype,
        weights=weights,
        mesh=None if job.layout is None else str(job.layout),
        fits=refusal is None,
        refusal=refusal,
        **asdict(forecast.dial),
        method=forecast.choice.method,
        method_reason=forecast.choice.reason,
        k=forecast.k,
        passes=forecast.passes,
        weights_bytes=forecast.weights,
        coefficients_bytes=forecast.coefficients,
        host_bytes=forecast.host,
        peak_bytes=forecast.peak if forecast.phases else None,
        peak_in=forecast.bottleneck if forecast.phases else None,
        phases={phase.name: phase.bytes for phase in forecast.phases},
        flops=forecast.flops,
    )
