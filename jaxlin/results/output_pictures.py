"""Pictures of an output and what it is made of: element by element, and along the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxlin.results.pictures import Columns, Picture, drawable, literal, nothing_in, whole_numbers, word

Values = Array | np.ndarray
#: Directions along a prompt, and tokens named of each; the numbers have all of them.
_ROWS, _NAMED = 6, 3
#: Positions up to which names stand at their bars.
_APART = 48


def reconstruction(
    rebuilt: Mapping[str, Float[Values, " m"]], output: Float[Values, " m"], label: str = "J·x + c"
) -> Picture:
    """Every element of what maps give back, called ``label``, over the same element of the output."""
    output = np.asarray(output, np.float64)

    def draw(axes: Any) -> None:
        for name, values in rebuilt.items():
            _over_output(axes, values, output, f"{name}: relative error {_distance(values, output):.1e}")
        axes.set(xlabel="y, the model's own output", ylabel=literal(label))
        axes.legend(frameon=False)

    nothing = nothing_in([output], zero="the output is 0") or nothing_in(
        rebuilt.values(), zero=f"{label} is 0"
    )
    return Picture("reconstruction", draw, {"y": output, **rebuilt}, (4.8, 4.4), nothing)


def rank(k: int, made: Float[Values, " m"], output: Float[Values, " m"]) -> Picture:
    """What k directions make of the output, element by element: a part of it, and no test of the map."""
    output = np.asarray(output, np.float64)
    title = f"what {k} direction{'s' * (k > 1)} and c make of the output"

    def draw(axes: Any) -> None:
        left = _distance(made, output)
        _over_output(axes, made, output, f"the other directions hold {left:.2g} of ‖y‖")
        axes.set(xlabel="y, the model's own output", ylabel=f"Σ of {k} of its parts + c", title=title)
        axes.legend(frameon=False, fontsize=8)

    nothing = nothing_in([output], zero="the output is 0") or nothing_in(
        [made], zero="all of its parts are 0"
    )
    return Picture("rank", draw, {"y": output, f"of {k} directions": made}, (4.8, 4.6), nothing)


def _over_output(axes: Any, values: Any, output: Float[np.ndarray, " m"], label: str) -> None:
    drawn = drawable(output)
    ends = [float(np.nanmin(drawn)), float(np.nanmax(drawn))]
    axes.plot(ends, ends, color="lightgrey", zorder=0)
    axes.plot(drawn, drawable(values), ".", markersize=3, label=literal(label))


def _distance(values: Any, output: Float[np.ndarray, " m"]) -> float:
    """‖values − output‖ / ‖output‖."""
    scale = np.abs(output).max()  # or the squares of large numbers would be infinite
    wide = np.asarray(values, np.float64)
    return float(np.linalg.norm((wide - output) / scale) / np.linalg.norm(output / scale))


def along_prompt(
    name: str,
    shares: Float[np.ndarray, "k t"],
    weights: Float[np.ndarray, "k t"],
    positions: Sequence[int],
    tokens: Sequence[str],
    order: Sequence[int],
    label: str,
) -> Picture:
    """What every position contributes along the first directions, one below the other, the strongest named.

    Args:
        name: of its files.
        shares: what each position contributes along each direction, called ``label``.
        weights: ‖v_t‖ of each, for the numbers.
        positions: their places in the prompt.
        tokens: their spellings, if they have any.
        order: of the directions.
        label: what is drawn.
    """
    shown = list(order)[:_ROWS]

    def draw(axes: Any) -> None:
        axes.set_axis_off()
        rows = [
            axes.inset_axes((0, 1 - (i + 0.88) / len(shown), 1, 0.76 / len(shown))) for i in range(len(shown))
        ]
        for row, i in zip(rows, shown, strict=True):
            _bars_along(row, positions, drawable(shares[i]), tokens)
            row.set_ylabel(f"direction {i + 1}", rotation=0, ha="right", va="center", fontsize=8)
        rows[-1].set(xlabel="position")
        rows[0].set_title(literal(label), fontsize=9)

    columns: Columns = {"position": positions, **({"token": list(tokens)} if tokens else {})}
    columns |= {f"direction_{i + 1}": row for i, row in enumerate(shares)}
    columns |= {f"weight_{i + 1}": row for i, row in enumerate(weights)}
    return Picture(name, draw, columns, (7.6, 0.8 + 1.15 * len(shown)), nothing_in([shares]))


def _bars_along(
    axes: Any, positions: Sequence[int], shares: Float[np.ndarray, " t"], tokens: Sequence[str]
) -> None:
    """One direction: a bar for each position, the strongest with their tokens."""
    axes.vlines(positions, 0, shares, linewidth=max(0.6, min(4, 300 / len(shares))))
    axes.axhline(0, color="black", linewidth=0.5)
    known = np.nan_to_num(shares)
    low, high = min(float(known.min()), 0.0), max(float(known.max()), 0.0)
    if high > low:
        room = 0.25 * (high - low)
        axes.set_ylim(low - room * bool(low), high + room * bool(high))
    strongest = [t for t in np.argsort(-np.abs(known), kind="stable")[:_NAMED] if known[t] and tokens]
    if len(known) > _APART:  # names at the bars would lie on top of each other
        words = [f"{positions[t]} {word(tokens[t])} {known[t]:+.3g}" for t in strongest]
        axes.text(0.01, 0.97, "   ".join(words), transform=axes.transAxes, va="top", fontsize=7)
        strongest = []
    for t in strongest:
        above = known[t] > 0
        axes.annotate(
            word(tokens[t]), (positions[t], known[t]), fontsize=7, ha="center",
            va="bottom" if above else "top", textcoords="offset points", xytext=(0, 2 if above else -2),
        )  # fmt: skip
    axes.tick_params(labelsize=7)
    whole_numbers(axes)
