"""Pictures of contributions: what the strongest features contribute to one output, mean over all points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxlin.results.pictures import Columns, Picture, drawable, literal, nothing_in, word

#: Features that a picture names; the numbers have all of them.
_BARS = 24


def bars_of_features(
    name: str,
    features: Sequence[str],
    means: Float[np.ndarray, " n"],
    sizes: Float[np.ndarray, " n"],
    title: str,
) -> Picture:
    """Mean contributions as bars, and the mean of their sizes, which do not cancel, as marks."""
    order = np.argsort(-np.nan_to_num(sizes), kind="stable")[:_BARS][::-1]

    def draw(axes: Any) -> None:
        places, drawn, marks = range(len(order)), drawable(means[order]), drawable(sizes[order])
        colours = np.where(np.nan_to_num(drawn) < 0, "#2166ac", "#b2182b")
        axes.barh(places, drawn, color=list(colours), label="mean contribution")
        axes.plot(marks, places, "|", color="black", label="mean size, whatever the sign")
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_yticks(places, [word(features[i]) for i in order], fontsize=7)
        axes.set(xlabel="contribution", title=literal(title))
        axes.legend(frameon=False, fontsize=7, loc="lower right")

    columns: Columns = {"feature": list(features), "mean": means, "mean_size": sizes}
    height = float(np.clip(1.6 + 0.17 * len(order), 2.4, 6.0))
    return Picture(name, draw, columns, (6.4, height), nothing_in([means]))
