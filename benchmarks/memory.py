"""Predicted against measured peak memory of the real job, each setting in a process of its own.

    python benchmarks/memory.py --json benchmarks/memory.json

A decoder with random weights is made, its prompt recorded, solved, certified, read in tokens and written, as
``jaxlin svd`` does. Measured is the peak of the resident set from before the weights were made (on an
accelerator, of what is in use there). What libraries and compilers hold themselves no prediction knows:
a small job is run first, so that they hold it already, and sizes are such that what is left hardly counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
from flax import nnx
from jaxlin_models import Decoder, DecoderConfig, Dial, RopeConfig
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin.planning.abstract import Job
from jaxlin.planning.budget import Solver, forecast
from jaxlin.prompts.model import Model
from jaxlin.runtime.environment import environment, held_bytes, peak_bytes

K, LAYERS, WARM = 4, 16, 64
#: glibc would keep freed arrays of up to 32 MB for later: real, but no need of the job's.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
#: (tokens, dtype, attention, gate)
SETTINGS = (
    (1024, "float32", "probabilities", "stored"),
    (2048, "float32", "queries_keys", "stored"),
    (4096, "float32", "queries_keys", "stored"),
    (8192, "float32", "queries_keys", "stored"),
    (4096, "bfloat16", "queries_keys", "stored"),
    (8192, "float32", "queries_keys", "recomputed"),
)


def main() -> None:
    """Measure every setting, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--one", nargs=4, help="measure one setting in this process")
    options = parser.parse_args()
    if options.one:
        tokens, dtype, attention, gate = options.one
        print(json.dumps(measure(int(tokens), dtype, Dial(attention, gate))))
        return
    rows = []
    for setting in SETTINGS:
        command = [sys.executable, __file__, "--one", *map(str, setting)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | _ALLOCATOR)
        rows.append(json.loads(done.stdout))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    show(rows)
    if options.json is not None:
        figures = {**environment(models.algorithm("float32", jax.default_backend())), "k": K, "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def config(tokens: int) -> DecoderConfig:
    """A Llama-like decoder with few features and a wide MLP: much memory for little arithmetic."""
    rope = RopeConfig(1e4)
    return DecoderConfig(
        family="llama",
        vocab_size=8192,
        embed_dim=128,
        num_layers=LAYERS,
        num_heads=2,
        num_kv_heads=1,
        head_dim=64,
        mlp_dim=8192,
        max_positions=tokens,
        norm_eps=1e-6,
        activation="silu",
        rope_full=rope,
        rope_sliding=rope,
        layer_types=("full",) * LAYERS,
        sliding_window=None,
        query_scale=64**-0.5,
    )


def measure(tokens: int, dtype: str, dial: Dial) -> dict[str, Any]:
    """Run the job here, once; nothing else must have used this process before."""
    run(model(WARM, dtype), WARM, dial)
    before = held_bytes()
    subject = model(tokens, dtype)
    meter = MemoryMeter(before)  # drawing random weights takes more than reading them would
    run(subject, tokens, dial)
    measured = meter.bytes()
    predicted = forecast(Job(config(tokens), tokens, dtype), dial, Solver(K, "lanczos"), memory=2**40)
    return {
        "tokens": tokens,
        "dtype": dtype,
        "attention": dial.attention,
        "gate": dial.gate,
        "weights_bytes": predicted.weights,
        "coefficients_bytes": predicted.coefficients,
        "phases": {phase.name: phase.bytes for phase in predicted.phases},
        "peak_in": predicted.bottleneck,
        "predicted_bytes": predicted.peak,
        "measured_bytes": measured,
        "ratio": predicted.peak / measured,
    }


class MemoryMeter:
    """The most memory held since it was made, less what was held ``before``.

    On a CPU the process's high-water mark is set back first, where the kernel allows it. An accelerator's
    cannot be, and counts what was held before as well.
    """

    def __init__(self, before: int) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = before

    def bytes(self) -> int:
        """So far."""
        return peak_bytes() - self._before


def model(tokens: int, dtype: str) -> Model:
    """Random weights."""
    decoder = nnx.jit(lambda: Decoder(config(tokens), rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype)))()
    return jaxlin.load(jax.block_until_ready(decoder))


def run(model: Model, tokens: int, dial: Dial) -> None:
    """What ``jaxlin svd`` does, with few passes: memory does not depend on how many."""
    ids = jax.random.randint(jax.random.key(1), (tokens,), 0, config(tokens).vocab_size).tolist()
    operator = model.jacobian(ids, dial=dial)
    result = jaxlin.svd(operator, K, method="lanczos", max_passes=2 * K)
    with tempfile.TemporaryDirectory() as folder:
        result.write(Path(folder))  # which reads its directions in tokens


def show(rows: list[dict[str, Any]]) -> None:
    """Print prediction beside measurement."""
    table = Table(title=f"peak memory, MB, {jax.default_backend()}, k = {K}", title_justify="left")
    for column in ("tokens", "dtype", "attention", "gate", "weights", "coefficients", "predicted", "measured",
                   "ratio"):  # fmt: skip
        table.add_column(column, justify="left" if column in ("dtype", "attention", "gate") else "right")
    for row in rows:
        sizes = [row[f"{name}_bytes"] for name in ("weights", "coefficients", "predicted", "measured")]
        table.add_row(
            f"{row['tokens']:,}",
            row["dtype"],
            row["attention"],
            row["gate"],
            *(f"{size / 1e6:,.0f}" for size in sizes),
            f"{row['ratio']:.2f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
