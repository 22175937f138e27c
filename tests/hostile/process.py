"""A worker seen from outside: started, given work, and stopped if it hangs where no signal reaches."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

#: Seconds of silence after which a case hangs: more than the worker's own bound, which may not be felt.
CASE = 120.0
#: And for what is no case: imports, compilation, drawing.
PREPARING = 900.0
#: Cases that are drawn from one seed.
DRAWN = 100
#: A worker; it is told a descriptor to write to, and a folder.
COMMAND = (sys.executable, "-m", "hostile.worker")
#: The kind of those that are not drawn.
CORPUS = "corpus"


@dataclass(frozen=True)
class Unit:
    """Cases for one process.

    Attributes:
        kind: of what kind they are.
        seed: from which they are drawn; always :data:`DRAWN` of them.
        first: number of the first that is run.
        end: number of the first that is not.
        file: a case that was kept; then nothing is drawn.
    """

    kind: str
    seed: int
    first: int = 0
    end: int = DRAWN
    file: str | None = None


#: Told of a case: its unit, what became of it, and the case as text.
Told = Callable[[Unit, dict[str, Any], str], None]


class WorkerError(Exception):
    """A worker that ended where no case was running."""


class Process:
    """One worker, in a folder of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it, and wait until it is ready.

        Raises:
            WorkerError: it did not start.
        """
        reading, writing = os.pipe()
        self._place = tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True)
        # The same order of sets everywhere, so that a seed always draws the same cases.
        self._process = subprocess.Popen(
            [*COMMAND, str(writing), self._place.name],
            stdin=subprocess.PIPE,
            pass_fds=(writing,),
            env=os.environ | {"PYTHONHASHSEED": "0"} | dict(environment),
        )
        os.close(writing)
        self._reading, self._rest, self.alive = reading, b"", True
        if self._hear(PREPARING) is None:
            self.stop()
            raise WorkerError("a worker did not start: see what it printed")

    def do(self, unit: Unit, tell: Told) -> Unit | None:
        """Work through a unit; returns what is left of it if the process did not survive it.

        Raises:
            WorkerError: it ended between two cases, so that none is to blame.
        """
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(asdict(unit)) + "\n").encode())
        self._process.stdin.flush()
        current = None
        while (
            told := self._hear(PREPARING if current is None else CASE)
        ) is not None and "finished" not in told:
            current = told.get("start")
            if "done" in told:
                tell(unit, told, self._case())
        if told is not None:
            return None
        hung, case = self._process.poll() is None, self._case()
        code = self.stop()
        if current is None:
            raise WorkerError(f"a worker ended with {code} while it drew {unit}")
        why = (
            "time: no signal ends it"
            if hung
            else f"death: {signal.Signals(-code).name if code < 0 else code}"
        )
        nothing = {"label": "", "code": None, "seconds": 0.0, "memory": 0, "stderr": ""}
        tell(unit, nothing | {"done": current, "name": why.partition(":")[0], "broken": [why]}, case)
        return replace(unit, first=current + 1) if current + 1 < unit.end else None

    def stop(self) -> int:
        """End it, whatever it does; returns its exit code."""
        assert self._process.stdin is not None
        self._process.kill()
        code = self._process.wait()
        self._process.stdin.close()
        os.close(self._reading)
        self._place.cleanup()
        self.alive = False
        return code

    def _case(self) -> str:
        file = Path(self._place.name, "case.json")
        return file.read_text() if file.exists() else ""

    def _hear(self, seconds: float) -> dict[str, Any] | None:
        """What it tells next; None if it says nothing for so long, or nothing any more."""
        while b"\n" not in self._rest:
            if not select.select([self._reading], [], [], seconds)[0]:
                return None
            more = os.read(self._reading, 1 << 16)
            if not more:
                self._process.wait()
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        return told
