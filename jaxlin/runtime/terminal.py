"""Progress of long work on stderr: live bars on a terminal, plain lines for logs, or nothing."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from jaxlin.errors import JaxlinError, printable, shortened
from jaxlin.runtime.environment import held_bytes
from jaxlin.runtime.interrupt import raise_if_interrupted
from jaxlin.runtime.sizes import spell_size
from jaxlin.runtime.stderr import ForgivingStderr

MODES = ("auto", "lines", "none")
#: Seconds between two lines of a stage that goes on.
_BETWEEN = 30.0


@dataclass
class _Stage:
    """When a stage began and with how much done, when a line was last written of it, and its bar."""

    began: float
    at_first: int
    shown_at: float
    bar: TaskID | None = None


class TerminalProgress:
    """Tells the stages of long work in one of the :data:`MODES`; ``auto`` is silent without a terminal.

    Where stderr cannot be written, nothing is told and the work goes on.

    Raises:
        JaxlinError: an unknown mode.
    """

    def __init__(self, mode: str = "auto") -> None:
        if mode not in MODES:
            raise JaxlinError(f"unknown progress {shortened(mode)!r}: choose one of {', '.join(MODES)}")
        self._console = Console(file=ForgivingStderr())  # type: ignore[arg-type]
        self._lines = mode == "lines"
        self._bars = _bars(self._console) if mode == "auto" and self._console.is_terminal else None
        self._stages: dict[str, _Stage] = {}

    def __enter__(self) -> TerminalProgress:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "", left: float | None = None) -> None:
        raise_if_interrupted()
        if self._bars is None and not self._lines:
            return
        stage, note = printable(stage), printable(note)
        now = time.monotonic()
        known = self._stages.setdefault(stage, _Stage(now, done, -math.inf))
        seconds = now - known.began
        if left is None and known.at_first < done:
            left = seconds / (done - known.at_first) * (total - done)
        if done == total:
            state = f"{spell_time(seconds)}, {spell_size(held_bytes())}"
        else:
            ahead = "" if left is None else f"{spell_time(left)} left, "
            state = f"{ahead}{spell_size(held_bytes())}"
        if self._bars is not None and known.bar is None and done == total:
            self._console.print(Text(f"{stage}: {note}"))  # it is over already: no bar, but all of its words
        elif self._bars is not None:
            if known.bar is None:
                known.bar = self._bars.add_task(stage, total=total, state=state, note=note)
            self._bars.update(known.bar, completed=done, total=total, note=note, state=state)
        elif done == total or now - known.shown_at >= _BETWEEN:
            known.shown_at = now
            self._console.print(Text(f"{stage}: {done}/{total} {note} ({state})"), soft_wrap=True)


def spell_time(seconds: int | float) -> str:
    """As people read a clock: 8 s, 3 min, 2 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _bars(console: Console) -> Progress:
    """A line a stage; where the terminal is narrow it is the note, which comes last, that is cut."""
    whole, rest = Column(no_wrap=True), Column(no_wrap=True, ratio=1, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", table_column=whole, markup=False),
        BarColumn(bar_width=16),
        TextColumn("{task.completed:.0f}/{task.total:.0f}", justify="right", table_column=whole),
        TextColumn("{task.fields[state]}", table_column=whole),
        TextColumn("{task.fields[note]}", style="dim", table_column=rest, markup=False),
        console=console,
        expand=True,
    )
