"""Singular triplets as parts of results: as JSON and back, and as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxlin.linear.certificate import Certificate
from jaxlin.results.directions import Direction
from jaxlin.results.labels import TokenScore
from jaxlin.results.plain import as_plain, restored
from jaxlin.results.schema import Tensor
from jaxlin.results.tables import spelled

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
        **{name: arrays[f"{prefix}{name}"] for name in ("U", "s", "residuals")},
        "V": arrays.get(f"{prefix}V"),
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
