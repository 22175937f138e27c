"""The map taken apart by depth: every layer and module of one recorded prompt, the top of each map's SVD.

Sees a model through its operators alone. Source of the analyses: arXiv:2505.24293, §4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from jaxlin.analyses.decoding import block_norms, contributions
from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import Certificate
from jaxlin.linear.operator import DetachedJacobian, Leaf
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.spectrum import Dimensions, dimensions, overlaps
from jaxlin.solvers.svd import svd

#: What can be looked at in every layer: from the embeddings through it; it alone; from before it to the end;
#: and its two branches.
PARTS: Mapping[str, str] = {
    "cumulative": "embeddings → after the layer",
    "block": "before the layer → after it",
    "rest": "before the layer → after the last",
    "attention": "before the layer → what its attention adds",
    "mlp": "before its MLP → what the MLP adds, last position alone",
}


#: Outputs up to which the passes for the whole spectrum are about those of an iterative method.
_FEW = 512


@runtime_checkable
class Layered(Protocol):
    """What :class:`jaxlin.prompts.recording.Recording` is to this file."""

    @property
    def num_layers(self) -> int: ...

    def stretch(self, first: int, last: int, *, normed: bool = True) -> DetachedJacobian: ...

    def module(self, layer: int, which: str, *, normed: bool = True) -> DetachedJacobian: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LayerSVD:
    """The top k of one part at one layer. The right vectors themselves are not kept.

    Attributes:
        U: left vectors [k, d]; signs such that ⟨u, y⟩ ≥ 0 for this part's own output y.
        s: singular values [k].
        residuals: of each triplet [k], absolute.
        weights: norms of the right vectors' blocks, by input position [k, t].
        contributions: σ⟨v_t, x_t⟩ [k, t]; over t they sum to ⟨u, y − c⟩.
        output: y [d].
        dimensions: stable rank and the like.
        certificate: of this SVD.
        passes: of this part, not of the whole network.
        method: by which it was found.
    """

    U: Leaf
    s: Leaf
    residuals: Leaf
    weights: Leaf
    contributions: Leaf
    output: Leaf
    dimensions: Dimensions = field(metadata={"static": True})
    certificate: Certificate = field(metadata={"static": True})
    passes: int = field(metadata={"static": True})
    method: str = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LayersResult:
    """Every part asked for, at every layer asked for.

    Attributes:
        layers: their numbers.
        parts: part -> one SVD for each of ``layers``.
        normed: whether outputs went through the final norm.
    """

    layers: tuple[int, ...] = field(metadata={"static": True})
    parts: Mapping[str, tuple[LayerSVD, ...]]
    normed: bool = field(metadata={"static": True})

    def __repr__(self) -> str:
        certificates = "hold" if self.holds else "FAIL"
        return (
            f"LayersResult({', '.join(self.parts)} at {len(self.layers)} layers, certificates {certificates})"
        )

    @property
    def holds(self) -> bool:
        """Whether every certificate holds."""
        return all(one.certificate.holds for found in self.parts.values() for one in found)

    @property
    def path(self) -> Float[np.ndarray, "layers k k"] | None:
        """⟨u_i of a layer, u_j of the last⟩ of cumulative maps: how left vectors turn into the last ones."""
        found = self.parts.get("cumulative")
        return None if found is None else np.stack([overlaps(one.U, found[-1].U) for one in found])


def layers(
    recording: Layered,
    k: int = 8,
    *,
    parts: Sequence[str] = tuple(PARTS),
    at: Sequence[int] | None = None,
    normed: bool = True,
    span: Sequence[int] | np.ndarray | None = None,
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
        method: as in :func:`jaxlin.solvers`; ``auto`` takes every singular value where there are few, so that
            effective dimensions are exact.
        tolerance, seed: as there.
        progress: told which layer is being taken apart.

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
    found: dict[str, tuple[LayerSVD, ...]] = {}
    for part in dict.fromkeys(parts):
        each = []
        for number, layer in enumerate(chosen):
            progress(part, number, len(chosen), f"layer {layer}")
            operator = part_of(recording, part, layer, normed=normed)
            if span is not None and part != "mlp":
                operator = operator.select(span)
            each.append(_take_apart(operator, min(k, *operator.shape), method, tolerance, seed))
        progress(part, len(chosen), len(chosen), f"{sum(one.passes for one in each)} passes")
        found[part] = tuple(each)
    return LayersResult(chosen, found, normed)


def check_parts(parts: Sequence[str]) -> None:
    """:class:`JaxlinError` if any of these is none of :data:`PARTS`, or there are none."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        what = f"unknown part {unknown[0]!r}" if unknown else "no part is asked for"
        raise JaxlinError(f"{what}: choose from {', '.join(PARTS)}")


def part_of(recording: Layered, part: str, layer: int, *, normed: bool = True) -> DetachedJacobian:
    """The map of one of :data:`PARTS` at a layer."""
    last = recording.num_layers - 1
    stretches = {"cumulative": (0, layer), "block": (layer, layer), "rest": (layer, last)}
    if part in stretches:
        return recording.stretch(*stretches[part], normed=normed)
    return recording.module(layer, part, normed=normed)


def _take_apart(
    operator: DetachedJacobian, k: int, method: str, tolerance: float | None, seed: int
) -> LayerSVD:
    if method == "auto" and operator.shape[0] <= _FEW:
        method = "gram"
    result = svd(operator, k, method=method, tolerance=tolerance, seed=seed)
    return LayerSVD(
        U=np.asarray(result.U),
        s=np.asarray(result.s),
        residuals=np.asarray(result.residuals),
        weights=block_norms(result.V),
        contributions=contributions(result.s, result.V, operator.x),
        output=np.asarray(operator.y),
        dimensions=dimensions(result),
        certificate=result.certificate,
        passes=result.passes,
        method=result.method,
    )
