"""Put the tables of all studies into docs/findings.md, from the rows in benchmarks/findings.

    python scripts/findings/tables.py

Each table stands between ``<!-- NAME: start -->`` and ``<!-- NAME: end -->``, NAME that of the study.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import causal
import depth
import quantisation
import readouts
import reconstruction
import spectra
import steering
from common import Row, Table

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "scripts"))

from marked import put_between  # noqa: E402

DOCUMENT = ROOT / "docs" / "findings.md"
ROWS = ROOT / "benchmarks" / "findings"
#: What makes the tables of a study of the rows of each model.
TABLES: Mapping[str, Callable[[Mapping[str, Sequence[Row]]], list[Table]]] = {
    "reconstruction": reconstruction.tables,
    "spectra": spectra.tables,
    "depth": depth.tables,
    "readouts": readouts.tables,
    "causal": causal.tables,
    "steering": steering.tables,
    "quantisation": quantisation.tables,
}


def rewritten(text: str) -> str:
    """The document with the tables of the rows that are there."""
    for name, tables in TABLES.items():
        file = ROWS / f"{name}.json"
        if not file.exists():
            continue
        models = json.loads(file.read_text(encoding="utf-8"))["models"]
        found = {model: list(each["rows"].values()) for model, each in models.items()}
        text = put_between(text, name, "\n".join(table.markdown() for table in tables(found)))
    return text


def main() -> None:
    """Rewrite the document."""
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
