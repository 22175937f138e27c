"""Many prompts in one process: memory stays flat, and nothing is compiled beyond one program set a bucket.

    python scripts/soak.py [--prompts 500] [--model demo-qwen]

Prints what it measured as JSON; ends with 1 if memory grew or something was compiled late.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import psutil

import jaxlin

#: Growth of the process that is noise, in MB, and of it a prompt; live arrays of the device may not grow.
_NOISE_MB, _MB_A_PROMPT = 96.0, 0.05
#: Prompts of each bucket after which nothing may be compiled any more, and from which memory is measured.
_WARM = 3


class Watch:
    """Told of every prompt: notes memory, live arrays, and what was compiled since."""

    def __init__(self) -> None:
        self.compiled, self.points = 0, []
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, _: float, **__: Any) -> None:
        self.compiled += event.endswith("backend_compile_duration")

    def __call__(self, stage: str, done: int, total: int, note: str = "", left: float | None = None) -> None:
        """As progress calls it."""
        if stage != "prompts" or not done:
            return
        gc.collect()
        live = sum(array.nbytes for array in jax.live_arrays())
        resident = psutil.Process().memory_info().rss / 1e6
        self.points.append({"done": done, "rss_mb": resident, "live_bytes": live, "compiled": self.compiled})


def soak(model: str, count: int, seed: int) -> dict[str, Any]:
    """The figures of one run, and what is wrong with them."""
    rng, watch = random.Random(seed), Watch()
    loaded = jaxlin.load(model)
    lengths = sorted(rng.choice((5, 9, 13, 18, 22)) for _ in range(count))  # buckets of 16 and 24
    ids = [[rng.randrange(3, loaded.config.vocab_size) for _ in range(length)] for length in lengths]
    with tempfile.TemporaryDirectory() as place:
        results = loaded.svd_many(ids, k=2, out=Path(place) / "out", progress=watch)
        assert len(results.rows) == count
    edge = next(i for i, length in enumerate(lengths) if length > 16)
    buckets = {"16": watch.points[:edge], "24": watch.points[edge:]}
    wrong = []
    for name, points in buckets.items():
        warm, last = points[min(_WARM, len(points) - 1)], points[-1]
        if last["compiled"] != warm["compiled"]:
            wrong.append(f"bucket {name}: {last['compiled'] - warm['compiled']} programs compiled late")
        if last["live_bytes"] > warm["live_bytes"]:
            wrong.append(f"bucket {name}: live arrays grew from {warm['live_bytes']} to {last['live_bytes']}")
        grown = last["rss_mb"] - warm["rss_mb"]
        if grown > _NOISE_MB + _MB_A_PROMPT * len(points):
            wrong.append(f"bucket {name}: the process grew by {grown:.0f} MB")
    ends = {name: [points[min(_WARM, len(points) - 1)], points[-1]] for name, points in buckets.items()}
    return {"model": model, "prompts": count, "buckets": ends, "wrong": wrong}


def main() -> int:
    """Measure, print, and say whether it is well."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--model", default="demo-qwen")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    figures = soak(asked.model, asked.prompts, asked.seed)
    print(json.dumps(figures, indent=2))
    return 1 if figures["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
