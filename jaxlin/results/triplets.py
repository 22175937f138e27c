"""Singular triplets as parts of results: as JSON, as rows of a table, as shades of the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from jaxlin.linear.certificate import Certificate
from jaxlin.results.directions import Direction
from jaxlin.results.labels import TokenScore
from jaxlin.results.page.pieces import View, few_enough, numbers, shade
from jaxlin.results.plain import as_plain, restored
from jaxlin.results.schema import Tensor
from jaxlin.results.tables import WORDS, new_table, spell, spelled, visible

if TYPE_CHECKING:
    from jaxlin.results.svd import SVDResult

#: Of an SVD whose cost older versions did not save.
UNKNOWN_COST: Mapping[str, Any] = {"method": "unknown", "passes": 0, "seconds": 0.0}

Outputs = Sequence[Sequence[TokenScore]]


@dataclass(frozen=True)
class Figures:
    """What every saved triplet says."""

    s: float
    residual: float


@dataclass(frozen=True)
class Decoded:
    """What a saved triplet says of its left vector alone."""

    s: float
    residual: float
    outputs: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Cost:
    """How a saved SVD was computed."""

    method: str
    passes: int
    seconds: float


def triplet_tensors(k: str = "k", u: str = "*out", v: str = "T d", prefix: str = "") -> dict[str, Tensor]:
    """What the tensors of an SVD have to be, in words of sizes."""
    shapes = {"U": f"{k} {u}", "s": k, "V": f"{k} {v}", "residuals": k}
    named = {f"{prefix}{name}": Tensor(shape) for name, shape in shapes.items()}
    return named | {f"{prefix}spectrum": Tensor(f"all_{prefix or 'values'}", optional=True)}


def repeated_triplets(
    arrays: Mapping[str, np.ndarray], triplets: Sequence[Mapping[str, Any]], prefix: str = ""
) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
    """What saved triplets say of the tensors of an SVD once more."""
    for name, tensor in (("s", "s"), ("residual", "residuals")):
        yield f"{prefix}{tensor}", [triplet[name] for triplet in triplets], arrays[f"{prefix}{tensor}"]


def triplet_entries(s: Any, residuals: Any, words: Sequence[Any], **columns: Any) -> list[dict[str, Any]]:
    """Each triplet in plain numbers, with one of ``columns`` and what is known of it in words."""
    return [
        {
            "s": float(s[i]),
            "residual": float(residuals[i]),
            **{name: np.asarray(values[i]).item() for name, values in columns.items()},
            **(as_plain(known) if known else {}),
        }
        for i, known in enumerate(words)
    ]


def output_entries(outputs: Outputs) -> list[dict[str, Any]]:
    """The output tokens of each direction as entries."""
    return [{"outputs": scores} for scores in outputs]


def saved_outputs(triplets: Sequence[Mapping[str, Any]]) -> tuple[Direction, ...]:
    """Directions of which only the outputs were saved."""
    return tuple(Direction(restored(tuple[TokenScore, ...], triplet["outputs"]), ()) for triplet in triplets)


def saved_fields(
    arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any], seed: int, prefix: str = ""
) -> dict[str, Any]:
    """The first fields of an SVDResult, from tensors whose names begin so and from its entries."""
    return {
        **{name: arrays[f"{prefix}{name}"] for name in ("U", "s", "V", "residuals")},
        "spectrum": arrays.get(f"{prefix}spectrum"),
        **vars(restored(Cost, summary)),
        "seed": seed,
        "certificate": restored(Certificate, summary["certificate"]),
    }


def cost_entries(result: SVDResult) -> dict[str, Any]:
    """How it was computed, as entries."""
    return {"method": result.method, "passes": result.passes, "seconds": round(result.seconds, 3)}


def triplet_rows(s: Any, residuals: Any, outputs: Outputs, **columns: Any) -> list[dict[str, Any]]:
    """Each triplet as a row for pandas."""
    return [
        {
            "direction": i + 1,
            "s": float(s[i]),
            "residual": float(residuals[i]),
            **{name: np.asarray(values[i]).item() for name, values in columns.items()},
            "writes": spelled(outputs[i]),
        }
        for i in range(len(s))
    ]


def table_of_directions(result: SVDResult) -> Table:
    """Every direction: its value, what it writes, and where in the prompt it looks."""
    table = new_table(None, "#", "σ", "residual", show_lines=True)
    wide = bool(result.outputs and result.outputs[0])
    if wide:
        table.add_column("left vector writes", ratio=2)
    if result.directions is None:
        table.add_column("right vector: input position, weight")
    else:
        table.add_column("right vector: position, token, weight (contribution) → nearest", ratio=3)
    for i, places in enumerate(_places(result)):
        flag = "" if bool(result.converged[i]) else " ✗"
        left = [spell(result.outputs[i], WORDS)] if wide else []
        residual = f"{float(result.residuals[i]):.0e}{flag}"
        table.add_row(str(i + 1), f"{float(result.s[i]):.4g}", residual, *left, Text("\n".join(places)))
    return table


def _places(result: SVDResult) -> list[list[str]]:
    if result.directions is not None:
        return [[str(place) for place in direction.inputs] for direction in result.directions]
    weights = result.weights
    first = np.argsort(-weights, axis=1, kind="stable")[:, :3]
    return [[f"{t} {weights[i, t]:.2f}" for t in places] for i, places in enumerate(first)]


def table_of_target(result: SVDResult) -> Table:
    """What the positions contribute to the value of a target, the largest first, and what is left over."""
    table = new_table(str(result.target), "position", "token", "contribution")
    inputs = () if result.directions is None else result.directions[0].inputs
    for place in inputs:
        table.add_row(str(place.position), Text(visible(place.text)), f"{place.contribution:+.4g}")
    value, offset = float(result.y[0]), float(result.offset[0])
    rest = value - offset - sum(place.contribution for place in inputs)
    others = result.V.shape[1] - len(inputs)
    table.add_section()
    if others:
        table.add_row("", "the other token" if others == 1 else f"the other {others} tokens", f"{rest:+.4g}")
    if offset:
        table.add_row("", "the offset c", f"{offset:+.4g}")
    table.add_row("", "together", f"{value:+.4g}")
    return table


def shades(result: SVDResult) -> list[View]:
    """The prompt shaded by the first right vectors."""
    if result.labels is None:
        return []
    count = few_enough(len(result.s), len(result.labels.ids))
    weights, shares = result.weights, result.contributions
    return [
        shade(
            f"direction {i + 1}",
            weights[i],
            "‖v_t‖, weight of the right vector at each token",
            facts=[
                ["σ", f"{float(result.s[i]):.5g}"],
                ["residual", f"{float(result.residuals[i]):.1e}"],
                ["converged", "yes" if bool(result.converged[i]) else "NO"],
            ],
            outputs=result.outputs[i],
            **({} if shares is None else {"shares": numbers(shares[i])}),
        )
        for i in range(count)
    ]
