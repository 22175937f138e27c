"""One layer of a decomposition by depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import numpy as np

from jaxlin.linear.certificate import Certificate
from jaxlin.linear.operator import Leaf
from jaxlin.results.dimensions import Dimensions
from jaxlin.results.labels import TokenScore
from jaxlin.results.plain import restored
from jaxlin.results.triplets import Decoded, saved_outputs

#: What can be looked at in every layer: from the embeddings through it; it alone; from before it to the end;
#: and its two branches.
PARTS: Mapping[str, str] = {
    "cumulative": "embeddings → after the layer",
    "block": "before the layer → after it",
    "rest": "before the layer → after the last",
    "attention": "before the layer → what its attention adds",
    "mlp": "before its MLP → what the MLP adds, last position alone",
}
Outputs = tuple[tuple[TokenScore, ...], ...]


@dataclass(frozen=True)
class LayerFigures(Dimensions):
    """What a summary says of one layer."""

    layer: int
    method: str
    passes_of_the_part: int
    certificate: Certificate
    triplets: tuple[Decoded, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LayerSVD:
    """The top k of one part at one layer. The right vectors themselves are not kept.

    Attributes:
        U: left vectors [k, d]; signs such that ⟨u, y⟩ ≥ 0 for this part's own output y. In a metric L they
            are those of L·J, and have its rows.
        s: singular values [k].
        residuals: of each triplet [k], absolute.
        weights: norms of the right vectors' blocks, by input position [k, t].
        contributions: σ⟨v_t, x_t⟩ [k, t]; over t they sum to ⟨u, y − c⟩.
        output: y [d].
        dimensions: stable rank and the like.
        certificate: of this SVD.
        passes: of this part, not of the whole network.
        method: by which it was computed.
        images: J·v of each right vector [k, d], where that is not σ·u.
        decoded: what each left vector writes, where it was read already; see :attr:`LayersResult.outputs`.
    """

    #: Names of its tensors on disk, where layers are stacked.
    ARRAYS: ClassVar[tuple[str, ...]] = ("s", "U", "residuals", "weights", "contributions", "output")

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
    images: Leaf = None
    decoded: Outputs | None = field(default=None, metadata={"static": True})

    @property
    def written(self) -> Leaf:
        """What is read as tokens [k, d]: left vectors, or in a metric the images."""
        return self.U if self.images is None else self.images

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], entry: Mapping[str, Any]) -> LayerSVD:
        """One layer of a saved result, from its own tensors and entry."""
        return cls(
            **arrays,
            dimensions=restored(Dimensions, entry),
            certificate=restored(Certificate, entry["certificate"]),
            passes=entry["passes_of_the_part"],
            method=entry["method"],
            decoded=tuple(direction.outputs for direction in saved_outputs(entry["triplets"])),
        )
