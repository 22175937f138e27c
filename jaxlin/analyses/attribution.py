"""The exact split of logits, or of differences of two, over what they are the sum of.

Once frozen, ⟨w, y⟩ is linear in the embeddings, so what each token contributes is exact and no estimate:
⟨w, y⟩ = Σ_t ⟨J_tᵀw, e_t⟩ + ⟨w, c⟩. It is also linear in what every head and every MLP adds to the residual
stream at the last position, which splits it a second way; and each of those is linear in the embeddings in
its turn, which splits it both ways at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import Check, check_operator
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.vectors import contributions
from jaxlin.results.attribute import Attribution
from jaxlin.results.labels import prompt_checks
from jaxlin.results.split import Split
from jaxlin.results.svd import SVDResult
from jaxlin.runtime.progress import Progress, silent

#: Units of roundoff, and of the sum of all shares' sizes, by which a split may miss what it splits.
_ROUNDINGS = 200.0
_MEANING = "|Σ − value| / Σ|share|: the parts sum to the whole"


@runtime_checkable
class OfBranches(Protocol):
    """What :class:`jaxlin.prompts.branches.BranchContributions` is to this file."""

    @property
    def embedding(self) -> Float[np.ndarray, " r"]: ...

    @property
    def heads(self) -> Float[np.ndarray, "r layers heads"]: ...

    @property
    def biases(self) -> Float[np.ndarray, "r layers"]: ...

    @property
    def mlps(self) -> Float[np.ndarray, "r layers"]: ...


@runtime_checkable
class OfBranchesByToken(Protocol):
    """What :class:`jaxlin.prompts.branches.BranchTokens` is to this file."""

    @property
    def tokens(self) -> Float[np.ndarray, "r layers branches s"]: ...

    @property
    def offset(self) -> Float[np.ndarray, "r layers branches"]: ...

    @property
    def passes(self) -> int: ...


@runtime_checkable
class Branches(Protocol):
    """What :class:`jaxlin.prompts.recording.Recording` is to this file."""

    @property
    def x(self) -> Float[Array, "t d"]: ...

    def branch_contributions(self, rows: Float[Array, "r d"]) -> OfBranches: ...

    def branch_tokens(
        self,
        rows: Float[Array, "r d"],
        span: Sequence[int] | Int[np.ndarray, " s"] | None = None,
        progress: Progress = silent,
    ) -> OfBranchesByToken: ...


def attribute(
    operator: DetachedJacobian,
    recording: Branches,
    rows: Float[Array, "r d"],
    result: SVDResult | None = None,
    *,
    by_token: bool = False,
    names: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Attribution:
    """Split ⟨row, y⟩ of every row over input tokens and over the heads and MLPs of all layers.

    For r rows it takes r backward passes (they are the rows of one small operator, and go together), the
    ordinary forward pass that the branches are read from, and five passes of checks. ``by_token`` takes, for
    T tokens and L layers of H heads, min(T, r·L·(H + 1)/2) passes more, and one for an offset.

    Args:
        operator: the prompt's map to the hidden state [d], all of it or of a span.
        recording: of the same prompt, for the branches.
        rows: the targets, each as :meth:`jaxlin.prompts.model.Model.logit_row` gives it.
        result: of ``operator``, to split its directions as well.
        by_token: split what every head and MLP contributes over the input tokens as well.
        names: of the targets, in words.
        seed: of the checks' probes.
        progress: told of the passes.

    Raises:
        JaxlinError: rows of another shape, or a span that nothing is known of.
    """
    selected = operator.select(target=rows)
    one_each = np.eye(len(rows), dtype=selected.dtype)
    stage = "splitting over tokens"
    pulled = [np.asarray(part, np.float64) for _, part in selected.rows(one_each, progress, stage)]
    tokens = np.einsum("rtd,td->rt", np.concatenate(pulled), np.asarray(operator.x, np.float64))
    values, offsets = (np.asarray(part, np.float64) for part in (selected.y, selected.offset))
    found = recording.branch_contributions(jnp.asarray(rows))
    span = _span(operator, recording)
    split = recording.branch_tokens(rows, span, progress) if by_token else None
    along = None
    if result is not None:
        written = np.asarray(rows, np.float64) @ np.asarray(result.U, np.float64).T
        along = written[..., None] * contributions(result.s, result.V, operator.x)
    biased = bool(found.biases.any())
    splits = tuple(
        Split(
            value=float(values[i]),
            offset=float(offsets[i]),
            tokens=tokens[i],
            embedding=float(found.embedding[i]),
            branches=np.stack([found.heads[i].sum(1) + found.biases[i], found.mlps[i]], axis=1),
            directions=None if along is None else along[i],
            heads=found.heads[i],
            biases=found.biases[i] if biased else None,
            branch_tokens=None if split is None else split.tokens[i],
            branch_offsets=None if split is None else split.offset[i],
            row=rows[i],
            target=names[i] if names else "",
        )
        for i in range(len(rows))
    )
    last = span is None or span[-1] == len(recording.x) - 1
    limit = _ROUNDINGS * operator.unit_roundoff
    sums = [
        Check("sum over tokens", max(map(_tokens_miss, splits)), limit, _MEANING),
        Check("sum over branches", max(map(_branches_miss, splits)), limit, _MEANING),
    ]
    if split is not None:
        missed = max(_both_miss(each, last) for each in splits)
        meaning = "|Σ − what the other split has| / Σ|share|: both splits agree"
        sums.append(Check("sum over both", missed, limit, meaning))
    return Attribution(
        splits=splits,
        checks=(*sums, *check_operator(operator, seed), *prompt_checks(operator.labels)),
        x=operator.x,
        y=operator.y,
        c=operator.offset,
        triplets=result,
        seed=seed,
        labels=operator.labels,
    )


def _span(operator: DetachedJacobian, recording: Branches) -> Sequence[int] | None:
    """The operator's positions in the prompt, None where it has them all."""
    if len(operator.x) == len(recording.x):
        return None
    if operator.labels is None:
        raise JaxlinError("this map has a span and no labels that say which: take it of the recording's map")
    positions: Sequence[int] = operator.labels.positions
    return positions


def _tokens_miss(split: Split) -> float:
    return _miss(np.append(split.tokens, split.offset), float(split.value))


def _branches_miss(split: Split) -> float:
    biases = np.zeros(0) if split.biases is None else np.ravel(split.biases)
    return _miss(np.concatenate([[split.embedding], split.each.ravel(), biases]), float(split.value))


def _both_miss(split: Split, last: bool) -> float:
    """By how much the split over both misses that over branches or that over tokens."""
    both = np.asarray(split.branch_tokens)
    size = float(np.abs(both).sum()) or 1.0
    over_branches = both.sum((0, 1))
    if last:
        over_branches[-1] += float(split.embedding)
    over_tokens = both.sum(-1) + np.asarray(split.branch_offsets)
    missed = np.abs(over_branches - split.tokens).max(), np.abs(over_tokens - split.each).max()
    return float(max(missed) / size)


def _miss(shares: Float[np.ndarray, " n"], value: float) -> float:
    return abs(float(shares.sum()) - value) / (float(np.abs(shares).sum()) or 1.0)
