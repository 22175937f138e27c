"""A process of the long form: draws the cases of a unit of work and runs them, and tells of each.

It reads units from stdin, one JSON object a line, and tells what happens on the descriptor it was given,
before and after each case, so that whoever started it knows at which one it was, however it ends.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Before anything imports jax; see tests/conftest.py.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # as the command line says it before the import
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA tells how slow a busy machine is

import jax

from hostile.case import Case, from_text
from hostile.corpus import corpus
from hostile.judge import run
from hostile.kinds import drawn
from hostile.process import CORPUS, DRAWN, Unit
from hostile.world import World, make_world


def work(results: int, place: Path) -> None:
    """Do the units that stdin names until it ends."""
    jax.config.update("jax_enable_x64", True)

    def tell(**told: Any) -> None:
        os.write(results, (json.dumps(told) + "\n").encode())

    world = make_world(place / "world", all_kinds=True)
    tell(ready=True)
    for line in sys.stdin:
        unit = Unit(**json.loads(line))
        cases = _cases(unit, world)
        for number in range(unit.first, min(unit.end, len(cases))):
            label, case, expected = cases[number]
            (place / "case.json").write_text(case.text())
            tell(start=number)
            outcome = run(case, world, expected)
            tell(done=number, label=label, name=outcome.name, **asdict(outcome))
        tell(finished=True)


def _cases(unit: Unit, world: World) -> list[tuple[str, Case, int | None]]:
    """Cases, what they are called if they are called anything, and the exit code if it is known."""
    if unit.file is not None:
        return [("", from_text(Path(unit.file).read_text()), None)]
    if unit.kind == CORPUS:
        return [(label, case, code) for label, (case, code) in corpus(world).items()]
    return [("", case, None) for case in drawn(unit.kind, world, unit.seed, DRAWN)]


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
