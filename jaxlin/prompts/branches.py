"""What every head and every MLP of a recorded prompt contributes to what is read of the output.

A row w that reads the output y is a sum over the residual stream at the last position: ⟨w, y⟩ is what the
last embedding, every head, the biases of attention's output projections and every MLP add up to, with the
norms frozen. What a branch contributes is itself linear in the embeddings of all tokens, through the layers
below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxlin_models.decoder import Graph, Recorded, Weights
from jaxlin_models.recorded import final_coefficients, normed
from jaxlin_models.sharding import whole
from jaxtyping import Array, Float, Int

from jaxlin.linear.operator import probes_at
from jaxlin.linear.selection import positions_in
from jaxlin.prompts.operators import LAST
from jaxlin.runtime.progress import Progress, silent

if TYPE_CHECKING:
    from jaxlin.prompts.recording import Recording

_STAGE = "splitting branches over tokens"


class BranchContributions(NamedTuple):
    """What the last embedding and the branches of all layers contribute to ⟨row, y⟩ of r rows, in float64.

    Attributes:
        embedding: of the last token's own embedding [r].
        heads: of every attention head [r, layers, heads].
        biases: of the biases of attention's output projections [r, layers], which are no head's.
        mlps: of every MLP [r, layers].
    """

    embedding: Float[np.ndarray, " r"]
    heads: Float[np.ndarray, "r layers heads"]
    biases: Float[np.ndarray, "r layers"]
    mlps: Float[np.ndarray, "r layers"]


class BranchTokens(NamedTuple):
    """What every token contributes through every branch, in float64; the heads of a layer, then its MLP.

    Attributes:
        tokens: [r, layers, heads + 1, S].
        offset: [r, layers, heads + 1], which is no token's of the span.
        passes: how many passes of the whole network it took.
    """

    tokens: Float[np.ndarray, "r layers branches s"]
    offset: Float[np.ndarray, "r layers branches"]
    passes: int


def of_branches(recording: Recording, rows: Float[Array, "r d"]) -> BranchContributions:
    """What the last embedding and every branch of every layer contribute to ⟨row, y⟩ of each row.

    y is what leaves the final norm, which is frozen at the last hidden state. For each row they sum to
    ⟨row, y⟩. All of it is read from one ordinary forward pass, the recording's ``stream``; nothing recorded
    is used, so the sum tests the recording.
    """
    parts: tuple[Array, ...] = _of_branches(
        recording.graphdef, recording.weights, recording.stream, recording.x[-1], rows
    )
    return BranchContributions(*(np.asarray(part, np.float64) for part in parts))


def of_branches_by_token(
    recording: Recording,
    rows: Float[Array, "r d"],
    span: Sequence[int] | Int[np.ndarray, " s"] | None = None,
    progress: Progress = silent,
) -> BranchTokens:
    """What every head and MLP contributes, split over the input tokens by the layers below it.

    Either every token's embedding goes forwards by itself (a pass for each token, whatever the number of
    rows), or every branch comes backwards through the layers below it (half a pass, on the average, for each
    branch and row): whichever takes fewer. The offset takes one more where there is one.

    Args:
        recording: of the prompt.
        rows: what is read of y.
        span: input positions, all if not given; what the others contribute is in the offset.
        progress: told how many are done.

    Raises:
        JaxlinError: an empty span, or positions that do not rise or lie outside.
    """
    length = len(recording.x)
    where = np.arange(length) if span is None else positions_in(span, length)
    layers, branches = recording.num_layers, int(recording.stream.heads.shape[1]) + 1
    offset, passes = np.zeros((len(rows), layers, branches)), 0
    if recording.biased or len(where) < length:
        outside = recording.x.at[where].set(0)
        found = _forwards(*_pass(recording), outside[None], rows, recording.biased)
        offset = np.asarray(found[0], np.float64)
        passes = 1
    backwards = len(rows) * branches * layers / 2
    if len(where) <= backwards:
        tokens = _token_by_token(recording, rows, where, progress)
        return BranchTokens(tokens, offset, passes + len(where))
    tokens = _branch_by_branch(recording, rows, branches, progress)[..., where]
    return BranchTokens(tokens, offset, passes + round(backwards))


def _token_by_token(
    recording: Recording, rows: Float[Array, "r d"], where: Int[np.ndarray, " s"], progress: Progress
) -> Float[np.ndarray, "r layers branches s"]:
    x, step, found = recording.x, probes_at(len(recording.x)), []
    for start in range(0, len(where), step):
        progress(_STAGE, start, len(where), "tokens")
        chunk = where[start : start + step]
        alone = jnp.zeros((len(chunk), *x.shape), x.dtype)
        alone = alone.at[jnp.arange(len(chunk)), chunk].set(x[chunk])
        found.append(np.asarray(_forwards(*_pass(recording), alone, rows, False), np.float64))
    progress(_STAGE, len(where), len(where), "tokens")
    return np.moveaxis(np.concatenate(found), 0, -1)


def _branch_by_branch(
    recording: Recording, rows: Float[Array, "r d"], branches: int, progress: Progress
) -> Float[np.ndarray, "r layers branches t"]:
    x, layers, step = recording.x, recording.num_layers, probes_at(len(recording.x))
    one_each = jnp.eye(len(rows) * branches, dtype=x.dtype).reshape(-1, len(rows), branches)
    split = np.zeros((len(rows), layers, branches, len(x)))
    for layer in range(layers):
        progress(_STAGE, layer, layers, "layers")
        number = jnp.asarray(layer, jnp.int32)
        found = [
            np.asarray(
                _backwards(*_pass(recording), x, rows, one_each[start : start + step], number), np.float64
            )
            for start in range(0, len(one_each), step)
        ]
        split[:, layer] = np.concatenate(found).reshape(len(rows), branches, len(x))
    progress(_STAGE, layers, layers, "layers")
    return split


def _pass(recording: Recording) -> tuple[Graph, Weights, Recorded]:
    return recording.graphdef, recording.weights, recording.recorded


@partial(jax.jit, static_argnums=0)
def _of_branches(
    graphdef: Graph, weights: Weights, stream: models.Stream, embedding: Array, rows: Array
) -> tuple[Array, Array, Array, Array]:
    decoder = nnx.merge(graphdef, weights)
    read = normed(decoder, final_coefficients(decoder, stream.final), rows)
    of_embedding = jnp.einsum("d,rd->r", embedding, read, precision="highest")
    of_heads, of_biases, of_mlps = models.shares_of_stream(decoder, stream, read)
    return of_embedding, whole(decoder.layout, of_heads), of_biases, of_mlps


@partial(jax.jit, static_argnums=(0, 5))
def _forwards(
    graphdef: Graph, weights: Weights, recorded: Recorded, x: Array, rows: Array, biases: bool
) -> Float[Array, "b r layers branches"]:
    decoder = nnx.merge(graphdef, weights)
    read = normed(decoder, recorded["final"], rows)
    shares: Array = models.shares(decoder, recorded, x, read, LAST, biases=biases)
    return whole(decoder.layout, shares)


@partial(jax.jit, static_argnums=0)
def _backwards(
    graphdef: Graph, weights: Weights, recorded: Recorded, x: Array, rows: Array, chosen: Array, layer: Array
) -> Float[Array, "b t"]:
    """What every token contributes to some sums of the branches of one layer."""
    decoder = nnx.merge(graphdef, weights)
    read = normed(decoder, recorded["final"], rows)
    pulled = models.shares_transpose(decoder, recorded, chosen, read, len(x), LAST, layer)
    return whole(decoder.layout, jnp.einsum("btd,td->bt", pulled, x, precision="highest"))
