"""How an SVD is shown: as tables in a terminal, and as pictures; see :mod:`jaxlin.results.page.svd`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from rich.console import Group, RenderableType
from rich.text import Text

from jaxlin.linear.vectors import quietly
from jaxlin.results.direction_table import (
    DirectionTable,
    notes_below,
    table_of_target,
)
from jaxlin.results.metric import HIDDEN, METRICS
from jaxlin.results.norms import table_of_columns, table_of_rows
from jaxlin.results.output_pictures import along_prompt, rank
from jaxlin.results.pictures import Picture, spectrum
from jaxlin.results.spelling import visible
from jaxlin.results.tables import (
    certificate_lines,
    panel,
    prediction_lines,
    spell_cost,
    spell_map,
    spell_shape,
    verdict,
)

if TYPE_CHECKING:
    from jaxlin.results.svd import SVDResult


def table_of(result: SVDResult) -> RenderableType:
    """The certificate and the prediction, then every direction."""
    summary, certificate = result.summary(), result.certificate
    weighed = f"L·J has {summary['metric_rows']} rows" if "metric_rows" in summary else ""
    shown: list[RenderableType] = [
        panel(
            [*prediction_lines(result.prediction), *certificate_lines(certificate)],
            verdict(certificate),
            spell_map(summary, spell_shape(summary["shape"]), *filter(None, [weighed])),
            spell_cost(summary),
        )
    ]
    if result.metric != HIDDEN:
        shown.append(Text(f"metric {result.metric}: {METRICS[result.metric]}"))
    if result.target is None:
        shown += [DirectionTable(result), *notes_below(result)]
    else:
        shown.append(table_of_target(result))
    shown += [table_of_rows(result.largest_rows)] if result.largest_rows else []
    shown += [table_of_columns(result.largest_columns)] if result.largest_columns else []
    return Group(*shown)


def pictures_of(result: SVDResult) -> list[Picture]:
    """The spectrum; the output that the directions make together; what each position contributes to each."""
    pictures = [spectrum(result.s, result.residuals, result.spectrum)]
    shares, weights, along = result.contributions, result.weights, _along(result)
    if along is None or result.y is None or np.size(result.y) == 1:
        return pictures
    with quietly():
        made = np.ravel(result.offset) + along @ result.written.reshape(len(along), -1)
    pictures.append(rank(len(result.s), made, np.ravel(result.y)))
    if shares is None or weights is None:
        return pictures
    labels = result.labels
    positions = range(shares.shape[1]) if labels is None else labels.positions
    texts = () if labels is None else labels.texts
    shares, to = to_the_prediction(result, shares)
    directions = along_prompt("directions", shares, weights, positions, texts, result.order, to)
    if not np.any(np.asarray(result.s) > 0):
        directions = replace(directions, nothing="J is 0, and any vectors would do as its right ones")
    return [*pictures, directions]


def _along(result: SVDResult) -> Float[np.ndarray, " k"] | None:
    """α = ⟨v, x⟩ of every direction; None where nobody knows it."""
    if result.V is None or result.x is None:
        return None if result.split is None else np.array(result.split.along)
    point = np.ravel(np.asarray(result.x))
    with quietly():
        return np.asarray([np.vdot(np.ravel(vector), point) for vector in np.asarray(result.V)])


def to_the_prediction(
    result: SVDResult, shares: Float[np.ndarray, "k t"]
) -> tuple[Float[np.ndarray, "k t"], str]:
    """What each position contributes along each direction to the predicted token's logit, and its name.

    To ⟨u, y⟩ where no head is known.
    """
    split, prediction = result.split, result.prediction
    if split is None or prediction is None or not split.whole.logits:
        return shares, "contribution to ⟨u, y⟩"
    logits = np.array([part.logits[0] for part in split.directions])
    along = np.asarray(result.s, np.float64) * np.array(split.along)
    slopes = np.divide(logits, along, out=np.zeros_like(along), where=along != 0)
    with quietly():
        return shares * slopes[:, None], f"contribution to the logit of {visible(prediction.tokens[0].text)}"
