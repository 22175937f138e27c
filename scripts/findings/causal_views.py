"""What the causal test says over all prompts: medians, tables, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Row, save_picture, shares
from perturbed import MAPS
from rich.table import Table

#: How many directions are removed.
REMOVED = (1, 2, 4, 8, 16)
#: Steps as fractions of ‖E‖, and what a prediction may be off.
STEPS = tuple(2.0**power for power in range(-12, 1))
OFF = 0.1
#: Long prompts have at least so many tokens.
TOKENS = 400


def reach(errors: Sequence[float], limit: float = OFF) -> float:
    """The step, as a fraction of ‖E‖, up to which a prediction is no more than ``limit`` off.

    Between two steps the logarithm of the error is taken to be linear in that of the step. 0 where the
    shortest step is off already, infinity where the longest is not.
    """
    beyond = [number for number, error in enumerate(errors) if error > limit]
    if not beyond:
        return float("inf")
    if beyond[0] == 0:
        return 0.0
    low, high = beyond[0] - 1, beyond[0]
    # An error of 0 has no logarithm, and says nothing but that it is below all others.
    under, over = (float(np.log(max(errors[number], 1e-12))) for number in (low, high))
    share = (np.log(limit) - under) / (over - under)
    return float(STEPS[low] * (STEPS[high] / STEPS[low]) ** share)


def summary_of(rows: Mapping[str, Row]) -> dict[str, Any]:
    """Medians over prompts, short and long apart."""
    parts = {
        "short": [row for row in rows.values() if row["tokens"] < TOKENS],
        "long": [row for row in rows.values() if row["tokens"] >= TOKENS],
    }
    return {
        part: {
            "prompts": len(some),
            "holds": sum(row["holds"] for row in some),
            "removed": {
                kind: {str(j): removed(some, kind, str(j)) for j in REMOVED} for kind in some[0]["removed"]
            },
            "steps": {kind: stepped(some, kind) for kind in some[0]["steps"]},
        }
        for part, some in parts.items()
        if some
    }


def removed(rows: Sequence[Row], kind: str, j: str) -> dict[str, Any]:
    """Of one kind and one number of directions."""
    cells = [row["removed"][kind][j] for row in rows]
    whole = [row["centred logit"] for row in rows]
    return {
        "length": median(cell["length"] for cell in cells),
        "share of logit": median(c["logit"] / w for c, w in zip(cells, whole, strict=True)),
        "kl": median(cell["kl"] for cell in cells),
        "kept": sum(cell["kept"] for cell in cells),
        **{policy: told(policy, cells, whole) for policy in MAPS},
    }


def told(policy: str, cells: Sequence[Mapping[str, Any]], whole: Sequence[float]) -> dict[str, float]:
    """How one map did."""
    pairs = [(cell["logit"], cell[policy]["logit"]) for cell in cells]
    return {
        "share of logit": median(c[1] / w for c, w in zip(pairs, whole, strict=True)),
        "right sign": float(np.mean([real * map_ > 0 for real, map_ in pairs])),
        "kl": median(cell[policy]["kl"] for cell in cells),
        "correlation": median(cell[policy]["correlation"] for cell in cells),
        "error": median(cell[policy]["error"] for cell in cells),
    }


def stepped(rows: Sequence[Row], kind: str) -> dict[str, Any]:
    """How far the maps hold along one kind of direction."""
    found: dict[str, Any] = {"own part": median(row["steps"][kind]["own part"] for row in rows)}
    for policy in MAPS:
        each = [reach(row["steps"][kind][policy]) for row in rows]
        errors = np.array([row["steps"][kind][policy] for row in rows])
        found[policy] = {
            # The longest step stands for those that are never off.
            "reach": sorted(min(step, STEPS[-1]) for step in each),
            "never within": sum(step == 0 for step in each),
            "errors": np.median(errors, axis=0).tolist(),
            "quarters": np.quantile(errors, (0.25, 0.75), axis=0).tolist(),
        }
    return found


def median(values: Iterable[float]) -> float:
    """Of some numbers."""
    return float(np.median(list(values)))


def removal_table(title: str, by_kind: Mapping[str, Any]) -> Table:
    """What removal does, and how well it was told."""
    table = Table(title=f"{title}: removed from the embeddings; medians", title_justify="left")
    for column in ("directions", "j", "‖δ‖/‖E‖", "Δ logit", "map", "none", "KL", "map",
                   "corr.", "none", "error", "none"):  # fmt: skip
        table.add_column(column, justify="left" if column == "directions" else "right")
    for kind, by_number in by_kind.items():
        for j, cell in by_number.items():
            one, other = (cell[policy] for policy in MAPS)
            table.add_row(
                kind, j, f"{cell['length']:.3f}",
                *(f"{each['share of logit']:+.0%}" for each in (cell, one, other)),
                *(f"{each['kl']:.2g}" for each in (cell, one)),
                *(f"{each['correlation']:.2f}" for each in (one, other)),
                *(f"{each['error']:.2f}" for each in (one, other)),
                end_section=j == str(REMOVED[-1]),
            )  # fmt: skip
    return table


def step_table(title: str, by_kind: Mapping[str, Any], prompts: int) -> Table:
    """Up to which step a prediction is no more than 10 % off."""
    about = f"{title}: the step, as a fraction of ‖E‖, at which a prediction is {OFF:.0%} off"
    table = Table(title=about, title_justify="left")
    for column in ("along", "|⟨v, E⟩|/‖E‖", "none: median (range)", "detached", "detached: never within"):
        table.add_column(column)
    for kind, found in by_kind.items():
        reached = [shares(found[policy]["reach"]) for policy in reversed(MAPS)]
        never = f"{found['detached']['never within']} of {prompts}"
        table.add_row(kind, f"{found['own part']:.3g}", *reached, never)
    return table


def draw(path: Path, summaries: Mapping[str, Any], rows: Mapping[str, Mapping[str, Row]]) -> None:
    """Three panels for each model: real over told changes, correlations by number removed, errors by step."""
    panels: dict[str, Callable[[Any], None]] = {}
    for name, summary in summaries.items():
        part = "short" if "short" in summary else next(iter(summary))
        panels[f"{name}: change of the predicted token's logit"] = partial(scatter, rows[name].values())
        panels[f"{name}: all logits, {part} prompts"] = partial(correlations, summary[part]["removed"])
        panels[f"{name}: one step along v1, {part} prompts"] = partial(step_errors, summary[part]["steps"])
    save_picture(path, panels, columns=3)


def scatter(rows: Iterable[Row], axes: Any) -> None:
    """The network's own change over that of the detached map, as shares of the centred logit."""
    rows, ends = list(rows), (-1.4, 0.6)
    axes.plot(ends, ends, color="lightgrey", zorder=0)
    for kind, colour in zip(("hidden", "fisher", "gradient × input |fisher|"), COLOURS, strict=False):
        cells = [
            (cell["detached"]["logit"] / row["centred logit"], cell["logit"] / row["centred logit"])
            for row in rows
            for cell in row["removed"][kind].values()
        ]
        axes.plot(*zip(*cells, strict=True), ".", color=colour, markersize=4, alpha=0.6, label=kind)
    axes.set(xlabel="told by the detached map (−1: all of it)", ylabel="in the network", xlim=ends, ylim=ends)
    axes.legend(frameon=False, fontsize=7)


def correlations(by_kind: Mapping[str, Any], axes: Any) -> None:
    """Median correlation of told and real change, by how many directions are removed."""
    kinds = [kind for kind in by_kind if "|hidden|" not in kind and kind != "gradient × input"]
    for kind, colour in zip(kinds, COLOURS, strict=True):
        for policy, line in zip(MAPS, ("o-", "x:"), strict=True):
            values = [cell[policy]["correlation"] for cell in by_kind[kind].values()]
            label = kind if policy == "detached" else None
            axes.plot(REMOVED, values, line, color=colour, markersize=4, linewidth=0.9, label=label)
    axes.plot([], [], "x:", color="black", markersize=4, linewidth=0.9, label="ordinary Jacobian")
    axes.set_xscale("log", base=2)
    axes.set_xticks(REMOVED, [str(j) for j in REMOVED])
    axes.set(xlabel="directions removed", ylabel="correlation with the real change", ylim=(-0.5, 1.5))
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper center")


def step_errors(by_kind: Mapping[str, Any], axes: Any) -> None:
    """Median error by step, with the middle half of the prompts."""
    for kind, colour in zip(("hidden", "fisher", "isotropic"), (*COLOURS[:2], COLOURS[3]), strict=True):
        for policy, line in zip(MAPS, ("-", ":"), strict=True):
            found = by_kind[kind][policy]
            label = f"{kind}, {'detached' if policy == 'detached' else 'ordinary'}"
            axes.plot(STEPS, found["errors"], line, color=colour, linewidth=1.2, label=label)
            axes.fill_between(STEPS, *found["quarters"], color=colour, alpha=0.08, linewidth=0)
    axes.axhline(OFF, color="black", linewidth=0.6)
    axes.set(xlabel="step, as a fraction of ‖E‖", ylabel="‖told − real‖ / ‖real‖", xscale="log", yscale="log")
    axes.legend(frameon=False, fontsize=7)
