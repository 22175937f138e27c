"""How maps by depth are shown in a terminal and as pictures (the page: :mod:`jaxlin.results.page.layers`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxlin.results.dimensions import Dimensions
from jaxlin.results.layer import PARTS
from jaxlin.results.metric import HIDDEN, METRICS
from jaxlin.results.pictures import Picture, lines, path, spectra
from jaxlin.results.sinks import spell_sinks
from jaxlin.results.tables import (
    RESIDUALS,
    Line,
    new_table,
    panel,
    prediction_lines,
    spell,
    spell_map,
    verdict,
)
from jaxlin.runtime.sizes import spell_size

if TYPE_CHECKING:
    from jaxlin.results.layers import LayersResult

#: Directions, and tokens of each, in a table; all are in the files.
_DIRECTIONS, _WORDS = 2, 4


def table_of(result: LayersResult) -> RenderableType:
    """The certificates in one panel, then a table for each part."""
    summary = result.summary()
    odd = [
        f"{name}: {verdict(certificate)}"
        for name, certificate in result.certificates
        if certificate.zero or not certificate.holds
    ]
    failed = sum(not certificate.holds for _, certificate in result.certificates)
    count = f"{failed} of {len(result.certificates)} maps"
    norm = "through the final norm" if result.normed else "as they are in the residual stream"
    where = spell_map(summary, f"outputs {norm}")
    shown = panel(
        [*prediction_lines(result.prediction), *lines_of(result)],
        f"FAILS in {count}" if failed else "holds",
        *odd,
        f"{where} · peak {spell_size(summary['peak_bytes'])}",
    )
    metric = result.entry("metric", HIDDEN)
    of = f"metric {metric}, that of the prompt's prediction at every layer: "
    said = [] if metric == HIDDEN else [Text(f"{of}{METRICS[metric]}")]
    return Group(shown, *said, *(_table(result, name) for name in result.parts), *sinks_of(result))


def sinks_of(result: LayersResult) -> list[Text]:
    """Where the first right vectors lie at the first position, part by part."""
    said = []
    for name, part in result.parts.items():
        weights = np.stack([layer.weights[0] for layer in part])
        if result.labels is not None and len(result.labels.ids) == weights.shape[1]:
            sinks = spell_sinks(weights, result.labels, [str(layer) for layer in result.layers], "layer")
            said += [Text(f"{name}: {sinks}")] if sinks else []
    return said


def lines_of(result: LayersResult) -> list[Line]:
    """All certificates in one line."""
    every = [certificate for _, certificate in result.certificates]
    wanted = sum(certificate.wanted for certificate in every)
    converged = sum(certificate.converged for certificate in every)
    text = (
        f"{converged} of {wanted} triplets of {len(every)} maps within {every[0].tolerance:.0e}·σ₁, "
        f"worst {max(certificate.worst_residual for certificate in every):.1e}·σ₁"
    )
    return [Line("residuals", text, converged == wanted, RESIDUALS)]


def _table(result: LayersResult, name: str) -> Table:
    """One row a layer; the path is how much of the last layer's left space is there already."""
    path = result.path if name == "cumulative" else None
    columns = ["layer", "σ₁", "stable\nrank", "partici-\npation", *(["path"] if path is not None else [])]
    table = new_table(f"{name}: {PARTS[name]}", *columns)
    for number in range(_DIRECTIONS):
        table.add_column(f"left vector {number + 1} writes", ratio=1)
    for i, (number, layer) in enumerate(zip(result.layers, result.parts[name], strict=True)):
        shared = [] if path is None else [f"{np.square(path[i]).sum() / path.shape[1]:.0%}"]
        table.add_row(
            str(number),
            f"{float(layer.s[0]):.4g}",
            f"{layer.dimensions.stable_rank:.2f}",
            _participation(layer.dimensions),
            *shared,
            *(spell(outputs, _WORDS) for outputs in result.outputs[name][i][:_DIRECTIONS]),
        )
    return table


def pictures_of(result: LayersResult) -> list[Picture]:
    """Stable ranks, σ₁ and spectra along depth, and how left vectors turn."""
    first = {name: [float(layer.s[0]) for layer in part] for name, part in result.parts.items()}
    pictures = [
        lines("stable_rank", result.layers, result.stable_ranks, "stable rank ‖J‖²_F / σ₁²"),
        lines("largest_sigma", result.layers, first, "σ₁", log=True),
        *(
            spectra(f"spectra_{name}", name, result.layers, np.stack([layer.s for layer in part]))
            for name, part in result.parts.items()
        ),
    ]
    if result.path is None:
        return pictures
    turning = path(result.layers, result.path)
    if not any(np.any(np.asarray(layer.s) > 0) for layer in result.parts["cumulative"]):
        turning = replace(turning, nothing="every map is 0, and any vectors would do as its left ones")
    return [*pictures, turning]


def _participation(dimensions: Dimensions) -> str:
    least, most = dimensions.participation
    return f"{least:.3g}" if most - least < 0.01 else f"{least:.3g}–{most:.3g}"
