"""Attention sinks: right vectors that lie at the first position of the prompt, whatever the prompt says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.vectors import quietly
from jaxlin.results.labels import Labels
from jaxlin.results.spelling import percent, visible

#: A position that holds more than this of a right vector's squared length dominates it.
_DOMINATES = 0.5


def first_shares(weights: Float[np.ndarray, "k t"], labels: Labels | None) -> Float[np.ndarray, " k"] | None:
    """How much of each right vector's squared length is at position 0; None where that is no input.

    Args:
        weights: ‖v_t‖ of every right vector at every input position.
        labels: of these positions.
    """
    if labels is None or labels.positions[0] != 0 or len(labels.positions) < 2:
        return None
    squares = np.square(np.asarray(weights, np.float64))
    whole = squares.sum(axis=1)
    with quietly():
        shares: np.ndarray = squares[:, 0] / np.where(whole > 0, whole, 1)
    return shares


def spell_sinks(
    weights: Float[np.ndarray, "k t"], labels: Labels | None, names: Sequence[str], unit: str = "direction"
) -> str:
    """A sentence that names the right vectors that position 0 dominates; empty where there are none.

    Args:
        weights, labels: as of :func:`first_shares`.
        names: of the right vectors.
        unit: what each of them is.
    """
    shares = first_shares(weights, labels)
    held = [] if shares is None else np.flatnonzero(shares > _DOMINATES).tolist()
    if not held or shares is None or labels is None:
        return ""
    least, most = percent(float(shares[held].min())), percent(float(shares[held].max()))
    much = most if least == most else f"{least} to {most}"
    which = f"{unit}s" if len(held) > 1 else unit
    return (
        f"attention sink: position 0 ({visible(labels.texts[0])}) holds {much} of the squared length of "
        f"the right vector of {which} {', '.join(names[i] for i in held)}; skip_first 1 leaves it out"
    )


def spell_sink_of_map(norms: Float[Array | np.ndarray, " t"], labels: Labels | None, name: str) -> list[str]:
    """Whether position 0 holds most of a whole map, from ‖J_t‖_F of every position; a sentence, or none."""
    share = first_shares(np.asarray(norms)[None], labels)
    if share is None or labels is None or not share[0] > _DOMINATES:
        return []
    much = percent(float(share[0]))
    return [
        f"attention sink: position 0 ({visible(labels.texts[0])}) holds {much} of ‖{name}‖²_F; skip_first 1 "
        f"leaves it out"
    ]
