"""The map by depth: every layer and module of one recorded prompt, the top of each map's SVD.

Sees a model through its operators alone. Source of the analyses: arXiv:2505.24293, §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.analyses.weighing import images_of
from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.vectors import block_norms, contributions
from jaxlin.results.layer import PARTS, LayerSVD
from jaxlin.results.layers import LayersResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.spectrum import dimensions
from jaxlin.solvers.svd import svd

#: Outputs up to which the passes for the whole spectrum are about those of an iterative method.
_FEW = 512


@runtime_checkable
class Layered(Protocol):
    """What :class:`jaxlin.prompts.recording.Recording` is to this file."""

    @property
    def num_layers(self) -> int: ...

    def stretch(self, first: int, last: int, *, normed: bool = True) -> DetachedJacobian: ...

    def module(self, layer: int, which: str, *, normed: bool = True) -> DetachedJacobian: ...


def layers(
    recording: Layered,
    k: int = 8,
    *,
    parts: Sequence[str] = tuple(PARTS),
    at: Sequence[int] | None = None,
    normed: bool = True,
    span: Sequence[int] | np.ndarray | None = None,
    metric: Float[np.ndarray | Array, "r d"] | None = None,
    method: str = "auto",
    tolerance: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> LayersResult:
    """Top-k SVD, effective dimensions and certificate of every part at every layer.

    Args:
        recording: ``model.record(prompt)``; its coefficients serve all parts.
        k: how many triplets of each map, fewer where there are fewer.
        parts: some of :data:`PARTS`.
        at: numbers of layers, rising; all if not given.
        normed: whether the final norm is applied to every output, as the paper does.
        span: input positions, all if not given; has no meaning for MLPs, which see the last one alone.
        metric: rows L by which every output is weighed, the same at every layer, so that all are measured by
            what they would do to one prediction; see :meth:`jaxlin.prompts.head.HeadAt.metric`.
        method: as in :func:`jaxlin.solvers`; ``auto`` takes every singular value where there are few, so that
            effective dimensions are exact.
        tolerance, seed: as there.
        progress: told which layer it is at.

    Raises:
        JaxlinError: an unknown part, no part, layers that do not exist, and as :func:`jaxlin.solvers`.
    """
    check_parts(parts)
    chosen = tuple(range(recording.num_layers) if at is None else at)
    if (
        not chosen
        or list(chosen) != sorted(set(chosen))
        or not 0 <= chosen[0] <= chosen[-1] < recording.num_layers
    ):
        raise JaxlinError(
            f"layers {list(chosen)} are not in order or not there: "
            f"choose from 0 to {recording.num_layers - 1}"
        )
    results: dict[str, tuple[LayerSVD, ...]] = {}
    for part in dict.fromkeys(parts):
        svds = []
        for number, layer in enumerate(chosen):
            progress(part, number, len(chosen), f"layer {layer}")
            operator = part_of(recording, part, layer, normed=normed)
            if span is not None and part != "mlp":
                operator = operator.select(span)
            svds.append(_decompose(operator, k, metric, method, tolerance, seed))
        progress(part, len(chosen), len(chosen), f"{sum(layer.passes for layer in svds)} passes")
        results[part] = tuple(svds)
    return LayersResult(chosen, results, normed, seed)


def check_parts(parts: Sequence[str]) -> None:
    """:class:`JaxlinError` if any of these is none of :data:`PARTS`, or there are none."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        what = f"unknown part {shortened(unknown[0])!r}" if unknown else "no part is asked for"
        raise JaxlinError(f"{what}: choose from {', '.join(PARTS)}")


def part_of(recording: Layered, part: str, layer: int, *, normed: bool = True) -> DetachedJacobian:
    """The map of one of :data:`PARTS` at a layer."""
    last = recording.num_layers - 1
    stretches = {"cumulative": (0, layer), "block": (layer, layer), "rest": (layer, last)}
    if part in stretches:
        return recording.stretch(*stretches[part], normed=normed)
    return recording.module(layer, part, normed=normed)


def network_share(part: str, layer: int, layers: int) -> float:
    """How much of the whole network one pass of a part goes through; of a module, at most so much."""
    through = {"cumulative": layer + 1, "rest": layers - layer}.get(part, 1)
    return through / layers


def takes_all_values(method: str, outputs: int) -> bool:
    """Whether every singular value of a map with so many outputs is taken, by all of its rows."""
    return method == "auto" and outputs <= _FEW


def _decompose(
    whole: DetachedJacobian,
    k: int,
    metric: Float[np.ndarray | Array, "r d"] | None,
    method: str,
    tolerance: float | None,
    seed: int,
) -> LayerSVD:
    operator = whole if metric is None else whole.select(target=jnp.asarray(metric))
    k = min(k, *operator.shape)
    if takes_all_values(method, operator.shape[0]):
        method = "gram"
    result = svd(operator, k, method=method, tolerance=tolerance, seed=seed)
    return LayerSVD(
        U=np.asarray(result.U),
        s=np.asarray(result.s),
        residuals=np.asarray(result.residuals),
        weights=block_norms(result.V),
        contributions=contributions(result.s, result.V, operator.x),
        output=np.asarray(whole.y),
        images=None if metric is None else images_of(whole, result.V),
        dimensions=dimensions(result),
        certificate=result.certificate,
        passes=result.passes + (0 if metric is None else k),
        method=result.method,
    )
