"""The results of comparisons: policies of one model by their maps, or several models layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float
from rich.console import Group, RenderableType
from rich.table import Table

from jaxlin.linear.certificate import Certificate
from jaxlin.linear.operator import Leaf
from jaxlin.results.about import About
from jaxlin.results.base import Result, keep_order
from jaxlin.results.calls import python_calls
from jaxlin.results.dimensions import Dimensions
from jaxlin.results.labels import Labels
from jaxlin.results.output_pictures import reconstruction
from jaxlin.results.page.pieces import DIRECTIONS, View, card, chart, line, table, words
from jaxlin.results.pictures import Picture, lines
from jaxlin.results.plain import restored
from jaxlin.results.saved import map_arrays, saved_about, saved_labels, shape_of
from jaxlin.results.schema import Schema, Tensor, of_map
from jaxlin.results.svd import SVDResult
from jaxlin.results.tables import (
    Line,
    certificate_lines,
    new_table,
    panel,
    spell,
    spell_map,
    verdict,
)
from jaxlin.results.triplets import (
    Cost,
    Decoded,
    cost_entries,
    output_entries,
    repeated_triplets,
    triplet_entries,
    triplet_rows,
    triplet_tensors,
)

#: Directions and tokens in a table; all of them are in the files.
_DIRECTIONS, _WORDS = 4, 5
_SIDES = ("left_angles", "right_angles")


@dataclass(frozen=True)
class SideFigures(Dimensions, Cost):
    """What a summary says of one map."""

    reconstruction: float
    certificate: Certificate
    triplets: tuple[Decoded, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Side:
    """One of the maps that are compared.

    Attributes:
        result: its top k.
        dimensions: its stable rank and the like.
        reconstruction: ‖J·x + c − y‖ / ‖y‖, with the c that biases make and none fitted to y: how much of the
            output is this map's.
        reconstructed: J·x + c itself, flat [m].
        left_angles: principal angles of its left vectors' span to that of the first map [k], in radians.
        right_angles: those of its right vectors.
    """

    result: SVDResult
    dimensions: Dimensions = field(metadata={"static": True})
    reconstruction: float = field(metadata={"static": True})
    reconstructed: Leaf
    left_angles: Leaf
    right_angles: Leaf


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """Maps of one prompt under several freeze policies; angles are to the first.

    Attributes:
        policies: policy -> its map, in order.
        x: the embeddings [T, d] they were taken at; None where nobody kept them, like what follows.
        y: the output [d].
        offset: c of the first map [d].
        seed: seed of every random vector that was drawn.
        labels: the tokens of the prompt, and what reads vectors.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "compare"
    entries: ClassVar[Mapping[str, Any]] = {"seed": int, "maps": dict[str, SideFigures]}

    policies: Mapping[str, Side]
    x: Leaf = None
    y: Leaf = None
    offset: Leaf = None
    seed: int = field(default=0, metadata={"static": True})
    labels: Labels | None = field(default=None, metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __post_init__(self) -> None:
        keep_order(self, "policies")

    def __repr__(self) -> str:
        certificates = "hold" if self.holds else "FAIL"
        return f"Comparison({', '.join(self.policies)}, certificates {certificates})"

    @property
    def holds(self) -> bool:
        """Whether every certificate holds."""
        return all(side.result.holds for side in self.policies.values())

    @property
    def k(self) -> int:
        """How many triplets of each map there are."""
        return len(next(iter(self.policies.values())).result.s)

    def arrays(self) -> dict[str, Any]:
        arrays = map_arrays(self.x, self.y, self.offset, self.labels)
        for name, side in self.policies.items():
            own = {array: getattr(side.result, array) for array in ("U", "s", "V", "residuals")}
            own |= {array: getattr(side, array) for array in (*_SIDES, "reconstructed")}
            own |= {} if side.result.spectrum is None else {"spectrum": side.result.spectrum}
            arrays |= {f"{name}_{array}": values for array, values in own.items()}
        return arrays

    def figures(self) -> dict[str, Any]:
        return {"seed": self.seed, **shape_of(self.x, self.y), "k": self.k}

    def head(self) -> dict[str, Any]:
        """The short entries of its summary; ``policy`` are all of them."""
        return {**super().head(), "policy": list(self.policies)}

    def details(self) -> dict[str, Any]:
        return {
            "maps": {
                name: {
                    "reconstruction": side.reconstruction,
                    **asdict(side.dimensions),
                    **{angles: getattr(side, angles) for angles in _SIDES},
                    **cost_entries(side.result),
                    "certificate": side.result.certificate,
                    "triplets": triplet_entries(
                        side.result.s, side.result.residuals, output_entries(side.result.outputs)
                    ),
                }
                for name, side in self.policies.items()
            }
        }

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        tensors, sizes = of_map(summary)
        if not summary["maps"]:
            raise ValueError("it has no maps")
        place = "T d" if "token_texts" in summary else "*in"
        for name, entry in summary["maps"].items():
            tensors |= triplet_tensors(v=place, prefix=f"{name}_")
            tensors |= {f"{name}_{angles}": Tensor("k") for angles in _SIDES}
            tensors[f"{name}_reconstructed"] = Tensor("m")
            if sizes.setdefault("k", len(entry["triplets"])) != len(entry["triplets"]):
                raise ValueError("its maps have different numbers of triplets")
        return Schema(tensors, sizes)

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        for name, entry in summary["maps"].items():
            yield from repeated_triplets(arrays, entry["triplets"], f"{name}_")

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> Comparison:
        labels, seed = saved_labels(arrays, summary), summary["seed"]
        policies = {}
        for name, entry in summary["maps"].items():
            policies[name] = Side(
                SVDResult.from_part(arrays, entry, seed, labels, f"{name}_"),
                restored(Dimensions, entry),
                restored(float, entry["reconstruction"]),
                **{array: arrays[f"{name}_{array}"] for array in ("reconstructed", *_SIDES)},
            )
        return cls(
            policies,
            x=arrays.get("embeddings"),
            y=arrays.get("output"),
            offset=arrays.get("offset"),
            seed=seed,
            labels=labels,
            about=saved_about(summary, ("maps",), labels),
        )

    def table(self) -> RenderableType:
        held = [
            Line(name, f"{verdict(svd.certificate)}, worst residual {svd.certificate.worst_residual:.1e}·σ₁, "
                 f"{svd.passes} passes", svd.holds)
            for name, svd in self._results.items()
        ]  # fmt: skip
        made = new_table(None, "", *self.policies)
        for row in self._figures():
            made.add_row(*row)
        directions = _side_by_side("left vectors write", list(self.policies))
        for i in range(min(_DIRECTIONS, self.k)):
            directions.add_row(str(i + 1), *(spell(svd.outputs[i], _WORDS) for svd in self._results.values()))
        return Group(
            panel(held, "holds" if self.holds else "FAILS", spell_map(self.summary())), made, directions
        )

    @property
    def _results(self) -> dict[str, SVDResult]:
        return {name: side.result for name, side in self.policies.items()}

    def _figures(self) -> list[list[str]]:
        """What stands side by side: a name, then a figure of each map."""
        first = next(iter(self.policies))
        figures: dict[str, Callable[[Side], str]] = {
            "‖J·x + c − y‖ / ‖y‖": lambda side: f"{side.reconstruction:.1e}",
            "σ₁": lambda side: f"{float(side.result.s[0]):.4g}",
            "stable rank": lambda side: f"{side.dimensions.stable_rank:.2f}",
            "captured energy": lambda side: f"{side.result.certificate.energy.captured:.1%}",
            f"left angles to {first}: least, median, largest": lambda side: _spread(side.left_angles),
            f"right angles to {first}: least, median, largest": lambda side: _spread(side.right_angles),
        }
        return [[name, *map(figure, self.policies.values())] for name, figure in figures.items()]

    def shown(self) -> View:
        rows = [
            [str(i + 1), *(words(svd.outputs[i], _WORDS) for svd in self._results.values())]
            for i in range(min(DIRECTIONS, self.k))
        ]
        series = [line(name, svd.s, svd.residuals) for name, svd in self._results.items()]
        return {
            "charts": [chart("Spectra", "number", series, log=True)],
            "tables": [
                table("The maps", ["", *self.policies], self._figures()),
                table("Left vectors write", ["#", *self.policies], rows),
            ],
            "cards": [
                card(f"{name}: certificate", svd.holds, certificate_lines(svd.certificate))
                for name, svd in self._results.items()
            ],
        }

    def pictures(self) -> list[Picture]:
        k, first = np.arange(1, self.k + 1), next(iter(self.policies))
        values = {name: svd.s for name, svd in self._results.items()}
        degrees = {
            f"{name}, {angles.removesuffix('_angles')}": np.degrees(getattr(side, angles))
            for name, side in self.policies.items()
            for angles in _SIDES
            if name != first
        }
        number = "number of the direction"
        pictures = [
            lines("spectra", k, values, "σ", log=True, across=number),
            lines("angles", k, degrees, f"principal angle to {first} [°]", across="number of the angle"),
        ]
        if self.y is None:
            return pictures
        rebuilt = {name: side.reconstructed for name, side in self.policies.items()}
        return [reconstruction(rebuilt, np.ravel(self.y)), *pictures]

    def call(self) -> dict[str, Any]:
        tolerance = next(iter(self._results.values())).certificate.tolerance
        return {"policies": list(self.policies), "k": self.k, "tol": tolerance}

    def python(self) -> str:
        """The calls that make it again, with ``prompt`` left open."""
        summary = {name: entry for name, entry in self.head().items() if name != "policy"}
        return python_calls(summary, self.call(), "jaxlin.compare", "model")

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"policy": name, "stable_rank": side.dimensions.stable_rank, **row}
            for name, side in self.policies.items()
            for row in triplet_rows(
                side.result.s,
                side.result.residuals,
                side.result.outputs,
                **{angles.removesuffix("s"): getattr(side, angles) for angles in _SIDES},
            )
        ]


def _spread(angles: Float[Array | np.ndarray, " k"]) -> str:
    if angles.max() < math.radians(0.05):
        return "0°"
    return " ".join(
        f"{math.degrees(angle):.0f}°" for angle in (angles.min(), np.median(angles), angles.max())
    )


def _side_by_side(title: str, names: list[str]) -> Table:
    """A table of words with a column for each map."""
    made = new_table(title, "#", show_lines=True)
    for name in names:
        made.add_column(name, ratio=1)
    return made
