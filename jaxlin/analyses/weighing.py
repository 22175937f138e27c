"""A map weighed by a metric of its output: the SVD of L·J, and what J itself makes of the vectors found.

Source of the metrics: :meth:`jaxlin.prompts.head.HeadAt.metric`.
"""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.metric import pulled_back
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.results.labels import Labels
from jaxlin.results.svd import SVDResult
from jaxlin.results.tokens import TokensResult


def weighed(
    operator: DetachedJacobian,
    rows: Float[np.ndarray | Array, "r d"] | None,
    metric: str,
    *,
    multiple: int = 1,
) -> DetachedJacobian:
    """L·J for the rows L of a metric, whose labels name it; J itself where there are none.

    Args:
        operator: J.
        rows: L.
        metric: its name.
        multiple: rows of zeros are put behind them up to a multiple of this, or to d, so that prompts whose
            metrics have different ranks share one compilation.

    Raises:
        JaxlinError: rows of another shape than the output's.
    """
    if rows is None:
        return operator
    count, width = rows.shape
    filled = max(count, min(count + -count % multiple, width))
    padded = np.pad(np.asarray(rows), ((0, filled - count), (0, 0)))
    chosen: DetachedJacobian = operator.select(target=jnp.asarray(padded))
    labels: Labels | None = chosen.labels
    if labels is None:
        return chosen
    return replace(chosen, labels=replace(labels, facts={**labels.facts, "metric": metric}))


def images_of(
    operator: DetachedJacobian, v: Float[np.ndarray | Array, "k ..."]
) -> Float[np.ndarray, "k ..."]:
    """J·v of each, from one fresh pass each: of L·J alone nobody knows what L does not see."""
    step = operator.probes_per_pass
    parts = [operator.matmat(jnp.asarray(v[start : start + step])) for start in range(0, len(v), step)]
    return np.asarray(jnp.concatenate(parts), solver_dtype(operator.dtype))


def with_images(result: SVDResult, operator: DetachedJacobian, rows: int | None = None) -> SVDResult:
    """A result of L·J with the hidden states that J makes of its right vectors; k passes.

    Args:
        result: of :func:`weighed`.
        operator: J itself, from the same input positions.
        rows: how many rows L has, where others were put behind them.
    """
    labels: Labels | None = operator.labels
    known = result.labels
    if labels is not None and known is not None:
        labels = replace(labels, facts=known.facts)
    return replace(
        result,
        U=result.U[:, :rows],
        images=images_of(operator, result.V),
        y=operator.y,
        offset=operator.offset,
        labels=labels,
        passes=result.passes + len(result.s),
    )


def with_writings(
    result: TokensResult, rows: Float[np.ndarray, "r d"], operator: DetachedJacobian
) -> TokensResult:
    """The triplets of every token's own L·J_t with what their first left vectors write: L⁺·u·σ.

    That takes no pass. It is the shortest change of the hidden state that the metric takes for J_t·v: what L
    does not see of J_t·v is not in it.

    Args:
        result: of :func:`weighed`.
        rows: L.
        operator: J itself, from the same input positions.
    """
    images = np.asarray(result.s[:, :1], np.float64) * np.asarray(result.U[:, 0], np.float64)
    precision = np.dtype(solver_dtype(operator.dtype))
    labels: Labels | None = operator.labels
    if labels is not None and result.labels is not None:
        labels = replace(labels, facts=result.labels.facts)
    return replace(
        result,
        images=pulled_back(rows, images, precision).astype(precision),
        y=operator.y,
        offset=operator.offset,
        labels=labels,
    )
