"""The long form: python -m hostile FILE.json tries many cases in several processes and counts the outcomes.

Cases that broke something are kept in FILE.json.failures, each under its name KIND-SEED-NUMBER. One is run
again alone with --again, by its name (then it is drawn from its seed once more) or by its file.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from hostile.kinds import KINDS
from hostile.process import CORPUS, DRAWN, Process, Unit
from hostile.tally import Tally, table


def main(words: Sequence[str] | None = None) -> int:
    """Try cases; returns 0 if nothing was broken."""
    parser = argparse.ArgumentParser(prog="python -m hostile", description=__doc__)
    parser.add_argument("file", type=Path, help="where to write the counts, as JSON")
    parser.add_argument("--cases", type=int, default=20_000, help="how many at least")
    parser.add_argument("--seed", type=int, help="the first seed; a random one by default")
    parser.add_argument("--kinds", default=",".join(KINDS), help="only these, with commas between")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--again", metavar="CASE", help="run one case alone")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as cache:  # what one process has compiled, the others need not
        environment = {"JAX_COMPILATION_CACHE_DIR": cache}
        if asked.again is not None:
            return _alone(asked.again, environment)
        start = secrets.randbelow(10**6) * 1000 if asked.seed is None else asked.seed
        tally, began = Tally(asked.file.with_name(asked.file.name + ".failures")), time.perf_counter()
        units: Queue[Unit] = Queue()
        units.put(Unit(CORPUS, 0, end=10**6))
        for unit in units_of(
            asked.cases, start, {kind: KINDS[kind].share for kind in asked.kinds.split(",")}
        ):
            units.put(unit)
        with ThreadPoolExecutor(asked.processes) as pool:
            for job in [pool.submit(_work_on, units, tally, environment) for _ in range(asked.processes)]:
                job.result()
    summary = {"first_seed": start, "seconds": round(time.perf_counter() - began, 1), **tally.summary()}
    asked.file.parent.mkdir(parents=True, exist_ok=True)
    asked.file.write_text(json.dumps(summary, indent=1) + "\n")
    print(table(summary))
    return int(bool(tally.failures))


def units_of(cases: int, start: int, shares: Mapping[str, int]) -> list[Unit]:
    """Units of work, the kinds mixed; the seeds of a kind are counted on from ``start``."""
    units = []
    for kind, share in shares.items():
        left, seed = -(-cases * share // sum(shares.values())), start
        while left > 0:
            units.append(Unit(kind, seed, end=min(left, DRAWN)))
            left, seed = left - DRAWN, seed + 1
    return sorted(units, key=lambda unit: unit.seed)


def _work_on(units: Queue[Unit], tally: Tally, environment: Mapping[str, str]) -> None:
    """Units until there are none; a process that died of a case, or was stopped at one, is replaced."""
    process: Process | None = None
    try:
        while True:
            unit: Unit | None = units.get_nowait()
            while unit is not None:
                if process is None or not process.alive:
                    process = Process(environment)
                unit = process.do(unit, tally.add)  # what is left of it
    except Empty:
        pass
    finally:
        if process is not None and process.alive:
            process.stop()


def _alone(case: str, environment: Mapping[str, str]) -> int:
    """One case by its name or file, and everything that is known of it afterwards."""
    if os.path.exists(case):
        unit = Unit("", 0, end=1, file=os.path.abspath(case))
    else:
        kind, seed, number = case.rsplit("-", 2)
        unit = Unit(kind, int(seed), int(number), int(number) + 1)
    told: list[dict[str, Any]] = []
    process = Process(environment)
    process.do(unit, lambda _, outcome, __: told.append(outcome))
    if process.alive:
        process.stop()
    print(json.dumps(told, indent=1))
    return int(any(outcome["broken"] for outcome in told))


if __name__ == "__main__":
    sys.exit(main())
