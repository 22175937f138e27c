"""Every program of a job compiled for real GPUs, without having one: does it compile, bytes, copies, a bound.

    make gpu-compile

    python benchmarks/gpu_compile.py --json benchmarks/gpu_compile.json
    python benchmarks/gpu_compile.py --card h200 --only gemma-3-4b

It needs ``jax[cuda12]`` and no GPU. Each job is compiled in a process of its own and written as it comes; a
second run goes on where the first ended. Nothing runs, so no figure here is a measured time but that of the
compiler: the seconds of a pass are its operations over the card's rate, or its bytes over the bandwidth,
whichever is more, and no pass can be faster. What the compiler of a card that is there would choose by trying
(``autotuning``) it chooses here by rule.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import jaxlin_models as models
from cards import CARDS, GB, Card, Compiled, Compiler, devices_of
from jaxlin_models.generation import continued
from jaxlin_models.sharding import Layout
from rich.console import Console
from rich.table import Table

from jaxlin.linear.operator import DetachedJacobian
from jaxlin.per_token.blocks import iterate
from jaxlin.planning import abstract as abstraction
from jaxlin.planning import memory as memory_model
from jaxlin.planning.abstract import Job, abstract
from jaxlin.planning.budget import Forecast, Solver, forecast
from jaxlin.planning.memory import Shape
from jaxlin.runtime.environment import environment
from jaxlin.runtime.mesh import AXES, MeshSize, parse_mesh

K, PROBES, CONTINUED = 32, 8, 16
LONG = 32_768
#: Bytes with which no plan changes its method.
ENOUGH = 10**12
STORED, RECOMPUTED = models.Dial(), models.Dial(gate="recomputed")
LEAN = models.Dial("queries_keys", "recomputed")


@dataclass(frozen=True)
class Setting:
    """What is compiled: a published config and how its job is run, on how many cards."""

    model: str
    tokens: int = 400
    dtype: str = "float32"
    precision: str | None = None
    dial: models.Dial = STORED
    policy: str = "detached"
    mesh: str | None = None
    packed: bool = False

    def __str__(self) -> str:
        dial = f"{self.dial.attention}, gates {self.dial.gate}"
        words = f"{self.model}, {self.tokens} tokens, {self.dtype}, {self.precision}, {dial}, {self.policy}"
        return words + (", packed" if self.packed else "") + (f", {self.mesh}" if self.mesh else "")


#: The example of the paper, long prompts, one published config a family, then what is left of precisions,
#: dials and policies, then the largest: a run that is cut off has the first of these.
SETTINGS = (
    Setting("gemma-3-4b"),
    Setting("gemma-3-4b", dtype="bfloat16"),
    Setting("gemma-3-4b", 4096, "bfloat16", dial=models.Dial("queries_keys")),
    Setting("gemma-3-4b", LONG, "bfloat16", dial=LEAN),
    Setting("gemma-3-4b", policy="none"),
    Setting("gemma-3-4b", dtype="bfloat16", mesh="tensor=4"),
    Setting("gemma-3-4b", LONG, "bfloat16", dial=LEAN, mesh="sequence=8"),
    Setting("gemma-3-27b", 4096, "bfloat16", dial=models.Dial("queries_keys"), mesh="tensor=8"),
    Setting("llama-3.3-70b", 4096, "bfloat16", dial=models.Dial("queries_keys"), mesh="tensor=8"),
    Setting("gemma-3-27b", dtype="bfloat16", packed=True),
    Setting("llama-3.3-70b", dtype="bfloat16", packed=True, mesh="tensor=2"),
    *(Setting(name) for name in ("llama-3.2-1b", "qwen3-4b", "gemma-2-2b", "phi-4-mini")),
    *(Setting(name, dtype="bfloat16") for name in ("olmo-2-7b", "mistral-7b-v0.1", "qwen2.5-7b")),
    *(Setting("gemma-3-4b", precision=name) for name in ("tf32", "bf16x3", "bfloat16")),
    Setting("gemma-3-4b", 1600, policy="none"),
    Setting("gemma-3-4b", dial=LEAN),
    # Not 4,096 tokens: what is computed at them would have the size of a matrix, and count as a copy of one.
    Setting("llama-3.1-8b", 4000, "bfloat16", dial=LEAN),
    Setting("qwen3-14b", 4096, "bfloat16", dial=LEAN),
    Setting("gemma-3-4b", dial=RECOMPUTED),
    Setting("gemma-3-4b", dial=models.Dial("queries_keys")),
    Setting("gemma-3-4b", policy="half"),
    Setting("gemma-3-12b", dtype="bfloat16"),
    Setting("smollm2-135m"),
)


def main() -> None:
    """Compile every setting for every card, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--card", nargs="+", choices=CARDS, default=list(CARDS))
    parser.add_argument("--only", help="settings whose name holds this text")
    parser.add_argument("--json", type=Path, help="where figures are kept, and taken from if they are there")
    parser.add_argument("--one", nargs=2, metavar=("CARD", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        card, number = options.one
        print(json.dumps(measure(SETTINGS[int(number)], CARDS[card], json.load(sys.stdin))))
        return
    kept: dict[str, Any] = {"k": K, "probes": PROBES, **environment(), "rows": []}
    if options.json is not None and options.json.exists():
        kept["rows"] = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
    kept["jobs"] = [[card.name, str(setting)] for card in CARDS.values() for setting in SETTINGS]
    there = {(row["card"], row["setting"]) for row in kept["rows"]}
    console = Console()
    for card in options.card:
        for number, setting in enumerate(SETTINGS):
            if (options.only and options.only not in str(setting)) or (
                CARDS[card].name,
                str(setting),
            ) in there:
                continue
            console.print(f"{CARDS[card].name}: {setting}", highlight=False)
            command = [sys.executable, __file__, "--one", card, str(number)]
            planned = next((row["planned"] for row in kept["rows"] if row["setting"] == str(setting)), None)
            done = subprocess.run(
                command, input=json.dumps(planned), capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{setting} cannot be compiled: {done.stderr[-2000:]}")
            kept["rows"].append(json.loads(done.stdout.splitlines()[-1]))
            if options.json is not None:
                write(options.json, kept)
    if options.json is not None:
        write(options.json, kept)
    for card in options.card:
        console.print(table_of(CARDS[card].name, [r for r in kept["rows"] if r["card"] == CARDS[card].name]))


def write(file: Path, kept: dict[str, Any]) -> None:
    """Put what there is so far in the place of what was there."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    new.replace(file)


def measure(setting: Setting, card: Card, planned: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plan the job here, compile all its programs for the card, and say what both have it take.

    ``planned`` is what was planned of the same setting before: it is of this machine, whatever the card.
    """
    config = models.find_config(setting.model)
    size = MeshSize() if setting.mesh is None else parse_mesh(setting.mesh)
    jax.config.update("jax_num_cpu_devices", size.count)
    job = Job(
        config, setting.tokens, setting.dtype, setting.precision, setting.policy,
        forms=models.assumed_forms(config) if setting.packed else None, layout=layout(setting, jax.devices()),
        apart=True,
    )  # fmt: skip
    solver = Solver(K, "lanczos", 1)
    if planned is None:
        planned = plan_here(job, setting.dial, solver)
    jax.default_backend = lambda: "gpu"
    jax.clear_caches()
    cards = devices_of(card, size.count)
    job = replace(job, layout=layout(setting, cards))
    whole = abstract(job, setting.dial)
    compiler = Compiler(cards, set(matrices_of(job, size)), job.layout)

    def added(function: Any, *arguments: Any) -> int:
        done = compiler(_name_of(function), function, *arguments)
        return done.results + done.scratch

    memory_model.added_bytes = abstraction.added_bytes = added  # type: ignore[assignment]
    compiled = forecast(job, setting.dial, solver, memory=card.memory)
    compile_rest(compiler, setting, job, whole.operator)
    return row_of(setting, card, planned, compiled, compiler.done)


def layout(setting: Setting, devices: Sequence[Any]) -> Layout | None:
    """How a setting's arrays lie on several devices, if they do."""
    if setting.mesh is None:
        return None
    size = parse_mesh(setting.mesh)
    sizes = {axis: getattr(size, axis) for axis in AXES}
    return Layout.of(models.find_config(setting.model), devices, **sizes)


def matrices_of(job: Job, size: MeshSize) -> Iterator[int]:
    """How many numbers each matrix of a layer has on one device."""
    layers = models.abstract_decoder(job.config, jnp.dtype(job.dtype))[1]["layers"]
    for path, leaf in jax.tree.leaves_with_path(layers):
        if "kernel" in jax.tree_util.keystr(path):
            yield leaf.size // job.config.num_layers // size.tensor


def plan_here(job: Job, dial: models.Dial, solver: Solver) -> dict[str, Any]:
    """What ``jaxlin plan --for-gpu`` says on a CPU, of all programs and of each: outputs and scratch."""
    programs: dict[str, int] = {}
    compile_here = memory_model.added_bytes

    def added(function: Any, *arguments: Any) -> int:
        programs[_name_of(function)] = compile_here(function, *arguments)
        return programs[_name_of(function)]

    memory_model.added_bytes = abstraction.added_bytes = added  # type: ignore[assignment]
    planned = forecast(job, dial, solver, memory=ENOUGH)
    return {"peak": planned.peak, "bottleneck": planned.bottleneck, "programs": programs}


def compile_rest(compiler: Compiler, setting: Setting, job: Job, operator: DetachedJacobian) -> None:
    """What a plan of ``svd`` has not: single probes, blocks of ``tokens``, continuations.

    The last two know nothing of dial and policy, and are compiled with the first setting of a model, on one
    card.
    """
    inputs, outputs = operator.input_shape, operator.output_shape
    compiler("forward", jax.jit(DetachedJacobian.matmat), operator, Shape((1, *inputs), operator.dtype))
    compiler("backward", jax.jit(DetachedJacobian.rmatmat), operator, Shape((1, *outputs), operator.dtype))
    first = next(other for other in SETTINGS if other.model == setting.model)
    if setting != first or setting.packed or setting.mesh:
        return
    d = job.config.embed_dim
    blocks, left = Shape((16, d, d), jnp.float32), Shape((16, 10, d), jnp.float32)
    compiler("tokens", iterate, blocks, left)
    precision = models.choose_precision(job.dtype, job.precision)
    graphdef, _ = models.abstract_decoder(job.config, jnp.dtype(job.dtype), precision)
    ids, key = Shape((1, min(job.length, 512)), jnp.int32), jax.eval_shape(lambda: jax.random.key(0))
    temperature = Shape((), jnp.float32)
    compiler(
        "generate", continued, graphdef, operator.state.weights, ids, key, temperature, None, count=CONTINUED
    )


def row_of(
    setting: Setting, card: Card, planned: dict[str, Any], compiled: Forecast, programs: list[Compiled]
) -> dict[str, Any]:
    """The figures of one setting."""
    config, policy = models.find_config(setting.model), models.POLICIES[setting.policy]
    precision = setting.precision or setting.dtype
    count = 1 if setting.mesh is None else parse_mesh(setting.mesh).count
    flops = (
        models.pass_flops(config, setting.tokens, setting.dial, 1, policy) // count if policy.linear else None
    )
    read = next((p.arguments for p in programs if p.name == "forward"), 0)
    arithmetic = None if flops is None else flops / card.rates[precision]
    return {
        "card": card.name,
        "setting": str(setting),
        "model": setting.model,
        "tokens": setting.tokens,
        "dtype": setting.dtype,
        "precision": precision,
        "dial": asdict(setting.dial),
        "policy": setting.policy,
        "mesh": setting.mesh,
        "packed": setting.packed,
        "planned": planned,
        "peak_compiled": compiled.peak,
        "bottleneck": compiled.bottleneck,
        "fits": compiled.peak <= card.memory,
        "arithmetic_seconds": arithmetic,
        "traffic_seconds": read / card.bandwidth,
        "programs": [asdict(program) for program in programs],
    }


def _name_of(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def table_of(name: str, rows: list[dict[str, Any]]) -> Table:
    """What was compiled for one card."""
    table = Table(title=name, title_justify="left")
    for column in ("job", "programs", "longest", "compiled", "planned", "forward", "copies", "pass ≥"):
        table.add_column(column, justify="left" if column == "job" else "right")
    for row in rows:
        programs = row["programs"]
        failed = [p["name"] for p in programs if p["failed"]]
        forward = next(p for p in programs if p["name"] == "forward")
        passes = [p for p in programs if p["name"] in ("forward", "backward", "step", "matmat", "rmatmat")]
        bound = max(row["traffic_seconds"], row["arithmetic_seconds"] or 0)
        table.add_row(
            row["setting"],
            f"{len(programs)}" if not failed else f"not {', '.join(failed)}",
            f"{max(p['seconds'] for p in programs):.0f} s",
            f"{row['peak_compiled'] / GB:.2f} GB",
            f"{row['peak_compiled'] / row['planned']['peak']:.2f} ×",
            f"{forward['arguments'] / GB:.2f} + {forward['scratch'] / GB:.2f} GB",
            f"{sum(p['copied'] for p in passes) / GB:.1f} GB",
            f"{1e3 * bound:.1f} ms",
        )
    return table


if __name__ == "__main__":
    main()
