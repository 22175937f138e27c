"""The result of a decomposition by depth: one SVD for every part at every layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float
from rich.console import RenderableType

from jaxlin.linear.certificate import Certificate
from jaxlin.linear.operator import DetachedJacobian, Leaf
from jaxlin.linear.vectors import overlaps
from jaxlin.results.about import About
from jaxlin.results.base import Result, keep_order
from jaxlin.results.calls import given
from jaxlin.results.directions import read_outputs
from jaxlin.results.labels import Labels
from jaxlin.results.layer import PARTS, LayerFigures, LayerSVD, Outputs
from jaxlin.results.layers_views import pictures_of, table_of
from jaxlin.results.metric import HIDDEN
from jaxlin.results.page.layers import view_of
from jaxlin.results.page.pieces import View
from jaxlin.results.pictures import Picture
from jaxlin.results.saved import map_arrays, saved_about, saved_labels, shape_of
from jaxlin.results.schema import Schema, Tensor, of_map
from jaxlin.results.triplets import output_entries, repeated_triplets, triplet_entries, triplet_rows


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LayersResult(Result):
    """Every part asked for, at every layer asked for.

    Attributes:
        layers: their numbers.
        parts: part -> one SVD for each of ``layers``, in order.
        normed: whether outputs went through the final norm.
        seed: seed of every random vector that was drawn.
        x: the embeddings [T, d] of the prompt; None where nobody kept them, like what follows.
        y: the output of the whole map [d].
        offset: its c of y = J·x + c [d].
        labels: the tokens of the prompt, and what reads vectors.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "layers"
    entries: ClassVar[Mapping[str, Any]] = {
        "layers": tuple[int, ...],
        "normed": bool,
        "seed": int,
        "parts": dict[str, tuple[LayerFigures, ...]],
    }

    layers: tuple[int, ...] = field(metadata={"static": True})
    parts: Mapping[str, tuple[LayerSVD, ...]]
    normed: bool = field(metadata={"static": True})
    seed: int = field(default=0, metadata={"static": True})
    x: Leaf = None
    y: Leaf = None
    offset: Leaf = None
    labels: Labels | None = field(default=None, metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __post_init__(self) -> None:
        keep_order(self, "parts")

    def __repr__(self) -> str:
        certificates = "hold" if self.holds else "FAIL"
        return (
            f"LayersResult({', '.join(self.parts)} at {len(self.layers)} layers, certificates {certificates})"
        )

    @property
    def holds(self) -> bool:
        """Whether every certificate holds."""
        return all(layer.certificate.holds for part in self.parts.values() for layer in part)

    @property
    def path(self) -> Float[np.ndarray, "layers k k"] | None:
        """⟨u_i of a layer, u_j of the last⟩ of cumulative maps: how left vectors turn into the last ones."""
        part = self.parts.get("cumulative")
        return None if part is None else np.stack([overlaps(layer.U, part[-1].U) for layer in part])

    @cached_property
    def outputs(self) -> Mapping[str, tuple[Outputs, ...]]:
        """Part -> layer -> direction -> the tokens that it writes most, read when first asked for."""
        return {
            name: tuple(
                read_outputs(layer.written, self.labels, normed=self.normed)
                if layer.decoded is None
                else layer.decoded
                for layer in part
            )
            for name, part in self.parts.items()
        }

    @property
    def stable_ranks(self) -> dict[str, list[float]]:
        """Part -> the stable rank of each layer."""
        return {name: [layer.dimensions.stable_rank for layer in part] for name, part in self.parts.items()}

    @property
    def certificates(self) -> list[tuple[str, Certificate]]:
        """Every certificate, under the name of its map."""
        return [
            (f"{name}, layer {number}", layer.certificate)
            for name, part in self.parts.items()
            for number, layer in zip(self.layers, part, strict=True)
        ]

    def of_map(self, operator: DetachedJacobian) -> LayersResult:
        """The same with the point, output and tokens of the prompt's whole map."""
        return replace(self, x=operator.x, y=operator.y, offset=operator.offset, labels=operator.labels)

    def arrays(self) -> dict[str, Any]:
        arrays = map_arrays(self.x, self.y, self.offset, self.labels)
        arrays["layers"] = np.asarray(self.layers, np.int64)
        for name, part in self.parts.items():
            arrays |= {
                f"{name}_{array}": np.stack([getattr(layer, array) for layer in part])
                for array in self._arrays_of(part[0])
            }
        return arrays if self.path is None else arrays | {"cumulative_path": self.path}

    @staticmethod
    def _arrays_of(layer: LayerSVD) -> tuple[str, ...]:
        """The names of its tensors."""
        return (*LayerSVD.ARRAYS, *([] if layer.images is None else ["images"]))

    def figures(self) -> dict[str, Any]:
        most = max(len(layer.s) for part in self.parts.values() for layer in part)
        return {
            "seed": self.seed,
            **shape_of(self.x, self.y),
            "k": self.about.get("k", most),
            "normed": self.normed,
            "layers": self.layers,
        }

    def details(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "parts": {
                name: [
                    {
                        "layer": number,
                        "method": layer.method,
                        "passes_of_the_part": layer.passes,
                        **asdict(layer.dimensions),
                        "certificate": layer.certificate,
                        "triplets": triplet_entries(layer.s, layer.residuals, output_entries(outputs)),
                    }
                    for number, layer, outputs in zip(self.layers, part, self.outputs[name], strict=True)
                ]
                for name, part in self.parts.items()
            },
        }

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        tensors, sizes = of_map(summary)
        tensors["layers"] = Tensor("L", "i")
        if "T" in sizes and "shape" in summary:
            sizes["d"] = summary["shape"][1] // sizes["T"]
        sizes |= {"L": len(summary["layers"])}
        if not summary["parts"] or not summary["parts"].keys() <= PARTS.keys():
            raise ValueError(f"its parts are not some of {', '.join(PARTS)}")
        for name, entries in summary["parts"].items():
            if [entry["layer"] for entry in entries] != summary["layers"]:
                raise ValueError(f"its layers and those of {name} are not the same")
            k, t = f"k_{name}", f"t_{name}"
            shapes = {"s": k, "U": f"{k} d_{name}", "residuals": k, "weights": f"{k} {t}"}
            shapes |= {"contributions": f"{k} {t}", "output": f"d_{name}"}
            if summary.get("metric", HIDDEN) != HIDDEN:
                shapes |= {"U": f"{k} r_{name}", "images": f"{k} d_{name}"}
            tensors |= {f"{name}_{array}": Tensor(f"L {shape}") for array, shape in shapes.items()}
            if name == "cumulative":
                tensors["cumulative_path"] = Tensor(f"L {k} {k}")
            counts = {len(entry["triplets"]) for entry in entries}
            if len(counts) != 1:
                raise ValueError(f"its layers of {name} have different numbers of triplets")
            sizes[k] = counts.pop()
        return Schema(tensors, sizes)

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        yield "layers", summary["layers"], arrays["layers"]
        for name, entries in summary["parts"].items():
            for i, entry in enumerate(entries):
                own = {f"{name}_{array}": arrays[f"{name}_{array}"][i] for array in ("s", "residuals")}
                yield from repeated_triplets(own, entry["triplets"], f"{name}_")

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> LayersResult:
        labels, parts = saved_labels(arrays, summary), {}
        for name, entries in summary["parts"].items():
            parts[name] = tuple(
                LayerSVD.from_saved(
                    {
                        array: arrays[f"{name}_{array}"][i]
                        for array in (*LayerSVD.ARRAYS, "images")
                        if f"{name}_{array}" in arrays
                    },
                    entry,
                )
                for i, entry in enumerate(entries)
            )
        return cls(
            layers=tuple(summary["layers"]),
            parts=parts,
            normed=summary["normed"],
            seed=summary["seed"],
            x=arrays.get("embeddings"),
            y=arrays.get("output"),
            offset=arrays.get("offset"),
            labels=labels,
            about=saved_about(summary, ("holds", "parts"), labels),
        )

    def table(self) -> RenderableType:
        """The certificates in one panel, then a table for each part."""
        return table_of(self)

    def pictures(self) -> list[Picture]:
        return pictures_of(self)

    def shown(self) -> View:
        return view_of(self)

    def call(self) -> dict[str, Any]:
        noted = given(
            {**self.about.entries, "metric": self.entry("metric")}, metric=HIDDEN, method="auto", tol=None
        )
        raw = {} if self.normed else {"raw": True}
        k = self.figures()["k"]
        return {"k": k, "parts": list(self.parts), "layers": list(self.layers), **raw, **noted}

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"part": name, "layer": number, "stable_rank": layer.dimensions.stable_rank, **row}
            for name, part in self.parts.items()
            for number, layer, outputs in zip(self.layers, part, self.outputs[name], strict=True)
            for row in triplet_rows(layer.s, layer.residuals, outputs)
        ]
