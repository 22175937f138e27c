"""A prompt recorded once: the map of any stretch of layers, and of any layer's attention or MLP.

Knows both :mod:`jaxlin_models` and the engine, which sees the operators alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxlin_models.decoder import Graph, Recorded, Weights
from jaxlin_models.recorded import Branch, final_coefficients
from jaxtyping import Array, Float, Int

from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.prompts.branches import (
    BranchContributions,
    BranchTokens,
    of_branches,
    of_branches_by_token,
)
from jaxlin.prompts.operators import PassState, recorded_operator
from jaxlin.results.labels import Labels
from jaxlin.runtime.progress import Progress, silent

MODULES = ("attention", "mlp")


@dataclass(frozen=True, eq=False)
class Recording:
    """The coefficients of one prompt under a linear policy, and the maps they make.

    Every map is to the last position. With ``normed``, the default, its output goes through the final norm,
    with the statistic of that output, as in arXiv:2505.24293 §4; else it is what is in the residual stream.

    Attributes:
        graphdef: of the decoder.
        weights: of the decoder.
        recorded: the coefficients.
        x: embeddings [T, d] as they enter layer 0.
        y: the last hidden state [d], after the final norm.
        num_layers: how many layers there are.
        biased: whether there are biases on the linear path.
        roundoff: unit roundoff of the products inside a pass.
        labels: the prompt's tokens, which the operators carry along.
    """

    graphdef: Graph
    weights: Weights
    recorded: Recorded
    x: Float[Array, "t d"]
    y: Float[Array, " d"]
    num_layers: int
    biased: bool
    roundoff: float
    labels: Labels | None = None

    def __repr__(self) -> str:
        length, width = self.x.shape
        return f"Recording({length} tokens, {self.num_layers} layers, width {width}, {self.x.dtype})"

    @cached_property
    def stream(self) -> models.Stream:
        """The residual stream of the ordinary forward pass, computed without the recorded coefficients."""
        stream: models.Stream = _stream(self.graphdef, self.weights, self.x)
        return stream

    def left(self, layer: int) -> Float[Array, " d"]:
        """The residual stream after a layer at the last position, before any final norm."""
        entering, last = self.stream.before_attention, self.num_layers - 1
        return self.stream.final if layer == last else entering[layer + 1, -1]

    def stretch(self, first: int, last: int, *, normed: bool = True) -> DetachedJacobian:
        """From what enters layer ``first`` [T, d] to what leaves layer ``last`` at the last position [d].

        Raises:
            JaxlinError: layers that do not exist, or the last before the first.
        """
        if not 0 <= first <= last < self.num_layers:
            raise JaxlinError(
                f"layers {first} to {last} are no range here: choose 0 ≤ first ≤ last < {self.num_layers}"
            )
        x = self.x if first == 0 else self.stream.before_attention[first]
        if normed and last == self.num_layers - 1:
            # The output that was recorded; from layer 0 it is the whole map.
            layers = None if first == 0 else (first, last + 1)
            return self._operator(x, self.y, self.recorded, layers, "block")
        return self._part(x, self.left(last), (first, last + 1), "block", normed)

    def module(self, layer: int, which: str, *, normed: bool = True) -> DetachedJacobian:
        """From what enters a layer's attention or MLP branch [T, d] to what it adds to the stream [d].

        The branch's own norms belong to it. An MLP sees nothing but the last position.

        Raises:
            JaxlinError: a layer or a module that does not exist.
        """
        if not 0 <= layer < self.num_layers:
            raise JaxlinError(f"there is no layer {layer}: choose from 0 to {self.num_layers - 1}")
        if which not in MODULES:
            raise JaxlinError(f"unknown module {shortened(which)!r}: choose {' or '.join(MODULES)}")
        stream, kind = self.stream, cast(Branch, which)
        entering = stream.before_attention if which == "attention" else stream.before_mlp
        added = stream.attention if which == "attention" else stream.mlp
        part = self._part(entering[layer], added[layer], (layer, layer + 1), kind, normed)
        return part if which == "attention" else part.select([len(self.x) - 1])

    def branch_contributions(self, rows: Float[Array, "r d"]) -> BranchContributions:
        """What the last embedding and every head and MLP contribute to ⟨row, y⟩, see :func:`of_branches`."""
        return of_branches(self, rows)

    def branch_tokens(
        self,
        rows: Float[Array, "r d"],
        span: Sequence[int] | Int[np.ndarray, " s"] | None = None,
        progress: Progress = silent,
    ) -> BranchTokens:
        """The same of heads and MLPs, split over the input tokens, see :func:`of_branches_by_token`."""
        return of_branches_by_token(self, rows, span, progress)

    def _part(
        self, x: Array, y: Array, layers: tuple[int, int], which: Branch, normed: bool
    ) -> DetachedJacobian:
        """Of layers whose output is not the one that was recorded: the final norm has other coefficients."""
        recorded = {"layers": self.recorded["layers"]}
        if normed:
            recorded["final"], y = _finish(self.graphdef, self.weights, y)
        return self._operator(x, y, recorded, layers, which)

    def _operator(
        self, x: Array, y: Array, recorded: Recorded, layers: tuple[int, int] | None, which: Branch
    ) -> DetachedJacobian:
        traced = None
        if layers is not None:
            first, last = (jnp.asarray(layer, jnp.int32) for layer in layers)
            traced = first, last
        labels = self.labels
        if labels is not None and y is not self.y:  # what the model predicts from is another output
            labels = replace(labels, prediction=None, scoring=None)
        if labels is not None and "final" not in recorded:
            labels = replace(labels, facts={**labels.facts, "normed": False})
        return recorded_operator(
            self.graphdef,
            PassState(self.weights, recorded, traced),
            x,
            y,
            which,
            biased=self.biased,
            roundoff=self.roundoff,
            labels=labels,
        )


@partial(jax.jit, static_argnums=0)
def _stream(graphdef: Graph, weights: Weights, x: Array) -> models.Stream:
    return models.stream(nnx.merge(graphdef, weights), x)


@partial(jax.jit, static_argnums=0)
def _finish(graphdef: Graph, weights: Weights, hidden: Array) -> tuple[Any, Array]:
    """What the final norm's coefficients are at a hidden state, and what it makes of it."""
    decoder = nnx.merge(graphdef, weights)
    return final_coefficients(decoder, hidden), decoder.final_norm(hidden, models.Plain())
