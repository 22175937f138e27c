"""What the causal test says over all prompts: medians, tables, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Row, Table, save_picture, shares
from perturbed import MAPS

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


def summary_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Medians over prompts, short and long apart."""
    parts = {
        "short": [row for row in rows if row["tokens"] < TOKENS],
        "long": [row for row in rows if row["tokens"] >= TOKENS],
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


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """What removal does and how well it was told, for each model; how far the maps hold, for all."""
    summaries = {name: summary_of(rows) for name, rows in found.items()}
    made = [
        removal_table(f"{name}, {told['prompts']} {part} prompts", told["removed"])
        for name, summary in summaries.items()
        for part, told in summary.items()
    ]
    return [*made, step_table(summaries)]


def removal_table(title: str, by_kind: Mapping[str, Any]) -> Table:
    """Of the first number removed and the last."""
    lines = [
        (
            kind, j, f"{cell['length']:.3f}",
            *(f"{each['share of logit']:+.0%}" for each in (cell, *(cell[policy] for policy in MAPS))),
            f"{cell['kl']:.2g}", f"{cell['kept']}",
            *(f"{cell[policy]['correlation']:.2f}" for policy in MAPS),
            *(f"{cell[policy]['error']:.2f}" for policy in MAPS),
        )
        for kind, by_number in by_kind.items()
        for j, cell in by_number.items()
        if int(j) in (REMOVED[0], REMOVED[-1])
    ]  # fmt: skip
    head = ("removed", "j", "‖δ‖/‖E‖", "Δ logit", "detached", "ordinary", "KL", "kept",
            "corr. detached", "ordinary", "error detached", "ordinary")  # fmt: skip
    return Table(title, head, lines)


def step_table(summaries: Mapping[str, Any]) -> Table:
    """Up to which step a prediction is no more than 10 % off."""
    lines = []
    for name, summary in summaries.items():
        for part, told in summary.items():
            for kind, found in told["steps"].items():
                ordinary, detached = found["none"], found["detached"]
                never = f"{detached['never within']} of {told['prompts']}"
                off = f"{detached['errors'][0]:.2f}"
                lines.append(
                    (
                        f"{name}, {part}",
                        kind,
                        f"{found['own part']:.3f}",
                        shares(ordinary["reach"]),
                        off,
                        never,
                    )
                )
    title = f"Steps along one direction, as fractions of ‖E‖, at which a prediction is {OFF:.0%} off"
    head = ("prompts", "along", "its part of E", "ordinary: median (range)", "detached: error at once",
            "detached: never within")  # fmt: skip
    return Table(title, head, lines)


def draw(path: Path, found: Mapping[str, Sequence[Row]]) -> None:
    """Three panels for each model: real over told changes, correlations by number removed, errors by step."""
    panels: dict[str, Callable[[Any], None]] = {}
    for name, rows in found.items():
        part, summary = next(iter(summary_of(rows).items()))
        panels[f"{name}: change of the predicted token's logit"] = partial(scatter, rows)
        panels[f"{name}: all logits, {part} prompts"] = partial(correlations, summary["removed"])
        panels[f"{name}: one step along v1, {part} prompts"] = partial(step_errors, summary["steps"])
    save_picture(path, panels, columns=3)


def scatter(rows: Sequence[Row], axes: Any) -> None:
    """The network's own change over that of the detached map, as shares of the centred logit."""
    ends = (-1.4, 0.6)
    axes.plot(ends, ends, color="lightgrey", zorder=0)
    for kind, colour in zip(("hidden", "fisher", "gradient × input, ‖fisher‖"), COLOURS, strict=False):
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
    kinds = [kind for kind in by_kind if "‖hidden‖" not in kind and kind != "gradient × input"]
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
