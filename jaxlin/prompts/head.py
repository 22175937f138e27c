"""The head at one hidden state: what is predicted there, the rows of its logits, and the metric there.

Everything is in float64 on the host, some thousand rows of the vocabulary at a time: a float64 copy of a
large head would be gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.metric import square_root
from jaxlin.results.metric import FISHER, LOGITS, check_metric
from jaxlin.results.prediction import KEPT, PredictedToken, Prediction

if TYPE_CHECKING:
    from jaxlin.prompts.readout import Readout

#: Rows of the vocabulary that are held in float64 at once: of some megabytes, which take no new pages.
ROWS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class HeadAt:
    """The head of a model, z = cap(W·y), at the hidden state y.

    Attributes:
        model: whose head.
        y: as it leaves the final norm [d].
        together: where the same is computed of several hidden states, of which this is the ``place``-th.
    """

    model: Readout
    y: Float[Array, " d"]
    together: HeadsAt | None = None
    place: int = 0

    @cached_property
    def prediction(self) -> Prediction:
        """The most likely next tokens of the ordinary forward pass."""
        best = np.argsort(-self.logits, kind="stable")[:KEPT]
        mean = self.logits.mean()
        return Prediction(
            tuple(
                PredictedToken(
                    int(token),
                    self.model.token_text(int(token)),
                    float(self.probabilities[token]),
                    float(self.logits[token]),
                    float(self.logits[token] - mean),
                )
                for token in best
            )
        )

    @cached_property
    def rows(self) -> Float[np.ndarray, "n d"]:
        """⟨row, y⟩ is the centred logit of the predicted token, and of its strongest rival.

        Soft-caps are frozen like every other coefficient: cap·tanh(z/cap) = (that / z at y)·z.
        """
        ids = [token.id for token in self.prediction.pair]
        table = np.asarray(self.model.decoder.head_rows(jnp.asarray(ids)), np.float64)
        mean = self._mean(self.frozen / len(self.frozen)) if self.together is None else self._of_all
        rows: np.ndarray = self.frozen[ids, None] * table - mean
        return rows

    @cached_property
    def frozen(self) -> Float[np.ndarray, " vocab"]:
        """By what the soft-cap multiplies each raw score at y; 1 where there is none."""
        factors: np.ndarray = np.divide(
            self.logits, self._raw, out=np.ones_like(self._raw), where=self._raw != 0
        )
        return factors

    @cached_property
    def slopes(self) -> Float[np.ndarray, " vocab"]:
        """The derivative of the soft-cap at each raw score; 1 where there is none."""
        cap = self.model.config.final_logit_softcap
        return np.ones_like(self.logits) if cap is None else 1 - np.square(self.logits / cap)

    def changes(
        self, hidden: Float[np.ndarray, "n d"], *, frozen: bool = True
    ) -> Float[np.ndarray, "n vocab"]:
        """What changes of y do to all logits: with the soft-cap frozen, as in the map, or by its slope."""
        raw = np.concatenate([hidden @ table.T for _, table in table_of(self.model)], axis=1)
        changes: np.ndarray = raw * (self.frozen if frozen else self.slopes)
        return changes

    @property
    def _of_all(self) -> Float[np.ndarray, " d"]:
        assert self.together is not None
        mean: np.ndarray = self.together.means[self.place]
        return mean

    @cached_property
    def logits(self) -> Float[np.ndarray, " vocab"]:
        """The scores of all tokens, through the soft-cap."""
        cap = self.model.config.final_logit_softcap
        logits: np.ndarray = self._raw if cap is None else cap * np.tanh(self._raw / cap)
        return logits

    @cached_property
    def probabilities(self) -> Float[np.ndarray, " vocab"]:
        """softmax of them."""
        shifted = np.exp(self.logits - self.logits.max())
        chances: np.ndarray = shifted / shifted.sum()
        return chances

    def metric(self, name: str) -> Float[np.ndarray, "r d"]:
        """L with LᵀL = F, so that ‖L·δ‖² is how far a change δ of y changes what is predicted.

        ``fisher``: F = Wᵀ(diag p − p·pᵀ)W, and ½‖L·δ‖² is the KL divergence of the prediction at y + δ from
        that at y, in nats, to second order. ``logits``: F = Wᵀ(1 − 1·1ᵀ/vocab)W, and ‖L·δ‖ is the length of
        the change of the centred logits. Of a soft-cap, W has its slope at y.

        Raises:
            JaxlinError: a metric that is neither.
        """
        check_metric(name)
        weight = {FISHER: self.probabilities, LOGITS: np.ones_like(self.logits)}[name]
        slope = self.slopes
        mean = self._mean(weight * slope / weight.sum())
        gram = np.zeros((len(mean), len(mean)))
        for chunk, table in table_of(self.model):
            # Centred before it is squared: what is left of a sure prediction is small beside its mean.
            centred = np.sqrt(weight[chunk])[:, None] * (slope[chunk, None] * table - mean)
            gram += centred.T @ centred
        return square_root(gram)

    @cached_property
    def _raw(self) -> Float[np.ndarray, " vocab"]:
        """W·y, before any soft-cap."""
        if self.together is not None:
            raw: np.ndarray = self.together.raw[self.place]
            return raw
        y = np.asarray(self.y, np.float64)
        return np.concatenate([table @ y for _, table in table_of(self.model)])

    def _mean(self, weights: Float[np.ndarray, " vocab"]) -> Float[np.ndarray, " d"]:
        """Σ weight·row."""
        total = np.zeros(len(self.y))
        for chunk, table in table_of(self.model):
            total += weights[chunk] @ table
        return total


@dataclass(frozen=True, eq=False)
class HeadsAt:
    """The same at several hidden states, for which the table is gone through together.

    Attributes:
        model: whose head.
        ys: as they leave the final norm.
    """

    model: Readout
    ys: Sequence[Float[Array, " d"]]

    @cached_property
    def heads(self) -> tuple[HeadAt, ...]:
        """The head at each of them."""
        return tuple(HeadAt(self.model, y, self, place) for place, y in enumerate(self.ys))

    @cached_property
    def raw(self) -> Float[np.ndarray, "n vocab"]:
        """W·y of each."""
        ys = np.stack([np.asarray(y, np.float64) for y in self.ys])
        return np.concatenate([ys @ table.T for _, table in table_of(self.model)], axis=1)

    @cached_property
    def means(self) -> Float[np.ndarray, "n d"]:
        """The mean of all rows of W, each with the factor that its soft-cap has at y."""
        total = np.zeros((len(self.ys), len(self.ys[0])))
        for chunk, table in table_of(self.model):
            total += np.stack([head.frozen[chunk] for head in self.heads]) @ table
        means: np.ndarray = total / self.raw.shape[1]
        return means


def table_of(model: Readout) -> Iterator[tuple[slice, Float[np.ndarray, "n d"]]]:
    """The rows of the head in order, some at a time, in float64."""
    size = model.config.vocab_size
    for start in range(0, size, ROWS_AT_ONCE):
        chunk = slice(start, min(start + ROWS_AT_ONCE, size))
        rows = model.decoder.head_slice(chunk.start, chunk.stop - chunk.start)
        yield chunk, np.asarray(rows, np.float64)
