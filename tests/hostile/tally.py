"""What became of all cases of a run, counted; those that broke something are kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

from hostile.process import Unit


class Tally:
    """Counts by kind; several threads may add to it."""

    def __init__(self, kept: Path) -> None:
        """``kept``: the folder for cases that broke something; made when there is one."""
        self.failures: list[dict[str, Any]] = []
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._codes: Counter[tuple[str, str]] = Counter()
        self._slowest, self._largest = 0.0, 0
        self._kept, self._lock = kept, Lock()

    def add(self, unit: Unit, told: dict[str, Any], case: str) -> None:
        """One case, as a worker told of it, and as text."""
        with self._lock:
            self._outcomes[unit.kind, told["name"]] += 1
            self._codes[unit.kind, str(told["code"])] += 1
            self._slowest, self._largest = (
                max(self._slowest, told["seconds"]),
                max(self._largest, told["memory"]),
            )
            if told["broken"]:
                name = f"{unit.kind}-{unit.seed}-{told['done']}"
                self._kept.mkdir(parents=True, exist_ok=True)
                (self._kept / f"{name}.json").write_text(case)
                self.failures.append(
                    {"case": name, **{key: told[key] for key in ("label", "broken", "code", "stderr")}}
                )
                print(f"{name} {told['label']}: {told['broken'][0][:160]!a}", flush=True)

    def summary(self) -> dict[str, Any]:
        """In plain numbers and words."""
        return {
            "cases": sum(self._outcomes.values()),
            "failed": len(self.failures),
            "slowest_seconds": round(self._slowest, 2),
            "largest_memory_bytes": self._largest,
            "outcomes": _by_kind(self._outcomes),
            "codes": _by_kind(self._codes),
            "failures": self.failures,
        }


def table(summary: dict[str, Any]) -> str:
    """The counts for people."""
    names = sorted({name for outcomes in summary["outcomes"].values() for name in outcomes})
    rows = [f"{'kind':<11}" + "".join(f"{name:>12}" for name in (*names, "all"))]
    for kind, outcomes in summary["outcomes"].items():
        counts = (*(outcomes.get(name, 0) for name in names), sum(outcomes.values()))
        rows.append(f"{kind:<11}" + "".join(f"{count:>12,}" for count in counts))
    rows.append(
        f"{summary['cases']:,} cases, of which {summary['failed']:,} broke something; the slowest took "
        f"{summary['slowest_seconds']} s, the largest {summary['largest_memory_bytes'] / 2**20:.0f} MiB"
    )
    return "\n".join(rows)


def _by_kind(counter: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for (kind, name), count in sorted(counter.items()):
        kinds.setdefault(kind, {})[name] = count
    return kinds
