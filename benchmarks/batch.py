"""Many prompts in one run against one by one: prompts per minute, and where the time went.

    python benchmarks/batch.py --prompts 24 --json benchmarks/batch.json

One by one is the command itself, once for each of some prompts, scaled to all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from jaxlin.runtime.environment import environment

DEMO = Path(__file__).parent.parent / "models" / "jaxlin_models" / "demo"
TEXT = (DEMO / "prompt.txt").read_text(encoding="utf-8")
COMMAND = [sys.executable, "-c", "import sys; from jaxlin.commands.main import main; sys.exit(main())", "svd"]


def prompts(count: int) -> list[str]:
    """Ends of the demo prompt, of 8 to 240 words."""
    words, rng = TEXT.split(), Random(0)
    return [" ".join(words[-rng.randint(8, min(240, len(words))) :]) for _ in range(count)]


def seconds_of(arguments: list[str]) -> float:
    """Of one process."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo-qwen")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--alone", type=int, default=4, help="prompts that are run one by one")
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = prompts(options.prompts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.jsonl"
        file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
        shared = ["--model", options.model, "-k", str(options.k), "--method", "lanczos"]
        together = seconds_of([*shared, "--prompts", str(file), "--out", f"{folder}/batch"])
        alone = [
            seconds_of([*shared, "--prompt", text, "--out", f"{folder}/{i}"])
            for i, text in enumerate(texts[: options.alone])
        ]
        index = (Path(folder) / "batch" / "index.jsonl").read_text(encoding="utf-8")
        lengths = [json.loads(line)["tokens"] for line in index.splitlines()]
    one_by_one = sum(alone) / len(alone) * len(texts)
    rows = {
        "one run": together,
        "one by one": one_by_one,
    }
    table = Table(
        "",
        "seconds",
        "prompts / minute",
        "×",
        title=f"{len(texts)} prompts of {min(lengths)} to {max(lengths)} tokens",
    )
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds:.0f}", f"{60 * len(texts) / seconds:.1f}", f"{seconds / together:.1f}")
    Console().print(table)
    print(f"one by one is scaled from {len(alone)} prompts")
    if options.json is not None:
        figures = {
            "model": options.model,
            "k": options.k,
            "lengths": lengths,
            "alone": alone,
            "seconds": rows,
        }
        options.json.write_text(json.dumps(figures | environment("float32"), indent=2) + "\n")


if __name__ == "__main__":
    main()
