"""The table of families in models/README.md: made from measured errors, complete, and of today's families."""

from __future__ import annotations

import json
from pathlib import Path

import families_table
import pytest
from tiny_checkpoints import CHECKPOINTS


def lines(**errors: float) -> list[str]:
    """Every checkpoint with these errors, and the first one a second time with larger ones."""
    larger = {quantity: 100 * error for quantity, error in errors.items()}
    return [
        *(json.dumps({"checkpoint": name} | errors) for name in CHECKPOINTS),
        json.dumps({"checkpoint": next(iter(CHECKPOINTS))} | larger),
    ]


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in row.strip("| ").split(" | ")]
        for row in text.splitlines()
        if row.startswith("|")
    ][2:]


def test_worst_error_of_each_family() -> None:
    rows = cells(families_table.table(families_table.read(lines(hidden=1e-15, logits=2e-15, jacobian=3e-15))))
    assert [row[5:7] for row in rows] == [["1e-13", "2e-13"], *[["1e-15", "2e-15"]] * (len(rows) - 1)]
    assert rows[0][7].startswith("3e-13 (")


def test_readme_has_every_family_as_it_is() -> None:
    """All but the figures, which differ from machine to machine."""
    fresh = families_table.table(families_table.read(lines(hidden=1.0, logits=1.0, jacobian=1.0)))
    shown = families_table.README.read_text(encoding="utf-8").partition(families_table.START)[2]
    assert [row[:5] for row in cells(shown.partition(families_table.END)[0])] == [r[:5] for r in cells(fresh)]


def test_family_that_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(families_table, "README", tmp_path / "README.md")
    (tmp_path / "measured").write_text("\n".join(lines(hidden=1.0, logits=1.0)))
    assert families_table.main([str(tmp_path / "measured")]) == 1
    assert "Llama 3.x: no jacobian error was measured" in capsys.readouterr().err
    assert not (tmp_path / "README.md").exists()
