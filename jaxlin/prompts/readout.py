"""Vectors read as tokens: hidden states through the head, embeddings by their nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxlin_models.decoder import Graph, Weights
from jaxlin_models.sharding import by_columns
from jaxlin_models.tables import Table
from jaxtyping import Array, Float

from jaxlin.analyses.decoding import best_outputs, nearest_tokens
from jaxlin.prompts.head import HeadAt
from jaxlin.prompts.target import LogitTarget
from jaxlin.prompts.text import Text
from jaxlin.results.labels import TokenScore


@dataclass(frozen=True, eq=False, repr=False)
class Readout(Text):
    """A model as far as its vocabulary goes."""

    @cached_property
    def decoder(self) -> models.Decoder:
        """The network; its weights are read when this is first asked for.

        Raises:
            models.ModelError: weights that cannot be had, read or used.
        """
        return self.source.read()

    def logits(
        self, hidden: Float[Array | np.ndarray, "... d"], *, normed: bool = True
    ) -> Float[Array, "... vocab"]:
        """Scores of the vocabulary for hidden states, through the soft-cap.

        Args:
            hidden: as they leave the final norm, or as they are in the residual stream.
            normed: which of the two; what is not normed goes through the final norm first.
        """
        graphdef, weights = nnx.split(self.decoder)
        logits: Array = score(graphdef, weights, jnp.asarray(hidden, self.decoder.working_dtype), normed)
        return logits

    def logit_row(self, y: Float[Array, " d"], target: LogitTarget) -> Float[Array, "1 d"]:
        """The row w with ⟨w, y⟩ = the target's logit (or difference of two) at the hidden state y.

        A soft-cap is frozen like every other coefficient: cap·tanh(z/cap) = (that / z at y)·z.

        Raises:
            JaxlinError: a token that is several, or an id out of range.
        """
        row = self._logit_row(y, self.token_id(target.plus))
        if target.minus is not None:
            row = row - self._logit_row(y, self.token_id(target.minus))
        return row[None]

    def metric_rows(self, y: Float[Array, " d"], metric: str) -> Float[np.ndarray, "r d"]:
        """The rows L of a metric of changes of the hidden state y, in float64; r ≤ d.

        Args:
            y: as it leaves the final norm.
            metric: ``fisher`` or ``logits``; see :meth:`jaxlin.prompts.head.HeadAt.metric`.

        Raises:
            JaxlinError: a metric that is neither.
        """
        return HeadAt(self, y).metric(metric)

    def _logit_row(self, y: Float[Array, " d"], token: int) -> Float[Array, " d"]:
        row = self.decoder.head_rows(jnp.asarray([token]))[0].astype(y.dtype)
        logit, raw = self.logits(y)[token], jnp.vdot(row, y, precision="highest")
        capped = self.config.final_logit_softcap is not None
        return row * jnp.where(raw == 0, 1, logit / raw) if capped else row

    def vocabulary(self) -> Table:
        """Every token's embedding as the checkpoint has it, before Gemma's scaling [vocab, d].

        A packed one is read by slices; ``np.asarray`` makes all of it.
        """
        return self.decoder.embedding[...]

    def outputs(
        self, u: Float[Any, "n d"], top: int = 8, *, normed: bool = True
    ) -> list[tuple[TokenScore, ...]]:
        """The output tokens that each of n hidden states writes most, with their logits, best first.

        Args:
            u: hidden states.
            top: how many tokens of each.
            normed: whether they have left the final norm; else they go through it first.
        """
        return best_outputs(u, partial(self.logits, normed=normed), self.token_text, top)

    def nearest(self, blocks: Float[Any, "k p d"], count: int = 3) -> list[list[tuple[TokenScore, ...]]]:
        """The ``count`` tokens whose embeddings are nearest to each of k·p vectors, with their cosines."""
        vectors = by_columns(self.decoder.layout, jnp.asarray(blocks))
        return nearest_tokens(vectors, self.vocabulary(), count, self.token_text)


@partial(jax.jit, static_argnums=(0, 3))
def score(
    graphdef: Graph, weights: Weights, hidden: Float[Array, "... d"], normed: bool = True
) -> Float[Array, "... vocab"]:
    """Scores of the vocabulary from hidden states, of a decoder in two halves as ``nnx.split`` gives them."""
    decoder = nnx.merge(graphdef, weights)
    return decoder.logits(hidden if normed else decoder.final_norm(hidden, models.Plain()))
