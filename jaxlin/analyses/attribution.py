"""The exact split of a logit, or of a difference of two, over what it is the sum of.

Once frozen, ⟨w, y⟩ is linear in the embeddings, so what each token contributes is exact and no estimate:
⟨w, y⟩ = Σ_t ⟨J_tᵀw, e_t⟩ + ⟨w, c⟩. It is also linear in what every branch adds to the residual stream at the
last position, which splits it a second way.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.certificate import Check, check_operator
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.vectors import contributions
from jaxlin.results.attribute import Attribution
from jaxlin.results.labels import prompt_checks
from jaxlin.results.svd import SVDResult

#: Units of roundoff, and of the sum of all shares' sizes, by which a split may miss what it splits.
_ROUNDINGS = 200.0


@runtime_checkable
class Branches(Protocol):
    """What :class:`jaxlin.prompts.recording.Recording` is to this file."""

    def branch_contributions(
        self, row: Float[Array, " d"]
    ) -> tuple[Float[Array, ""], Float[Array, "layers 2"]]: ...


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
    checks = (*sums, *check_operator(operator, seed), *prompt_checks(operator.labels))
    return Attribution(
        value=value,
        offset=offset,
        tokens=tokens,
        embedding=float(embedding),
        branches=split,
        directions=directions,
        checks=checks,
        row=row[0],
        x=operator.x,
        y=operator.y,
        c=operator.offset,
        triplets=result,
        seed=seed,
        labels=operator.labels,
    )


def _sum_check(name: str, shares: list[float], value: float, limit: float) -> Check:
    size = float(np.abs(shares).sum()) or 1.0
    return Check(
        f"sum over {name}", abs(float(np.sum(shares)) - value) / size, limit, "|Σ − value| / Σ|share|"
    )
