"""What an SVD says of its map: what directions contribute, their order, and the tokens they stand for."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Float

from jaxlin.linear.operator import Leaf
from jaxlin.linear.vectors import block_norms, contributions, quietly
from jaxlin.results.base import Result
from jaxlin.results.contributions import Contributions, contributions_of
from jaxlin.results.directions import Direction, read_inputs, read_poles
from jaxlin.results.labels import TokenScore
from jaxlin.results.metric import HIDDEN

#: Input positions of each direction that are read; of a target's row, which is one direction alone.
_POSITIONS, _POSITIONS_OF_TARGET = 3, 12


class SVDReadout(Result):
    """The part of :class:`jaxlin.results.svd.SVDResult` that is read; its attributes are described there."""

    U: Leaf
    s: Leaf
    V: Leaf
    x: Leaf
    y: Leaf
    offset: Leaf
    images: Leaf
    position_norms: Leaf
    position_shares: Leaf
    decoded: tuple[Direction, ...] | None
    known_split: Contributions | None

    @property
    def target(self) -> str | None:
        """The target's row in words, where the map is to that and not to a hidden state."""
        target: str | None = self.entry("target")
        return target

    @property
    def metric(self) -> str:
        """By what length outputs are measured, one of :data:`jaxlin.results.metric.METRICS`."""
        metric: str = self.entry("metric", HIDDEN)
        return metric

    @property
    def order(self) -> tuple[int, ...]:
        """The directions in the order in which they are shown: by σ, or by contribution where asked."""
        if self.entry("order", "sigma") == "contribution" and self.split is not None:
            return self.split.order
        return tuple(range(len(self.s)))

    @property
    def written(self) -> Float[np.ndarray, "k ..."]:
        """J·V[i] [k, *output_shape]: what a step of length 1 along each right vector adds to the output."""
        if self.images is not None:
            return np.asarray(self.images)
        u = np.asarray(self.U)
        with quietly():
            written: np.ndarray = np.asarray(self.s).reshape(-1, *[1] * (u.ndim - 1)) * u
        return written

    @property
    def lefts(self) -> Float[np.ndarray, "k ..."]:
        """The same with length 1 [k, *output_shape]; ``U`` itself where outputs have their own length."""
        if self.images is None:
            return np.asarray(self.U)
        flat = self.written.reshape(len(self.s), -1)
        lengths = np.linalg.norm(flat, axis=1, keepdims=True)
        return (flat / np.where(lengths > 0, lengths, 1)).reshape(self.written.shape)

    @cached_property
    def split(self) -> Contributions | None:
        """What each direction contributes to the output and to the scores of the prediction.

        None without ``x``, and of a map to numbers, of which :attr:`contributions` are the split.
        """
        if self.known_split is not None or self.x is None or self.y is None or self.offset is None:
            return self.known_split
        labels = self.labels
        if labels is not None and (labels.reader is None or not labels.hidden):  # as older versions saved it
            return None
        rows = None if labels is None or labels.scoring is None else labels.scoring()
        return contributions_of(self.V, self.x, self.written, self.y, self.offset, rows)

    @property
    def weights(self) -> Float[np.ndarray, "k t"] | None:
        """‖v_t‖ of every right vector at every input position; None where nothing was kept of them."""
        if self.V is not None:
            return block_norms(self.V)
        return None if self.position_norms is None else np.asarray(self.position_norms)

    @property
    def contributions(self) -> Float[np.ndarray, "k t"] | None:
        """σ⟨v_t, x_t⟩ of every direction at every input position; over the positions ⟨u, y − c⟩.

        In a metric L, over the positions ⟨u, L·(y − c)⟩. Of a map to one number: towards that number,
        whichever sign the left vector has. None without ``x``.
        """
        if self.position_shares is not None:
            return np.asarray(self.position_shares)
        if self.x is None or self.V is None:
            return None
        shares = contributions(self.s, self.V, self.x)
        u = np.asarray(self.U).reshape(len(shares), -1)
        with quietly():
            return shares * u if u.shape[1] == 1 else shares

    @cached_property
    def outputs(self) -> tuple[tuple[TokenScore, ...], ...]:
        """The tokens that each left vector writes most, read when first asked for; none without a model."""
        if self.decoded is not None:
            return tuple(direction.outputs for direction in self.decoded)
        return self._poles[0]

    @cached_property
    def _poles(self) -> tuple[tuple[tuple[TokenScore, ...], ...], tuple[tuple[TokenScore, ...], ...]]:
        """The tokens that each direction writes, and those of its other side."""
        return read_poles(self.lefts, self.labels, normed=self.entry("normed", True))

    @cached_property
    def directions(self) -> tuple[Direction, ...] | None:
        """All directions in tokens, read when first asked for; None where no tokens are known."""
        shares = None if self.decoded is not None or self.V is None else self.contributions
        if shares is None or self.labels is None or self.weights is None:
            return self.decoded
        hidden = self.labels.hidden
        inputs = read_inputs(
            self.V,
            self.weights,
            shares,
            self.labels,
            by_contribution=not hidden,
            positions=_POSITIONS if hidden else _POSITIONS_OF_TARGET,
        )
        return tuple(map(Direction, self.outputs, inputs, self._poles[1]))
