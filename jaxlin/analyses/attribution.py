"""The exact split of a logit, or of a difference of two, over what it is the sum of.

Once frozen, ⟨w, y⟩ is linear in the embeddings, so what each token brings is its share and no estimate:
⟨w, y⟩ = Σ_t ⟨J_tᵀw, e_t⟩ + ⟨w, c⟩. It is also linear in what every branch adds to the residual stream at the
last position, which splits it a second way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.analyses.decoding import contributions
from jaxlin.linear.certificate import Check, check_operator
from jaxlin.linear.operator import DetachedJacobian, Leaf
from jaxlin.solvers.result import SVDResult

#: Units of roundoff, and of the sum of all shares' sizes, by which a split may miss what it splits.
_ROUNDINGS = 200.0


@runtime_checkable
class Branches(Protocol):
    """What :class:`jaxlin.prompts.recording.Recording` is to this file."""

    def branch_contributions(
        self, row: Float[Array, " d"]
    ) -> tuple[Float[Array, ""], Float[Array, "layers 2"]]: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Attribution:
    """⟨w, y⟩ split twice, exactly: over input tokens, and over what wrote to the residual stream.

    Attributes:
        value: ⟨w, y⟩, the logit or difference of logits.
        offset: ⟨w, c⟩, which no token brings (0 without biases on the linear path, and without a span).
        tokens: what each input position brings [T]; with the offset they sum to the value.
        embedding: what the last token's own embedding brings through the residual stream.
        branches: what attention and MLP of each layer add [layers, 2]; with the embedding they sum to it too.
        directions: what each position brings along each singular direction [k, T], ⟨w, u⟩·σ⟨v_t, x_t⟩;
            over k they sum to ``tokens`` as far as the directions go. None where no SVD was given.
        checks: that the sums hold, and that the passes are a linear map and its transpose.
    """

    value: Leaf
    offset: Leaf
    tokens: Leaf
    embedding: Leaf
    branches: Leaf
    directions: Leaf
    checks: tuple[Check, ...] = field(metadata={"static": True})

    def __repr__(self) -> str:
        certificate = "holds" if self.holds else "FAILS"
        value = "" if isinstance(self.value, jax.core.Tracer) else f"{self.value:.5g} "
        return f"Attribution({value}over {len(self.tokens)} tokens, certificate {certificate})"

    @property
    def holds(self) -> bool:
        """Whether every check keeps its limit."""
        return all(check.holds for check in self.checks)


def attribute(
    operator: DetachedJacobian,
    recording: Branches,
    row: Float[Array, "1 d"],
    result: SVDResult | None = None,
    *,
    seed: int = 0,
) -> Attribution:
    """Split ⟨row, y⟩ over input tokens and over branches, by one backward pass and one sum.

    Args:
        operator: the prompt's map to the hidden state [d].
        recording: of the same prompt, for the branches.
        row: the target, as :meth:`jaxlin.prompts.model.Model.logit_row` gives it.
        result: of ``operator``, to split its directions as well.
        seed: of the checks' probes.

    Raises:
        JaxlinError: a row of another shape.
    """
    target = operator.select(target=row)
    pulled = np.asarray(target.rmatvec(jnp.ones(1)), np.float64)
    tokens = (pulled * np.asarray(operator.x, np.float64)).sum(-1)
    value, offset = float(target.y[0]), float(target.offset[0])
    embedding, branches = recording.branch_contributions(row[0])
    split = np.asarray(branches, np.float64)
    directions = None
    if result is not None:
        along = np.asarray(result.U, np.float64) @ np.asarray(row[0], np.float64)
        directions = along[:, None] * contributions(result.s, result.V, operator.x)
    limit = _ROUNDINGS * operator.unit_roundoff
    sums = (
        _sum_check("tokens", [*tokens, offset], value, limit),
        _sum_check("branches", [float(embedding), *split.ravel()], value, limit),
    )
    checks = (*sums, *check_operator(operator, seed))
    return Attribution(value, offset, tokens, float(embedding), split, directions, checks)


def _sum_check(name: str, shares: list[float], value: float, limit: float) -> Check:
    size = float(np.abs(shares).sum()) or 1.0
    return Check(
        f"sum over {name}", abs(float(np.sum(shares)) - value) / size, limit, "|Σ − value| / Σ|share|"
    )
