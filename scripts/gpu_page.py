"""Put the tables of GPUs into docs/gpu.md: what was compiled for them, and what was measured on one.

    python scripts/gpu_page.py

The figures are those of benchmarks/gpu_compile.json and, once there was a GPU, benchmarks/gpu.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jaxlin_models as models
from marked import markdown, put_between

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "gpu.md"
COMPILED, MEASURED = (ROOT / "benchmarks" / name for name in ("gpu_compile.json", "gpu.json"))
NOTHING = "*Nothing has been measured on a GPU yet.*\n"
#: The programs of a job that a pass of a solve is.
PASSES = ("forward", "backward", "step", "matmat", "rmatmat")
_GB = 1e9

Row = Mapping[str, Any]


def main() -> None:
    """Rewrite the document."""
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(text: str) -> str:
    """The document with the tables of the figures that are there."""
    there = json.loads(COMPILED.read_text(encoding="utf-8"))
    text = put_between(text, "compiled", f"{compiled(there['rows'])}\n{missing(there)}")
    measured_there = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else None
    return put_between(text, "measured", NOTHING if measured_there is None else measured(measured_there))


def compiled(rows: Sequence[Row]) -> str:
    """Two tables for each card: its jobs, and the programs of the first of them."""
    parts = []
    for card in dict.fromkeys(row["card"] for row in rows):
        of_card = [row for row in rows if row["card"] == card]
        lines = [_line(row) for row in of_card]
        head = ["job", "compile", "longest, s", "peak, GB", "CPU's plan", "arguments, GB", "scratch, GB"]
        head += ["copied, GB", "sent, GB", "pass ≥, ms"]
        parts.append(f"{card}, {len(of_card)} job{'s' * (len(of_card) > 1)}:\n\n{markdown(head, lines)}")
    first = rows[0]
    head = ["program", "compiled in, s", "arguments, GB", "results, MB", "scratch, MB"]
    head += ["results and scratch of a CPU, MB", "copies of matrices", "calls that factorise"]
    lines = [_program(program, first["planned"]["programs"]) for program in first["programs"]]
    parts.append(f"The programs of the first job, {first['card']}:\n\n{markdown(head, lines)}")
    return "\n".join(parts)


def missing(figures: Mapping[str, Any]) -> str:
    """Which jobs have not been compiled."""
    there = {(row["card"], row["setting"]) for row in figures["rows"]}
    left: dict[str, list[str]] = {}
    for card, setting in figures["jobs"]:
        if (card, setting) not in there:
            left.setdefault(setting, []).append(card)
    if not left:
        return f"All {len(figures['jobs'])} jobs are there.\n"
    by_cards: dict[str, list[str]] = {}
    for setting, cards in left.items():
        by_cards.setdefault(" and ".join(cards), []).append(setting)
    lines = "".join(f"* {cards}: {'; '.join(map(_shortened, names))}\n" for cards, names in by_cards.items())
    all_jobs = len(figures["jobs"])
    count = all_jobs - len(there)
    return f"{count} of {all_jobs} jobs are left out; `make gpu-compile` goes on with them:\n\n{lines}"


def _shortened(setting: str) -> str:
    """A job that has no figures, without what is usual."""
    usual = ("None", "probabilities", "gates stored", "detached")
    words = setting.split(", ")
    kept = [word for place, word in enumerate(words) if place < 3 or word not in usual]
    return ", ".join(f"policy {word}" if word in models.POLICIES else word for word in kept)


def _line(row: Row) -> list[str]:
    programs = row["programs"]
    failed = [program["name"] for program in programs if program["failed"]]
    widest = max((p for p in programs if p["name"] in PASSES), key=lambda p: p["scratch"])
    passes = [program for program in programs if program["name"] in PASSES]
    bound = max(row["traffic_seconds"], row["arithmetic_seconds"] or 0)
    longest = max(programs, key=lambda program: program["seconds"])
    sent = next(program["sent"] for program in programs if program["name"] == "forward")
    return [
        job_of(row),
        f"all {len(programs)}" if not failed else f"not {', '.join(failed)}",
        f"{longest['seconds']:.0f} ({longest['cores']:.0f})",
        f"{row['peak_compiled'] / _GB:.1f}" + ("" if row["fits"] else ", does not fit"),
        f"{row['planned']['peak'] / row['peak_compiled']:.2f} ×",
        f"{max(program['arguments'] for program in passes) / _GB:.1f}",
        f"{widest['scratch'] / _GB:.2f}",
        f"{sum(program['copied'] for program in passes) / _GB:.1f}",
        "" if row["mesh"] is None else f"{sent / _GB:.2f}",
        f"{1e3 * bound:.1f} ({'traffic' if bound == row['traffic_seconds'] else 'arithmetic'})",
    ]


def job_of(row: Row) -> str:
    """A job in a few words: what is usual is left out."""
    dial = row["dial"]
    words = [row["model"], f"{row['tokens']:,} tokens", row["dtype"]]
    words += [f"products {row['precision']}"] * (row["precision"] != row["dtype"])
    words += ["q, k stored"] * (dial["attention"] != "probabilities")
    words += ["gates computed again"] * (dial["gate"] != "stored")
    words += [f"policy {row['policy']}"] * (row["policy"] != "detached")
    words += ["packed"] * row["packed"]
    words += [] if row["mesh"] is None else [f"{row['mesh']}, each card"]
    return ", ".join(words)


def _program(program: Row, planned: Mapping[str, int]) -> list[str]:
    here = planned.get(program["name"])
    return [
        f"`{program['name']}`",
        f"{program['seconds']:.1f}",
        f"{program['arguments'] / _GB:.2f}",
        f"{program['results'] / 1e6:,.1f}",
        f"{program['scratch'] / 1e6:,.1f}",
        "" if here is None else f"{here / 1e6:,.1f}",
        str(program["copies"]),
        str(program["library"]),
    ]


def measured(figures: Mapping[str, Any]) -> str:
    """The table of a run on a GPU."""
    head = ["what", "tokens", "arithmetic", "passes", "first, s", "again, s", "of the card's rate"]
    head += ["peak, GB", "certificate"]
    lines = [
        [
            row["what"],
            f"{row['tokens']:,}",
            row["arithmetic"],
            f"{row['passes']:,}",
            f"{row['first_seconds']:.2f}",
            f"{row['seconds']:.2f}",
            "" if row["utilisation"] is None else f"{row['utilisation']:.0%}",
            f"{row['peak'] / _GB:.1f}",
            "" if row["holds"] is None else "holds" if row["holds"] else "does not hold",
        ]
        if row["failed"] is None
        else [row["what"], f"{row['tokens']:,}", row["arithmetic"], row["failed"], *[""] * 5]
        for row in figures["rows"]
    ]
    return f"{figures['model']}, random weights, {figures['device']}:\n\n{markdown(head, lines)}"


if __name__ == "__main__":
    main()
