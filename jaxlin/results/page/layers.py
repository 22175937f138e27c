"""What the report shows of a decomposition by depth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jaxlin.results.layer import PARTS
from jaxlin.results.layers_views import lines_of, sinks_of
from jaxlin.results.metric import HIDDEN, METRICS
from jaxlin.results.page.pieces import NUMBERS, View, card, chart, line, number, numbers, scores, tokens_of
from jaxlin.results.tables import Line, certificate_lines

if TYPE_CHECKING:
    from jaxlin.results.layers import LayersResult

#: Directions in the grid; all of them are in the files.
_GRID = 8
_SHARES = "σ⟨v_t, x_t⟩, what each token contributes to ⟨u, y⟩"
_WEIGHTS = "‖v_t‖, the weight of the right vector at each token"


def view_of(result: LayersResult) -> View:
    """A grid of layers by directions for every part; each cell shades the prompt."""
    tokens = tokens_of(result.labels)
    ranks = [line(*ranks) for ranks in result.stable_ranks.items()]
    labels, metric = list(result.layers), result.entry("metric", HIDDEN)
    of = f"metric {metric}, that of the prompt's prediction at every layer: "
    return {
        "tokens": tokens,
        "charts": [chart("Stable rank by layer", "layer", ranks, log=False, labels=labels)],
        "grid": _grids(result, len(tokens)) if tokens else None,
        "cards": [card("certificate of all maps", result.holds, _lines(result))],
        "notes": [
            *([] if metric == HIDDEN else [f"{of}{METRICS[metric]}"]),
            *(sink.plain for sink in sinks_of(result)),
        ],
    }


def _lines(result: LayersResult) -> list[Line]:
    """The certificates in a few lines, and every figure that fails."""
    held = sum(certificate.holds for _, certificate in result.certificates)
    text = f"{held} of {len(result.certificates)} certificates hold"
    lines = [Line("maps", text, result.holds, "every part of every layer has its own"), *lines_of(result)]
    for name, certificate in result.certificates:
        failed = [entry for entry in certificate_lines(certificate) if not entry.holds]
        lines += [replace(entry, name=f"{name}: {entry.name}") for entry in failed]
    return lines


def _grids(result: LayersResult, tokens: int) -> list[View]:
    """Layers by directions; the last layers' first directions shade the prompt first where room is short."""
    cells = [
        (j, i, name)
        for j in range(_GRID)
        for i in reversed(range(len(result.layers)))
        for name, part in result.parts.items()
        if j < len(part[i].s)
    ]
    room = NUMBERS
    shaded: set[tuple[str, int, int]] = set()
    for j, i, name in cells:
        room -= 2 * result.parts[name][i].weights.shape[-1]
        if room < 0 and shaded:
            break
        shaded.add((name, i, j))
    return [_grid(result, name, tokens, shaded) for name in result.parts]


def _grid(result: LayersResult, name: str, tokens: int, shaded: set[tuple[str, int, int]]) -> View:
    part, outputs = result.parts[name], result.outputs[name]
    positions = part[0].weights.shape[-1]
    rows: list[View] = []
    for i, (layer_number, layer) in enumerate(zip(result.layers, part, strict=True)):
        cells = []
        for j in range(min(_GRID, len(layer.s))):
            cell: View = {"s": number(float(layer.s[j]), 4), "outputs": scores(outputs[i][j])}
            if (name, i, j) in shaded:
                cell["shares"] = numbers(layer.contributions[j])
                cell["weights"] = numbers(layer.weights[j])
            cells.append(cell)
        rank = number(layer.dimensions.stable_rank, 3)
        rows.append({"layer": layer_number, "rank": rank, "cells": cells})
    whole = sum(len(row["cells"]) for row in rows)
    left_out = whole - len([key for key in shaded if key[0] == name])
    note = f"{left_out} of {whole} cells hold no shade: the prompt is too long for all" if left_out else ""
    about = {"part": name, "meaning": PARTS[name], "last_only": positions != tokens, "note": note}
    return about | {"rows": rows, "shares": _SHARES, "weights": _WEIGHTS}
