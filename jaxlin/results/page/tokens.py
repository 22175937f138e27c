"""What the report shows of every token's own decomposition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxlin.results.metric import HIDDEN, METRICS, map_in
from jaxlin.results.page.pieces import (
    NUMBERS,
    View,
    card,
    chart,
    line,
    measure,
    scores,
    shade,
    some_shade,
    table,
    tokens_of,
    words,
)
from jaxlin.results.sinks import spell_sink_of_map
from jaxlin.results.spelling import visible

if TYPE_CHECKING:
    from jaxlin.results.tokens import TokensResult

#: Rows of the table, tokens in each; lines of the chart, points of each; words of every token of the prompt.
_ROWS, _WORDS, _SERIES, _POINTS, _NOTED = 12, 5, 4, 1000, 4


def view_of(result: TokensResult) -> View:
    """The prompt shaded by every σ, the tokens of the largest, and σ by position."""
    s, metric = np.asarray(result.s), result.entry("metric", HIDDEN)
    name = map_in(metric)
    view: View = {
        "charts": [_by_position(result, s)],
        "cards": [card("certificate", result.holds, result.certificate.lines())],
        "tables": [_largest(result, s, name)],
        "notes": [
            *([] if metric == HIDDEN else [f"metric {metric}: {METRICS[metric]}"]),
            *spell_sink_of_map(result.norms, result.labels, name),
        ],
    }
    if result.labels is None:
        return view
    room = NUMBERS // len(s)
    noted = min(_NOTED, room // 4)  # of which one takes two numbers' room
    count = max(1, min(s.shape[1], room - 2 * noted - 1))
    shades = [
        shade(
            f"σ{i + 1}", {"sigma": i + 1}, [measure("σ", f"σ{i + 1} of each token's own {name}_t", s[:, i])]
        )
        for i in range(count)
    ]
    whole = measure("norm", f"Frobenius norm of each {name}_t", result.norms)
    shades.append(shade(f"‖{name}_t‖", {"norm": "frobenius"}, [whole]))
    notes = [scores(outputs, noted) for outputs in result.outputs] if noted else None
    view["notes"] += some_shade(count, s.shape[1], "singular values")
    return view | {"tokens": tokens_of(result.labels), "shades": shades, "words": notes}


def _largest(result: TokensResult, s: Float[np.ndarray, "t k"], name: str) -> View:
    order = np.argsort(-np.nan_to_num(s[:, 0]), kind="stable")[:_ROWS]
    texts = [""] * len(s) if result.labels is None else result.labels.texts
    rows = [
        [str(result.positions[t]), visible(texts[t]), f"{s[t, 0]:.4g}", f"{float(result.norms[t]):.4g}",
         words(result.outputs[t], _WORDS)]
        for t in order
    ]  # fmt: skip
    heads = ("position", "token", "σ₁", f"‖{name}_t‖_F", "writes")
    return table("Tokens of the largest σ₁", heads, rows)


def _by_position(result: TokensResult, s: Float[np.ndarray, "t k"]) -> View:
    """σ by position; of a long prompt the position of the largest σ₁ in each stretch of it."""
    stretch = -(-len(s) // _POINTS)
    firsts = np.nan_to_num(s[:, 0])
    shown = [start + int(firsts[start : start + stretch].argmax()) for start in range(0, len(s), stretch)]
    errors = np.asarray(result.errors)
    series = [line(f"σ{i + 1}", s[shown, i], errors[shown, i]) for i in range(min(_SERIES, s.shape[1]))]
    note = "" if stretch == 1 else f"of every {stretch} positions the one of the largest σ₁"
    labels = [result.positions[t] for t in shown]
    return chart("σ by position", "position", series, log=True, labels=labels, note=note)
