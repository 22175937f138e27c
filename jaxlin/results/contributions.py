"""What every direction contributes to the output, and to the scores of the predicted token and its rival.

With α = ⟨v, x⟩, the output is y = Σ_i α_i·J·v_i + (what all other directions contribute) + c, and every score
is linear in y once its soft-cap is frozen. So the shares are exact, and with all directions they sum to the
whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.vectors import quietly


@dataclass(frozen=True)
class Part:
    """A part of the output.

    Attributes:
        output: its signed share of ‖y‖²: ⟨part, y⟩ / ‖y‖².
        logits: what it contributes to the centred logit of the predicted token and to that of its strongest
            rival; empty where no head is known.
    """

    output: float
    logits: tuple[float, ...]

    @classmethod
    def sum_of(cls, parts: Iterable[Part]) -> Part:
        """Several parts in one."""
        each = list(parts)
        logits = zip(*(part.logits for part in each), strict=True)
        return cls(float(sum(part.output for part in each)), tuple(float(sum(all_)) for all_ in logits))

    def minus(self, other: Part) -> Part:
        """What is left of this one."""
        return Part(
            self.output - other.output,
            tuple(mine - theirs for mine, theirs in zip(self.logits, other.logits, strict=True)),
        )


@dataclass(frozen=True)
class Contributions:
    """What the output is the sum of: the directions that were computed, all others together, and the offset.

    Attributes:
        along: α = ⟨v, x⟩ of every direction.
        directions: what each contributes.
        offset: what c contributes: biases, and input positions outside the span.
        whole: the output itself; its logits are the centred ones of the prediction.
    """

    along: tuple[float, ...]
    directions: tuple[Part, ...]
    offset: Part
    whole: Part

    @property
    def together(self) -> Part:
        """What the directions contribute together."""
        return Part.sum_of(self.directions)

    @property
    def rest(self) -> Part:
        """What all other directions contribute."""
        return self.whole.minus(self.together).minus(self.offset)

    @property
    def order(self) -> tuple[int, ...]:
        """The directions by what they contribute to the predicted token's logit, the most first.

        By their shares of ‖y‖² where no head is known; the signs do not count.
        """
        sizes = [abs(part.logits[0] if part.logits else part.output) for part in self.directions]
        return tuple(int(i) for i in np.argsort(-np.nan_to_num(sizes), kind="stable"))


def check_split(split: Contributions, summary: Mapping[str, Any]) -> None:
    """That a saved split is of the triplets, and of the prediction, that stand beside it.

    Raises:
        ValueError: it is not.
    """
    count = len(summary["triplets"])
    if len(split.along) != count or len(split.directions) != count:
        raise ValueError(f"its contributions are not those of {count} triplets")
    sizes = {len(part.logits) for part in (*split.directions, split.offset, split.whole)}
    known = summary.get("prediction")
    pair = 0 if known is None else len(known["tokens"][:2])
    if len(sizes) > 1 or not sizes <= {0, pair}:
        raise ValueError("its contributions are not those to the tokens of its prediction")


def contributions_of(
    v: Float[np.ndarray | Array, "k t ..."],
    x: Float[np.ndarray | Array, "t ..."],
    images: Float[np.ndarray | Array, "k ..."],
    y: Float[np.ndarray | Array, ...],
    offset: Float[np.ndarray | Array, ...],
    rows: Float[np.ndarray, "n d"] | None = None,
) -> Contributions:
    """The split of an output, in float64.

    Args:
        v: right vectors.
        x: the point the map was taken at.
        images: J·v of each.
        y: the output at x.
        offset: c.
        rows: ⟨row, y⟩ is a score; of the output's size, flat.
    """
    point, output = np.ravel(np.asarray(x, np.float64)), np.ravel(np.asarray(y, np.float64))
    table = np.zeros((0, len(output))) if rows is None else rows
    with quietly():
        along = np.array([np.vdot(np.asarray(vector, np.float64), point) for vector in np.asarray(v)])
        parts = along[:, None] * np.asarray(images, np.float64).reshape(len(along), -1)
        square = float(output @ output) or 1.0

        def part(vector: Float[np.ndarray, " m"]) -> Part:
            return Part(float(vector @ output) / square, tuple(map(float, table @ vector)))

        return Contributions(
            tuple(map(float, along)),
            tuple(map(part, parts)),
            part(np.ravel(np.asarray(offset, np.float64))),
            part(output),
        )
