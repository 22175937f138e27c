"""The result of ``contributions``: for every point its exact map, and what each feature contributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from rich.console import Group, RenderableType

from jaxlin.linear.certificate import Check
from jaxlin.linear.vectors import quietly
from jaxlin.results.about import About
from jaxlin.results.base import Result
from jaxlin.results.frames import pandas_module
from jaxlin.results.page.pieces import View, bars, card, table
from jaxlin.results.pictures import Picture
from jaxlin.results.point_pictures import bars_of_features
from jaxlin.results.schema import Schema, Tensor
from jaxlin.results.tables import Line, check_line, new_table, panel, verdict_of

if TYPE_CHECKING:
    import pandas

#: An array, or whatever JAX puts in its place while it rebuilds a pytree.
Leaf = Any
#: Outputs and features that a table or a picture names; all of them are in the files.
_OUTPUTS, _FEATURES = 12, 6
#: Bars of one output in the report.
_BARS = 12
_NAMES = ("x", "y", "offset", "J", "reconstruction", "adjoint")


def holding(
    reconstruction: Float[np.ndarray, " N"], adjoint: Float[np.ndarray, " N"], limit: float
) -> Bool[np.ndarray, " N"]:
    """Whether the certificate of each point holds; NaN never does."""
    holds: np.ndarray = (reconstruction <= limit) & (adjoint <= limit)
    return holds


def worst(
    reconstruction: Float[np.ndarray, " N"], adjoint: Float[np.ndarray, " N"], limit: float
) -> tuple[Check, ...]:
    """The worst point of each check."""
    return (
        Check(
            "reconstruction",
            float(np.max(reconstruction)),
            limit,
            "‖J·x + c − y‖ / (‖J‖·‖x‖ + ‖c‖ + ‖y‖) of the worst point",
        ),
        Check(
            "adjoint",
            float(np.max(adjoint)),
            limit,
            "‖J·v + c − F(v)‖ / (‖J‖·‖v‖ + ‖c‖ + ‖F(v)‖) of the worst point, v random, F the path forwards",
        ),
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PointContributions(Result):
    """What every feature of every point contributes to every output: y_n = J_n·x_n + c_n.

    Attributes:
        x: the points [N, *input_shape].
        y: the outputs [N, *output_shape].
        offset: c_n [N, *output_shape], computed without y.
        J: the maps [N, *output_shape, *input_shape].
        reconstruction: ‖J·x + c − y‖ of each point, as a fraction of ‖J‖·‖x‖ + ‖c‖ + ‖y‖ [N].
        adjoint: ‖J·v + c − F(v)‖ of each point at a random v, by the path forwards F, likewise [N].
        limit: what both may be.
        features: names of the features, in the order of a flat input.
        outputs: names of the outputs, in the order of a flat output.
        points: names of the points.
        method: how the maps were computed, in words.
        seconds: for all points.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "contributions"
    entries: ClassVar[Mapping[str, Any]] = {
        "features": tuple[str, ...],
        "outputs": tuple[str, ...],
        "points": tuple[str, ...],
        "limit": float,
        "method": str,
        "seconds": float,
        "checks": tuple[Check, ...],
    }
    labels = None

    x: Leaf
    y: Leaf
    offset: Leaf
    J: Leaf
    reconstruction: Leaf
    adjoint: Leaf
    limit: float = field(metadata={"static": True})
    features: tuple[str, ...] = field(metadata={"static": True})
    outputs: tuple[str, ...] = field(metadata={"static": True})
    points: tuple[str, ...] = field(metadata={"static": True})
    method: str = field(metadata={"static": True})
    seconds: float = field(metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __repr__(self) -> str:
        sizes = f"{len(self.points)} points, {len(self.outputs)} outputs, {len(self.features)} features"
        if isinstance(self.reconstruction, jax.core.Tracer):
            return f"PointContributions({sizes})"
        return f"PointContributions({sizes}, certificates {'hold' if self.holds else 'FAIL'})"

    def __len__(self) -> int:
        return len(self.points)

    @property
    def contributions(self) -> Float[np.ndarray, "N m n"]:
        """J_n ⊙ x_n, flat: [N, outputs, features]. Over the features they sum to y − c."""
        with quietly():
            made: np.ndarray = self.matrices * np.asarray(self.x).reshape(len(self), 1, -1)
        return made

    @property
    def matrices(self) -> Float[np.ndarray, "N m n"]:
        """J_n, flat: [N, outputs, features]."""
        return np.asarray(self.J).reshape(len(self), len(self.outputs), len(self.features))

    @property
    def failing(self) -> Int[np.ndarray, " f"]:
        """The numbers of the points whose certificate does not hold."""
        return np.flatnonzero(~holding(np.asarray(self.reconstruction), np.asarray(self.adjoint), self.limit))

    @property
    def checks(self) -> tuple[Check, ...]:
        """The certificate: the worst point of each check."""
        return worst(np.asarray(self.reconstruction), np.asarray(self.adjoint), self.limit)

    @property
    def holds(self) -> bool:
        """Whether the certificate of every point holds."""
        return len(self.failing) == 0

    def strongest(self) -> Int[np.ndarray, "N m"]:
        """For every point and output the number of the feature that contributes most, whatever its sign."""
        numbers: np.ndarray = np.argmax(np.nan_to_num(np.abs(self.contributions)), axis=-1)
        return numbers

    def arrays(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _NAMES}

    def figures(self) -> dict[str, Any]:
        names = ("features", "outputs", "points", "limit", "method", "seconds")
        return {name: getattr(self, name) for name in names}

    def details(self) -> dict[str, Any]:
        return {"holds": self.holds, "failing": self.failing, "checks": self.checks}

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        one = dict.fromkeys(("reconstruction", "adjoint"), Tensor("N"))
        maps = {"x": Tensor("N *in"), "y": Tensor("N *out"), "offset": Tensor("N *out")}
        return Schema({**maps, "J": Tensor("N *out *in"), **one}, {"N": len(summary["points"])})

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        for check in summary["checks"]:
            yield check["name"], [float(check["value"])], np.max(arrays[check["name"]], keepdims=True)

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> PointContributions:
        count = arrays["J"].size
        if len(summary["outputs"]) * len(summary["features"]) * len(summary["points"]) != count:
            raise ValueError("its names are not as many as what they name")
        named = {name: tuple(summary[name]) for name in ("features", "outputs", "points")}
        known = {*cls.entries, "verb", "holds", "failing"}
        about = About({name: entry for name, entry in summary.items() if name not in known})
        fields: dict[str, Any] = {**{name: arrays[name] for name in _NAMES}, **named, "about": about}
        return cls(**fields, **{name: summary[name] for name in ("limit", "method", "seconds")})

    def table(self) -> RenderableType:
        made = new_table("what contributes most, mean over all points", "output", "mean y", "mean c")
        made.add_column("features", ratio=1)
        means, sizes = self._means
        for i in range(min(len(self.outputs), _OUTPUTS)):
            y, c = self._of_output(i)
            named = [f"{self.features[j]} {means[i, j]:+.3g}" for j in _largest(sizes[i], _FEATURES)]
            made.add_row(self.outputs[i], f"{y:.4g}", f"{c:.4g}", "  ".join(named))
        more = len(self.outputs) - _OUTPUTS
        note = [f"{more} more outputs are in the result"] if more > 0 else []
        return Group(panel(self._lines, verdict_of(failed_in(self)), self._map, *note), made)

    @property
    def _lines(self) -> list[Line]:
        return [check_line(check) for check in self.checks]

    @property
    def _map(self) -> str:
        """What the maps are of, in one line."""
        told = [str(self.entry("function"))] if self.entry("function") else []
        told += [f"{len(self)} points", f"J is {len(self.outputs)} × {len(self.features)}", self.method]
        return " · ".join([*told, np.asarray(self.y).dtype.name, f"{self.seconds:.1f} s"])

    @property
    def _means(self) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "m n"]]:
        """Mean over the points of every contribution, and of its size; in float64."""
        with quietly():
            x = np.asarray(self.x, np.float64).reshape(len(self), -1)
            mean, size = (np.zeros((len(self.outputs), len(self.features))) for _ in range(2))
            for row, point in zip(self.matrices, x, strict=True):
                each = row * point
                mean += each / len(self)
                size += np.abs(each) / len(self)
        return mean, size

    def _of_output(self, i: int) -> tuple[float, float]:
        """Mean of one output, and of its offset."""
        y, c = (np.asarray(a, np.float64).reshape(len(self), -1)[:, i] for a in (self.y, self.offset))
        return float(y.mean()), float(c.mean())

    def pictures(self) -> list[Picture]:
        means, sizes = self._means
        return [
            bars_of_features(
                f"contributions_{i}", self.features, means[i], sizes[i],
                f"{self.outputs[i]}: what contributes most, mean over all points",
            )
            for i in range(min(len(self.outputs), _OUTPUTS))
        ]  # fmt: skip

    def caption(self) -> str:
        """What stands above every picture."""
        return self._map

    def shown(self) -> View:
        means, sizes = self._means
        rows, charts = [], []
        for i in range(min(len(self.outputs), _OUTPUTS)):
            y, c = self._of_output(i)
            named = [(self.features[j], float(means[i, j])) for j in _largest(sizes[i], _BARS)]
            rest = float(means[i].sum()) - sum(value for _, value in named)
            parts = [*named, ("all other features", rest), ("offset c", c)]
            charts.append(bars(f"Output {self.outputs[i]}: mean over all points", parts, y))
            for j in _largest(sizes[i], _BARS):
                share = sizes[i, j] / (sizes[i].sum() or 1.0)
                cells = [self.outputs[i], self.features[j], f"{means[i, j]:+.4g}", f"{sizes[i, j]:.4g}"]
                rows.append([*cells, f"{share:.1%}"])
        columns = ("output", "feature", "mean contribution", "mean size", "share of all sizes")
        return {
            "bars": charts,
            "tables": [table("What contributes most", columns, rows)],
            "cards": [card("Certificate of every point", self.holds, self._lines)],
        }

    def rows(self) -> list[dict[str, Any]]:
        return [dict(row) for _, row in self.to_frame().reset_index().iterrows()]

    def call(self) -> dict[str, Any]:
        return {}

    def to_frame(self) -> pandas.DataFrame:
        """A row for every point and output; a column for what each feature contributes.

        Raises:
            JaxlinError: pandas is not installed.
        """
        pandas = pandas_module()
        index = pandas.MultiIndex.from_product([self.points, self.outputs], names=["point", "output"])
        flat = self.contributions.reshape(-1, len(self.features))
        return pandas.DataFrame(flat, index=index, columns=list(self.features))


def failed_in(result: Any) -> list[str]:
    """What fails of some points, in words: how many, and the first numbers or names."""
    names = [str(name) for name in result.failing]
    if not names:
        return []
    some = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return [f"{len(names)} of {len(result)} points ({some})"]


def _largest(sizes: Float[np.ndarray, " n"], count: int) -> list[int]:
    """The numbers of the largest, the first one first."""
    return [int(j) for j in np.argsort(-np.nan_to_num(sizes), kind="stable")[:count]]
