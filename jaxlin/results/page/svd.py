"""What the report shows of an SVD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxlin.results.direction_table import (
    columns_of,
    figures_of,
    notes_below,
    sides_of,
    together_of,
)
from jaxlin.results.directions import near
from jaxlin.results.metric import HIDDEN, METRICS, map_in
from jaxlin.results.page.directions import PLACES, direction, directions
from jaxlin.results.page.pieces import (
    View,
    bars,
    card,
    chart,
    few_enough,
    line,
    measure,
    shade,
    some_shade,
    table,
    tokens_of,
)
from jaxlin.results.spelling import visible
from jaxlin.results.svd_views import to_the_prediction
from jaxlin.results.tables import WORDS, certificate_lines, spell_energy, spelled

if TYPE_CHECKING:
    from jaxlin.results.svd import SVDResult

#: Bars of a target.
_BARS = 16
_WEIGHT = "‖v_t‖, the weight of the right vector at each token"


def view_of(result: SVDResult) -> View:
    """The directions and the prompt that they shade; of a target, what each token contributes to it."""
    series = [line("σ", result.s, result.residuals)]
    if result.spectrum is not None and len(result.spectrum) > len(result.s):
        series.append(line("the whole spectrum", result.spectrum))
    energy = spell_energy(result.certificate.energy)
    note = f"together they capture {energy} of ‖{map_in(result.metric)}‖²_F"
    several = len(series) > 1 or len(result.s) > 1
    metric = result.metric
    view: View = {
        "tokens": tokens_of(result.labels),
        "shades": _shades(result),
        "charts": [chart("Spectrum", "number", series, log=True, note=note)] if several else [],
        "cards": [card("certificate", result.holds, certificate_lines(result.certificate))],
        "notes": [] if metric == HIDDEN else [f"metric {metric}: {METRICS[metric]}"],
        "tables": _largest(result),
    }
    if result.target is None:
        return view | {"directions": _directions(result), "first": _first(result)}
    return view | {
        "title": f"{result.target} = {float(result.y[0]):.5g}",
        "bars": [] if result.labels is None else [_bars_of_target(result)],
    }


def _first(result: SVDResult) -> dict[str, str] | None:
    """The direction that is shown first: the one that contributes most to the predicted token's logit."""
    split = result.split
    if split is None or not split.whole.logits:
        return None
    return {"direction": str(split.order[0] + 1)}


def _directions(result: SVDResult) -> View:
    """Every direction: σ, what it contributes, both of its sides, the tokens that it comes from."""
    split, heads = result.split, columns_of(result)
    shares, along = _along(result)
    rows = []
    for i in result.order:
        part = None if split is None or not heads else split.directions[i]
        outputs, against = sides_of(result, i)
        rows.append(
            direction(
                i,
                float(result.s[i]),
                float(result.residuals[i]),
                [] if part is None else list(zip(figures_of(part), (part.output, *part.logits), strict=True)),
                outputs,
                against,
                places=_places(result, shares[i]),
                converged=bool(result.converged[i]),
            )
        )
    together = [f"these {len(result.s)} together", *together_of(result)] if heads else []
    notes = [note.plain for note in notes_below(result)]
    if result.labels is not None:
        notes += some_shade(few_enough(len(rows), len(result.labels.ids)), len(rows))
    return directions(heads, rows, along, together=together, notes=notes)


def _along(result: SVDResult) -> tuple[Float[np.ndarray, "k t"], str]:
    """What tokens are ranked by along each direction, and its name."""
    shares = result.contributions
    if shares is None:
        return result.weights, _WEIGHT
    if result.target is not None:
        return shares, f"contribution to {result.target}"
    return to_the_prediction(result, shares)


def _places(result: SVDResult, shares: Float[np.ndarray, " t"]) -> list[tuple[int, str, float]]:
    """The strongest tokens of the prompt."""
    order = np.argsort(-np.abs(np.nan_to_num(shares)), kind="stable")[:PLACES]
    labels = result.labels
    if labels is None:
        return [(int(t), "", float(shares[t])) for t in order]
    return [(labels.positions[t], labels.texts[t], float(shares[t])) for t in order]


def _shades(result: SVDResult) -> list[View]:
    """The prompt shaded by the first directions: by what its tokens contribute, and by right vectors."""
    if result.labels is None:
        return []
    count = few_enough(len(result.s), len(result.labels.ids))
    shares, along = _along(result)
    weights, made = result.weights, []
    for i in result.order[:count]:
        measures = [measure("weight", _WEIGHT, weights[i])]
        if result.x is not None:
            measures.insert(0, measure("contribution", f"{along}, token by token", shares[i]))
        outputs, against = ((), ()) if result.target is not None else sides_of(result, i)
        name = f"direction {i + 1}"
        facts = [*_facts(result, i), *_nearest(result, i)]
        key = {"direction": i + 1}
        made.append(shade(name, key, measures, facts=facts, outputs=outputs, against=against))
    return made


def _facts(result: SVDResult, i: int) -> list[tuple[str, str]]:
    return [
        ("σ", f"{float(result.s[i]):.5g}"),
        ("residual", f"{float(result.residuals[i]):.1e}"),
        ("converged", "yes" if bool(result.converged[i]) else "NO"),
    ]


def _nearest(result: SVDResult, i: int) -> list[tuple[str, str]]:
    """The tokens that a right vector is near to, where it is near to any."""
    inputs = () if result.directions is None else result.directions[i].inputs
    named = [(place, near(place.nearest)) for place in inputs]
    return [
        (f"nearest at {place.position} {visible(place.text)}", spelled(tokens, scores=True))
        for place, tokens in named
        if tokens
    ]


def _bars_of_target(result: SVDResult) -> View:
    """What the tokens contribute to the value of a target, the largest first, and what is left over."""
    assert result.labels is not None
    assert result.contributions is not None
    shares = np.asarray(result.contributions, np.float64)[0]
    order = np.argsort(-np.abs(shares), kind="stable")[:_BARS]
    labels = result.labels
    rows = [(f"{labels.positions[t]} {visible(labels.texts[t])}", float(shares[t])) for t in order]
    others = len(shares) - len(order)
    value, offset = float(result.y[0]), float(result.offset[0])
    if others:
        rest = value - offset - float(shares[order].sum())
        rows.append(("the other token" if others == 1 else f"the other {others} tokens", rest))
    rows += [("the offset c", offset)] if offset else []
    return bars(f"What the tokens contribute to {result.target}", rows, value)


def _largest(result: SVDResult) -> list[View]:
    """The rows and columns of the largest norms, where they were asked for."""
    made = []
    if result.largest_rows:
        rows = [
            [str(row.feature), f"{row.norm:.4g}", str(row.position), visible(row.text),
             spelled(near(row.nearest), WORDS, scores=True)]
            for row in result.largest_rows
        ]  # fmt: skip
        heads = ("output feature", "norm", "position", "token", "points at")
        made.append(table("Largest rows of J", heads, rows))
    if result.largest_columns:
        rows = [
            [str(column.position), visible(column.text), str(column.feature), f"{column.norm:.4g}",
             spelled(column.outputs, WORDS, scores=True)]
            for column in result.largest_columns
        ]  # fmt: skip
        heads = ("position", "token", "input feature", "norm", "writes")
        made.append(table("Largest columns of J", heads, rows))
    return made
