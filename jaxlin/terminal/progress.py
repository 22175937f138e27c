"""Progress of long work: a live bar on a terminal, one plain line a stage elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from jaxlin.environment import held_bytes


class TerminalProgress:
    """A line per stage on stderr: a live bar on a terminal, one plain line at its end elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[memory]}"),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        memory = f"{held_bytes() / 2**30:.2f} GiB"
        if not self._console.is_terminal:
            if done == total:
                line = f"{stage}: {done}/{total} {note} ({memory})"
                self._console.print(Text(line), soft_wrap=True)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, note=note, memory=memory)
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note, memory=memory)
