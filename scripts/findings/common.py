"""What the scripts of docs/findings.md share: arguments, rows that are kept as they come, pictures.

A study measures one row for every prompt (or whatever its items are) of every model. Each row is written to
the JSON file at once, so that a study that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import rich.table
from rich.console import Console

from jaxlin import JaxlinError
from jaxlin.results.pictures import STYLE, literal
from jaxlin.runtime.environment import environment
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress

#: What the findings are about; any other model can be given.
MODELS = ("gemma-3-270m", "smollm2-135m")
#: Where results are put if no other place is given: nothing that is committed is written over.
FOLDER = Path(__file__).parent.parent.parent / "build" / "findings"
#: Colours of what is compared, the same in all pictures.
COLOURS = ("#1f4e8c", "#d1621b", "#4f8a3c", "#8a8a8a", "#7b4a94")

Row = dict[str, Any]
Item = TypeVar("Item")


def arguments(about: str, name: str, *, prompts: int) -> argparse.ArgumentParser:
    """The arguments of every study.

    Args:
        about: its docstring, whose first line and example are shown by ``--help``.
        name: of the files that it writes.
        prompts: how many prompts it measures if it is not told.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", nargs="+", default=MODELS, help="what jaxlin.load takes; %(default)s")
    parser.add_argument(
        "--prompts", type=count, default=prompts, help=f"how many short prompts; {prompts}, fewer for a try"
    )
    parser.add_argument("--json", type=Path, default=FOLDER / f"{name}.json", help="rows; %(default)s")
    parser.add_argument("--picture", type=Path, default=FOLDER / f"{name}.png", help="%(default)s")
    return parser


def count(text: str) -> int:
    """A number of something, 0 or more; argparse says what is wrong with another."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def run(study: Callable[[argparse.Namespace, Progress], None], parser: argparse.ArgumentParser) -> None:
    """Run a study with progress; one sentence and exit code 2 for what cannot be done."""
    asked = parser.parse_args()
    try:
        with TerminalProgress("auto" if sys.stderr.isatty() else "lines") as progress:
            study(asked, progress)
    except JaxlinError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


class Rows:
    """The rows of a study by model and by item, in a JSON file that is written anew after each of them.

    Args:
        path: the file; rows that are there already are kept.
        settings: what all rows were measured with.

    Raises:
        JaxlinError: the file is of something else, or was measured with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        settings = json.loads(json.dumps(settings))
        self._all: dict[str, Any] = {"settings": settings, **environment(), "models": {}}
        if path.exists():
            found = _read(path)
            if found["settings"] != settings:
                raise JaxlinError(
                    f"{path} was measured with other settings: delete it, or choose another --json"
                )
            self._all = found

    def of(self, model: str) -> dict[str, Row]:
        """Those of one model, by item, in the order in which they were measured."""
        rows: dict[str, Row] = self._all["models"].get(model, {}).get("rows", {})
        return rows

    def measure(
        self, model: str, items: Mapping[str, Item], one: Callable[[Item], Row], progress: Progress
    ) -> dict[str, Row]:
        """Measure what is missing of these items, and return all rows of the model."""
        missing = [name for name in items if name not in self.of(model)]
        for number, name in enumerate(missing):
            progress(f"{model}: measuring", number, len(missing), name)
            row = one(items[name])
            self._all["models"].setdefault(model, {}).setdefault("rows", {})[name] = row
            self.write()
        if missing:
            progress(f"{model}: measuring", len(missing), len(missing))
        return self.of(model)

    def summarise(self, model: str, summary: Mapping[str, Any]) -> None:
        """Keep what all rows of a model say together, before them in the file."""
        self._all["models"][model] = {"summary": summary, "rows": self.of(model)}
        self.write()

    def write(self) -> None:
        """Write the file: whole, or as it was."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        beside.write_text(f"{_a_line_each(self._all)}\n", encoding="utf-8")
        beside.replace(self.path)


def _a_line_each(study: Mapping[str, Any]) -> str:
    """It as JSON, one line for every row: a figure a line would be most of the file."""
    spell = partial(json.dumps, ensure_ascii=False, allow_nan=False)
    models = []
    for name, told in study["models"].items():
        rows = ",\n".join(f"  {spell(item)}: {spell(row)}" for item, row in told["rows"].items())
        before = "".join(f'"{key}": {spell(told[key])}, ' for key in told if key != "rows")
        models.append(f' {spell(name)}: {{{before}"rows": {{\n{rows}\n }}}}')
    about = [f"{spell(key)}: {spell(value)}" for key, value in study.items() if key != "models"]
    return "{" + ",\n".join([*about, '"models": {\n' + ",\n".join(models) + "\n}"]) + "}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = found["settings"], found["models"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JaxlinError(f"{path} holds no rows of a study ({error}): choose another --json") from error
    return found


def named(texts: Iterable[str]) -> dict[str, str]:
    """Prompts by name: short ones by themselves, long ones by how they end."""
    return {text if len(text) < 100 else f"…{text[-60:]}": text for text in texts}


@dataclass(frozen=True)
class Table:
    """A table of a study, printed by its script and put into docs/findings.md by ``tables.py``.

    Attributes:
        title: what it is of.
        head: its columns.
        lines: their cells.
    """

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]

    def show(self) -> None:
        """Print it: as wide as the terminal, and wide enough in a file."""
        table = rich.table.Table(title=self.title, title_justify="left")
        for place, column in enumerate(self.head):
            table.add_column(column, justify="right" if place else "left")
        for line in self.lines:
            table.add_row(*line)
        Console(width=None if sys.stdout.isatty() else 130).print(table, markup=False)

    def markdown(self) -> str:
        """It as Markdown, the title above it."""
        rules = ["---", *("---:" for _ in self.head[1:])]
        lines = "\n".join(f"| {' | '.join(line)} |" for line in (self.head, rules, *self.lines))
        return f"{self.title}:\n\n{lines}\n"


def save_picture(
    path: Path,
    panels: Mapping[str, Callable[[Any], None]],
    *,
    size: tuple[float, float] = (4.8, 3.8),
    columns: int = 2,
) -> None:
    """Draw panels side by side, each with its title, in the style of the project's pictures.

    Args:
        path: of the PNG.
        panels: what draws into matplotlib's axes, by title.
        size: of one panel, in inches.
        columns: panels in a row.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    across = min(columns, len(panels))
    down = -(-len(panels) // across)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
        for place, (title, draw) in enumerate(panels.items()):
            axes = figure.add_subplot(down, across, place + 1)
            draw(axes)
            axes.set_title(literal(title), fontsize=10)
        figure.savefig(path, dpi=140)


def shares(values: Sequence[float]) -> str:
    """A middle and the ends of some numbers, for a table: median (least … most)."""
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return f"{middle:.2g} ({ordered[0]:.2g} … {ordered[-1]:.2g})"
