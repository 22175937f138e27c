"""Norms of a map's rows and columns as a part of a result, and the largest of them in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
from rich.table import Table
from rich.text import Text

from jaxlin.linear.operator import Leaf
from jaxlin.results.directions import near
from jaxlin.results.labels import TokenScore
from jaxlin.results.tables import WORDS, new_table, spell, spelled, visible


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Norms:
    """Euclidean norms of a map's rows [m] and columns [*input_shape], in float64."""

    rows: Leaf
    columns: Leaf


@dataclass(frozen=True)
class LargeRow:
    """One output feature: where in the prompt it is made, and what its row points at there."""

    feature: int
    norm: float
    position: int
    text: str
    nearest: tuple[TokenScore, ...]


@dataclass(frozen=True)
class LargeColumn:
    """One input feature at one position, and the tokens that it writes."""

    position: int
    text: str
    feature: int
    norm: float
    outputs: tuple[TokenScore, ...]


def table_of_rows(rows: Sequence[LargeRow]) -> Table:
    """The largest rows, one a line."""
    table = new_table("largest rows of J", "output feature", "norm", "position", "token", "points at")
    for row in rows:
        token = Text(visible(row.text))
        words = Text(spelled(near(row.nearest), WORDS, scores=True))
        table.add_row(str(row.feature), f"{row.norm:.4g}", str(row.position), token, words)
    return table


def table_of_columns(columns: Sequence[LargeColumn]) -> Table:
    """The largest columns, one a line."""
    table = new_table("largest columns of J", "position", "token", "input feature", "norm", "writes")
    for column in columns:
        token, words = Text(visible(column.text)), spell(column.outputs, WORDS)
        table.add_row(str(column.position), token, str(column.feature), f"{column.norm:.4g}", words)
    return table
