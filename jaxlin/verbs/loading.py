"""Options about which model is loaded, how it is stored, and over which devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from jaxlin.runtime.weights import WEIGHTS
from jaxlin.verbs.declare import STEP, Option, Options

DTYPES = ("float32", "float64", "bfloat16")
PRECISIONS = ("float32", "tf32", "bf16x3", "bfloat16", "float64")
OFFLOADS = ("none", "coefficients", "all")


def spread_over() -> Option:
    """Several devices."""
    return Option(
        group="memory",
        metavar="tensor=4",
        help="several devices to spread a model over, like tensor=4 (each holds a part of the weights), "
        "sequence=4 (of what is kept of the prompt's positions) or data=2,tensor=4 (and the probes of a pass "
        "go to two such groups); one device by default",
    )


@dataclass(frozen=True, kw_only=True)
class Stored(Options):
    """How a model is stored and multiplied."""

    dtype: Annotated[
        str,
        Option(group="memory", choices=DTYPES, decides=STEP, help="how weights and coefficients are stored"),
    ] = "float32"
    precision: Annotated[
        str | None,
        Option(
            group="memory",
            choices=PRECISIONS,
            decides=STEP,
            help="arithmetic of matrix products; that of `dtype` by default",
        ),
    ] = None
    offload: Annotated[
        str,
        Option(
            group="memory",
            choices=OFFLOADS,
            help="what stays in the host's memory and is copied to the GPU layer by layer in every "
            "pass, for a GPU that is too small: coefficients (what is recorded of the layers), "
            "or all (the layers' weights as well)",
        ),
    ] = "none"
    weights: Annotated[
        str,
        Option(
            group="memory",
            choices=WEIGHTS,
            help="whether quantised weights of a GGUF file stay so in memory: packed (a layer is dequantised "
            "inside a pass, when it is used), unpacked, or auto (packed where the weights alone would not "
            "fit otherwise)",
        ),
    ] = "auto"
    mesh: Annotated[str | None, spread_over()] = None


@dataclass(frozen=True, kw_only=True)
class Load(Stored):
    """Which model :func:`jaxlin.load` is asked for."""

    model: Annotated[
        str,
        Option(
            group="prompt",
            metavar="MODEL",
            help="directory, hub id org/name@revision, or demo-llama, demo-gemma, demo-qwen",
        ),
    ]
    coordinator: Annotated[
        str | None,
        Option(
            group="memory",
            metavar="HOST:PORT",
            help="of a `mesh` over several processes or hosts, each started with the same command: where "
            "process 0 is, or slurm for the rest of this from SLURM's variables",
        ),
    ] = None
    process_id: Annotated[
        int | None,
        Option(group="memory", least=0, help="with `coordinator`: the number of this process, from 0"),
    ] = None
    num_processes: Annotated[
        int | None, Option(group="memory", least=1, help="with `coordinator`: how many processes there are")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Compared(Stored):
    """What ``compare`` compares."""

    model: Annotated[
        str | None,
        Option(group="prompt", metavar="MODEL", help="the model whose `policies` are compared"),
    ] = None
    models: Annotated[
        str | None,
        Option(group="prompt", metavar="A,B", help="the models to compare, separated by commas"),
    ] = None
