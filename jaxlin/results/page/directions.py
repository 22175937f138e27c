"""The page's table of directions."""

from __future__ import annotations

from collections.abc import Sequence

from jaxlin.results.direction_table import nothing_written
from jaxlin.results.labels import TokenScore
from jaxlin.results.page.pieces import View, number, scored
from jaxlin.results.spelling import visible

#: Tokens in a row of the table of directions: that it writes, that it writes against, and of the prompt.
WRITTEN, AGAINST, PLACES = 4, 2, 3


def direction(
    i: int,
    s: float,
    residual: float,
    figures: Sequence[tuple[str, float]],
    outputs: Sequence[TokenScore],
    against: Sequence[TokenScore] = (),
    *,
    places: Sequence[tuple[int, str, float]] = (),
    converged: bool = True,
) -> View:
    """A row of the table of directions.

    Args:
        i: which direction, from 0.
        s, residual, converged: its σ.
        figures: what it contributes, in words and as numbers.
        outputs, against: the tokens that it writes, and those that it writes against.
        places: the strongest tokens of the prompt: position, text, number.
    """
    remark = nothing_written(outputs, against)
    return {
        "number": i + 1,
        "s": number(float(s)),
        "residual": number(float(residual), 3),
        "converged": converged,
        "figures": [{"text": text, "value": number(value)} for text, value in figures],
        "plus": [] if remark else scored(outputs, WRITTEN),
        "minus": [] if remark else scored(against, AGAINST),
        "remark": remark,
        "from": [
            {
                "position": position,
                "text": visible(text),
                "value": number(value, 3),
                "figure": f"{value:+.3g}",
            }
            for position, text, value in places
        ],
    }


def directions(
    columns: Sequence[str],
    rows: Sequence[View],
    places: str,
    *,
    together: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> View:
    """The table of all directions.

    Args:
        columns: heads of the figures of every row.
        rows: as :func:`direction` makes them.
        places: what the numbers of the strongest tokens are.
        together: the figures of all directions together, a sentence first; empty where nobody knows.
        notes: sentences below it.
    """
    for column in range(len(columns)):
        sizes = [abs(row["figures"][column]["value"] or 0.0) for row in rows]
        largest = max(sizes, default=0.0) or 1.0
        for row in rows:
            figure = row["figures"][column]
            figure["part"] = round((figure["value"] or 0.0) / largest, 3)
    return {
        "columns": list(columns),
        "rows": list(rows),
        "places": places,
        "together": list(together),
        "notes": list(notes),
        "written": any(row["plus"] or row["remark"] for row in rows),
        "against": any(row["minus"] for row in rows),
    }
