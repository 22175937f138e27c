"""Rewrite the table in models/README.md from errors that the tests measured, one row a family.

    JAXLIN_MEASURED=/tmp/measured.jsonl pytest tests/test_parity.py tests/test_crosscheck.py
    python scripts/families_table.py /tmp/measured.jsonl

The file has a JSON object a line, ``{"checkpoint": …, "hidden": …}``, written by the ``measured`` fixture of
tests/conftest.py; of several measurements the worst counts. What is special about a family is the first
sentence of its module; which published checkpoints it covers follows from the embedded configs. Exit status
0: written; 1: a family was not measured, and nothing is written.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # these families, whichever are installed

from jaxlin_models import families  # noqa: E402
from jaxlin_models.checkpoint import CONFIGS  # noqa: E402
from tiny_checkpoints import CHECKPOINTS  # noqa: E402

README = ROOT / "models" / "README.md"
START, END = "<!-- families_table.py: start -->", "<!-- families_table.py: end -->"
HEADER = (
    "| family | model types | published checkpoints, by their config.json | special | tiny checkpoints "
    "| hidden | logits | Jacobian |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)
#: The columns with errors, which every family has.
QUANTITIES = ("hidden", "logits", "jacobian")

#: Checkpoint -> quantity -> worst error.
Errors = Mapping[str, Mapping[str, float]]


class NotMeasured(Exception):
    """A family without an error that the table has a column for."""


def read(lines: Iterable[str]) -> Errors:
    """The worst error of each checkpoint and quantity."""
    worst: dict[str, dict[str, float]] = defaultdict(dict)
    for line in lines:
        entry = json.loads(line)
        errors = worst[entry.pop("checkpoint")]
        for quantity, error in entry.items():
            errors[quantity] = max(error, errors.get(quantity, 0.0))
    return worst


def table(errors: Errors) -> str:
    """The rows of all families, in the order of :data:`jaxlin_models.families.FAMILIES`."""
    modules = dict.fromkeys(families.FAMILIES.values())
    return HEADER + "".join(row(module, errors) for module in modules)


def row(family: ModuleType, errors: Errors) -> str:
    """One family's line: the worst over its tiny checkpoints, and on how many the Jacobian was compared."""
    types = [name for name, module in families.FAMILIES.items() if module is family]
    published = [name for name, folder in CONFIGS.items() if model_type(folder) in types]
    tiny = [name for name, checkpoint in CHECKPOINTS.items() if checkpoint.family in types]
    title, _, special = (family.__doc__ or "").split("\n\n")[0].replace("\n", " ").partition(": ")
    measured = {quantity: of_quantity(quantity, tiny, errors) for quantity in QUANTITIES}
    if missing := [quantity for quantity, found in measured.items() if not found]:
        raise NotMeasured(f"{title}: no {' and no '.join(missing)} error was measured; run the tests again")
    cells = [
        title,
        ", ".join(f"`{name}`" for name in types),
        ", ".join(published),
        special.strip().rstrip("."),
        str(len(measured["hidden"])),
        f"{max(measured['hidden']):.0e}",
        f"{max(measured['logits']):.0e}",
        f"{max(measured['jacobian']):.0e} ({len(measured['jacobian'])})",
    ]
    return f"| {' | '.join(cells)} |\n"


def of_quantity(quantity: str, checkpoints: Sequence[str], errors: Errors) -> list[float]:
    """What was measured of ``quantity`` on these checkpoints."""
    return [errors[name][quantity] for name in checkpoints if quantity in errors.get(name, {})]


def model_type(folder: Path) -> str:
    """What a published config.json says it is."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]


def rewrite(text: str, rows: str) -> str:
    """The text with the lines between the two markers replaced."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"{README} needs the lines {START} and {END}")
    return f"{before}{START}\n{rows}{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Rewrite the README from the file of measurements named on the command line."""
    if len(arguments) != 1:
        print("usage: families_table.py MEASURED.jsonl, which the tests write when JAXLIN_MEASURED names it")
        return 1
    try:
        rows = table(read(Path(arguments[0]).read_text(encoding="utf-8").splitlines()))
    except (NotMeasured, OSError) as error:
        print(f"families_table: {error}", file=sys.stderr)
        return 1
    README.write_text(rewrite(README.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
