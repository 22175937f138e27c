"""Singular directions in tokens: left vectors by what they write, right ones by position and nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from jaxlin.results.labels import Labels, TokenScore
from jaxlin.results.tables import spelled, visible

#: Output tokens of each left vector, and nearest tokens of each block of a right one.
TOP, NEAREST = 8, 3
#: Cosines below this are those of any token to any other, and name nothing.
_NEAR = 0.3


def near(tokens: Sequence[TokenScore]) -> list[TokenScore]:
    """Those of some nearest tokens whose cosine is large enough to name anything."""
    return [token for token in tokens if token.score >= _NEAR]


@dataclass(frozen=True)
class InputPosition:
    """One position of the prompt as a singular direction sees it.

    Attributes:
        position: its place in the prompt.
        id: its token.
        text: the token's spelling.
        norm: of the right vector there.
        contribution: σ⟨v, x⟩ there; over all positions they sum to ⟨u, y − c⟩.
        nearest: the tokens whose embeddings the right vector is nearest to there, by cosine; shown are those
            whose cosine says something, see :func:`near`.
    """

    position: int
    id: int
    text: str
    norm: float
    contribution: float
    nearest: tuple[TokenScore, ...]

    def __str__(self) -> str:
        named = near(self.nearest)
        nearest = f" → {spelled(named, scores=True)}" if named else ""
        return f"{self.position} {visible(self.text)} {self.norm:.2f} ({self.contribution:+.3g}){nearest}"


@dataclass(frozen=True)
class Direction:
    """One singular direction in tokens; without outputs where its left vector is no hidden state.

    Attributes:
        outputs: the tokens that the hidden state u of length 1 scores highest.
        inputs: the positions of the prompt that the right vector points at most.
        against: the tokens that −u scores highest, which are those that u scores lowest.
    """

    outputs: tuple[TokenScore, ...]
    inputs: tuple[InputPosition, ...]
    against: tuple[TokenScore, ...] = ()

    @property
    def one_sided(self) -> bool:
        """Whether u scores all of the vocabulary with one sign, so that no token stands out."""
        return one_sided(self.outputs, self.against)


def one_sided(*sides: Sequence[TokenScore]) -> bool:
    """Whether the highest score of u or of −u is not above 0: then all scores have one sign."""
    return any(side and side[0].score <= 0 for side in sides)


def read_outputs(
    u: Float[Array | np.ndarray, "k ..."], labels: Labels | None, *, normed: bool = True, top: int = TOP
) -> tuple[tuple[TokenScore, ...], ...]:
    """The output tokens that each left vector writes most; none where nothing can read them."""
    if labels is None or labels.reader is None or not labels.hidden:
        return ((),) * len(u)
    return tuple(labels.reader.outputs(np.asarray(u), top, normed=normed))


def read_poles(
    u: Float[Array | np.ndarray, "k ..."], labels: Labels | None, *, normed: bool = True, top: int = TOP
) -> tuple[tuple[tuple[TokenScore, ...], ...], tuple[tuple[TokenScore, ...], ...]]:
    """The output tokens that each u writes most, and those of each −u; none where nothing can read them."""
    plus, minus = (read_outputs(side, labels, normed=normed, top=top) for side in (u, -np.asarray(u)))
    return plus, minus


def read_inputs(
    v: Float[Array | np.ndarray, "k t d"],
    norms: Float[np.ndarray, "k t"],
    contributions: Float[np.ndarray, "k t"],
    labels: Labels,
    *,
    by_contribution: bool = False,
    positions: int = 3,
    nearest: int = NEAREST,
) -> list[tuple[InputPosition, ...]]:
    """Each right vector's first input positions, all directions in one batch.

    Args:
        v: right vectors.
        norms: ‖v_t‖ of each at each position.
        contributions: σ⟨v_t, x_t⟩, likewise.
        labels: the tokens of the positions.
        by_contribution: whether the first positions are those of the largest contributions, as for a target's
            row, or of the largest norms.
        positions: how many of each direction.
        nearest: how many vocabulary tokens for each of those.
    """
    weight = np.abs(contributions) if by_contribution else norms
    chosen = np.argsort(-weight, axis=1, kind="stable")[:, :positions]
    blocks = np.take_along_axis(np.asarray(v), chosen[..., None], axis=1)
    tokens = _nearest(blocks, labels, nearest)
    return [
        tuple(
            InputPosition(
                position=labels.positions[t],
                id=labels.ids[t],
                text=labels.texts[t],
                norm=float(norms[i, t]),
                contribution=float(contributions[i, t]),
                nearest=tokens[i][j],
            )
            for j, t in enumerate(places)
        )
        for i, places in enumerate(chosen)
    ]


def _nearest(
    blocks: Float[np.ndarray, "k p d"], labels: Labels, count: int
) -> Sequence[Sequence[tuple[TokenScore, ...]]]:
    if labels.reader is None:
        return [[()] * blocks.shape[1]] * len(blocks)
    return labels.reader.nearest(blocks, count)
