"""What a solve takes on a GPU: Gemma 3 4B with random weights, in 40 GB. For when a GPU is at hand.

    python benchmarks/gpu.py                       # all rows, into benchmarks/gpu.json and docs/gpu.md
    python benchmarks/gpu.py --only bfloat16
    python benchmarks/gpu.py --try --json /tmp/try.json

Each row runs in a process of its own, so that its peak of memory is its own, and is written as it comes. A
row is solved twice: the first time with its programs compiled, the second time without; the share of the
card's rate is of the second, from the arithmetic of its passes. ``--try`` runs the rows with a tiny decoder
on whatever device there is, to see that they run; its figures go nowhere but to ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gpu_memory import fraction_of, memory_of_gpu

ROOT = Path(__file__).parent.parent
GB = 10**9
#: What may be held: that of an A100 with 40 GB, whatever the card has.
CAP = 40 * GB
MODEL, K = "gemma-3-4b", 32
#: Prompts of a try, by those of the real run.
SHORTER = {427: 24, 4096: 40, 32_768: 64}


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: ``joint``, ``tokens`` (every token, exactly) or ``published`` (its 128 steps, scaled from 4).
        tokens: length of the prompt.
        dtype, precision, offload: as in :func:`jaxlin.load`.
        gate: setting of the memory dial.
    """

    what: str
    tokens: int
    dtype: str = "float32"
    precision: str | None = None
    offload: str = "none"
    gate: str = "stored"

    def __str__(self) -> str:
        words = {
            "joint": f"joint top {K}",
            "tokens": "every token, exact",
            "published": "published method, scaled from 4 of 128 steps",
        }
        return words[self.what] + (f", {self.offload} offloaded" if self.offload != "none" else "")

    @property
    def arithmetic(self) -> str:
        """Storage, and how products are computed."""
        return self.dtype if self.precision is None else f"{self.dtype}, products {self.precision}"


ROWS = (
    Row("joint", 427),
    Row("joint", 427, precision="bf16x3"),
    Row("joint", 427, precision="tf32"),
    Row("joint", 427, "bfloat16"),
    Row("tokens", 427),
    Row("joint", 4096, "bfloat16"),
    Row("joint", 32_768, "bfloat16", gate="recomputed"),
    Row("joint", 4096, "bfloat16", offload="coefficients"),
    Row("published", 427),
)


def main() -> int:
    """Measure, write the JSON, put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", help="rows whose name or arithmetic holds this text")
    parser.add_argument("--try", dest="tiny", action="store_true", help="a tiny decoder, on any device")
    parser.add_argument("--json", type=Path, help="where figures go; benchmarks/gpu.json if not given")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(ROWS[options.one], tiny=False)))
        return 0
    names = [f"{row}, {row.tokens} tokens, {row.arithmetic}" for row in ROWS]
    chosen = [i for i, name in enumerate(names) if not options.only or options.only in name]
    if not chosen:
        return refuse(f"no row has {options.only!r} in its name: leave `--only` out to see all of them")
    if options.tiny:
        if options.json is None:
            return refuse("a try measures nothing worth keeping: say with `--json` where its figures go")
        write(options.json, "tiny", [measured(ROWS[i], tiny=True) for i in chosen])
        return 0
    memory = memory_of_gpu()
    if memory is None:
        return refuse("there is no NVIDIA GPU here: run this where there is one, or try it with `--try`")
    target, rows = options.json or ROOT / "benchmarks" / "gpu.json", []
    for i in chosen:
        print(names[i], flush=True)
        rows.append(in_a_process(i, memory))
        write(target, MODEL, rows)
    if options.json is None and not options.only:
        subprocess.run([sys.executable, str(ROOT / "scripts" / "gpu_page.py")], check=True)
    return 0


def refuse(reason: str) -> int:
    """Say in one sentence why nothing is measured."""
    print(f"gpu.py: {reason}", file=sys.stderr)
    return 2


def in_a_process(number: int, memory: int) -> dict[str, Any]:
    """One row, in a process that may hold :data:`CAP` bytes of so much memory; its figures, or why none."""
    row = ROWS[number]
    command = [sys.executable, __file__, "--one", str(number)]
    surroundings = {**os.environ, "XLA_CLIENT_MEM_FRACTION": fraction_of(CAP, memory)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {**named(row), "failed": lines[-1][:300]}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def named(row: Row) -> dict[str, Any]:
    """What a row is called in the table."""
    return {"what": str(row), "tokens": row.tokens, "arithmetic": row.arithmetic}


def measured(row: Row, *, tiny: bool) -> dict[str, Any]:
    """The figures of one row."""
    import jax
    import jaxlin_models as models
    from cards import CARDS
    from subjects import random_config

    import jaxlin
    from jaxlin.runtime.environment import environment, peak_bytes

    if tiny:
        row = replace(row, tokens=SHORTER[row.tokens])
        config = models.families.decoder_config(random_config("tiny"))
    else:
        config = models.find_config(MODEL)
    k = min(K, config.embed_dim)
    model = jaxlin.load(random_decoder(config, row), offload=row.offload)
    dial = replace(models.Dial.for_length(row.tokens, offload=row.offload != "none"), gate=row.gate)
    start = time.perf_counter()
    operator = model.jacobian(prompt(config.vocab_size, row.tokens), dial=dial)
    jax.block_until_ready(operator.state)
    recorded = time.perf_counter() - start
    solve = SOLVES[row.what](model, operator, row, k)
    start = time.perf_counter()
    solve()
    first = time.perf_counter() - start
    start = time.perf_counter()
    passes, holds, scale, probes = solve()
    seconds = (time.perf_counter() - start) * scale
    precision = row.precision or row.dtype
    card = next((card for card in CARDS.values() if card.name in jax.devices()[0].device_kind), None)
    flops = passes * models.pass_flops(config, row.tokens, dial, probes)
    return {
        **named(row),
        "failed": None,
        "passes": passes,
        "record_seconds": recorded,
        "first_seconds": first * scale,
        "seconds": seconds,
        "flops": flops,
        "utilisation": None if card is None else flops / seconds / card.rates[precision],
        "peak": peak_bytes(),
        "holds": holds,
        "dial": asdict(dial),
        **environment(precision),
    }


def prompt(vocabulary: int, length: int) -> list[int]:
    """Random token ids."""
    import numpy as np

    ids: list[int] = np.random.default_rng(1).integers(0, vocabulary, length).tolist()
    return ids


#: A solve: its passes, whether its certificate holds (None without), what its seconds are multiplied with,
#: and how many probes its passes carry.
Solve = Callable[[], tuple[int, bool | None, float, int]]


def joint(model: Any, operator: Any, row: Row, k: int) -> Solve:
    """The top k, certificate included."""
    import jaxlin

    def solve() -> tuple[int, bool | None, float, int]:
        found = jaxlin.svd(operator, k, method="lanczos")
        return found.passes, found.certificate.holds, 1.0, 1

    return solve


def every_token(model: Any, operator: Any, row: Row, k: int) -> Solve:
    """The SVD of each J_t from all rows."""
    import jaxlin

    def solve() -> tuple[int, bool | None, float, int]:
        found = jaxlin.tokens(operator, 1, method="exact")
        return found.passes, found.certificate.holds, 1.0, operator.probes_per_pass

    return solve


def published(model: Any, operator: Any, row: Row, k: int) -> Solve:
    """Some of its steps, through closures of the function that is not recorded."""
    import jax
    from methods_joint import PUBLISHED_STEPS, first_basis, tridiagonal_step
    from subjects import Subject

    steps = 4
    ids = prompt(model.config.vocab_size, row.tokens)
    closures = Subject(MODEL, None, model.decoder, ids).closures  # type: ignore[arg-type]
    basis = first_basis(closures, PUBLISHED_STEPS)

    def solve() -> tuple[int, bool | None, float, int]:
        for _ in range(steps):
            jax.block_until_ready(tridiagonal_step(closures, basis, 0))
        return 2 * PUBLISHED_STEPS, None, PUBLISHED_STEPS / steps, 1

    return solve


SOLVES: dict[str, Callable[[Any, Any, Row, int], Solve]] = {
    "joint": joint,
    "tokens": every_token,
    "published": published,
}


def random_decoder(config: Any, row: Row) -> Any:
    """Random weights, drawn on the device layer by layer, as a decoder of files is kept there."""
    import jax
    import jax.numpy as jnp
    import jaxlin_models as models
    from flax import nnx

    dtype, precision = jnp.dtype(row.dtype), models.choose_precision(row.dtype, row.precision)
    single = replace(config, num_layers=1, layer_types=config.layer_types[:1])
    graphdef, _ = models.abstract_decoder(config, dtype, precision)

    @jax.jit
    def drawn(key: jax.Array) -> Any:
        decoder = models.Decoder(single, rngs=nnx.Rngs(key), dtype=dtype, precision=precision)
        state = nnx.state(decoder)
        return nnx.State({**state, "layers": jax.tree.map(lambda a: a[0], state["layers"])})

    @jax.jit
    def layer(key: jax.Array) -> Any:
        return drawn(key)["layers"]

    keys = jax.random.split(jax.random.key(0), config.num_layers)
    layers = [layer(key) for key in keys]
    if models.keeps_apart():
        kept = jax.tree.map(lambda *of_layers: models.Apart(of_layers), *layers)
    else:
        kept = jax.tree.map(lambda *of_layers: jnp.stack(of_layers), *layers)
    return nnx.merge(graphdef, nnx.State({**drawn(keys[0]), "layers": kept}))


def write(file: Path, model: str, rows: list[dict[str, Any]]) -> None:
    """The figures so far."""
    there = next((row for row in rows if row["failed"] is None), {})
    file.write_text(
        json.dumps({"model": model, "device": there.get("device"), "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
