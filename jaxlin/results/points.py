"""The result of ``contributions``: for every point its exact map, and what each feature contributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from rich.console import RenderableType

from jaxlin.linear.certificate import Check
from jaxlin.results.about import About
from jaxlin.results.base import Result
from jaxlin.results.page.pieces import View
from jaxlin.results.pictures import Picture
from jaxlin.results.schema import Schema

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class PointContributions(Result):
    """What every feature of every point contributes to every output: y_n = J_n·x_n + c_n.

    Attributes:
        x: the points [N, *input_shape].
        y: the outputs [N, *output_shape].
        offset: c_n [N, *output_shape], computed without y.
        J: the maps [N, *output_shape, *input_shape].
        reconstruction: ‖J·x + c − y‖ of each point, as a fraction of the terms of that sum [N].
        adjoint: ‖J·v − F(v)‖ of each point at a random v, where F is the pass forwards [N].
        limit: what both may be.
        features: names of the features, in the order of a flattened input.
        outputs: names of the outputs, in the order of a flattened output.
        method: how the maps were computed, in words.
        seconds: for all points.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "contributions"
    entries: ClassVar[Mapping[str, Any]] = {"features": tuple[str, ...], "outputs": tuple[str, ...]}
    labels = None

    x: Float[np.ndarray, "N ..."]
    y: Float[np.ndarray, "N ..."]
    offset: Float[np.ndarray, "N ..."]
    J: Float[np.ndarray, "N ..."]
    reconstruction: Float[np.ndarray, " N"]
    adjoint: Float[np.ndarray, " N"]
    limit: float
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    method: str
    seconds: float
    about: About = field(default=About())

    def __len__(self) -> int:
        return len(self.x)

    @property
    def contributions(self) -> Float[np.ndarray, "N m n"]:
        """J_n ⊙ x_n, flat: [N, outputs, features]. Over the features they sum to y − c."""
        made: np.ndarray = self.matrices * self.x.reshape(len(self), 1, -1)
        return made

    @property
    def matrices(self) -> Float[np.ndarray, "N m n"]:
        """J_n, flat: [N, outputs, features]."""
        return self.J.reshape(len(self), len(self.outputs), len(self.features))

    @property
    def failing(self) -> Int[np.ndarray, " f"]:
        """The numbers of the points whose certificate does not hold; NaN never does."""
        holds = (self.reconstruction <= self.limit) & (self.adjoint <= self.limit)
        return np.flatnonzero(~holds)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The certificate: the worst point of each check."""
        return (
            Check(
                "reconstruction",
                float(np.max(self.reconstruction)),
                self.limit,
                "‖J·x + c − y‖ of the worst point, as a fraction of the terms of that sum",
            ),
            Check(
                "adjoint",
                float(np.max(self.adjoint)),
                self.limit,
                "‖J·v − F(v)‖ of the worst point at a random v, where F is the pass forwards",
            ),
        )

    @property
    def holds(self) -> bool:
        """Whether the certificate of every point holds."""
        return len(self.failing) == 0

    def arrays(self) -> dict[str, Any]:
        names = ("x", "y", "offset", "J", "reconstruction", "adjoint")
        return {name: getattr(self, name) for name in names}

    def figures(self) -> dict[str, Any]:
        return {"features": self.features, "outputs": self.outputs, "method": self.method, "seconds": self.seconds}

    def details(self) -> dict[str, Any]:
        return {"checks": self.checks, "failing": self.failing}

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        raise NotImplementedError

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        raise NotImplementedError

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> PointContributions:
        raise NotImplementedError

    def table(self) -> RenderableType:
        raise NotImplementedError

    def pictures(self) -> list[Picture]:
        raise NotImplementedError

    def shown(self) -> View:
        raise NotImplementedError

    def rows(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def call(self) -> dict[str, Any]:
        raise NotImplementedError

    def to_frame(self) -> pandas.DataFrame:
        """A row for every point and output, a column for what every feature contributes."""
        import pandas

        index = pandas.MultiIndex.from_product([range(len(self)), self.outputs], names=["point", "output"])
        flat = self.contributions.reshape(-1, len(self.features))
        return pandas.DataFrame(flat, index=index, columns=list(self.features))
