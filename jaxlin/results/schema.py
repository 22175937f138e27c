"""What a saved result has to be before it is taken for one: entries of its summary, shapes of its tensors.

Shapes are words: a name is a size that is the same wherever it stands, ``*name`` are any number of sizes. So
``"k T d"`` of one tensor and ``"k"`` of another fit together or are refused. Tensors are looked at before any
is read: what a file says of itself costs no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxlin.results.metric import HIDDEN, METRICS
from jaxlin.results.plain import restored
from jaxlin.results.prediction import Prediction
from jaxlin.results.store import Stored

#: What summaries of every kind may have, by name, and its type.
COMMON: Mapping[str, Any] = {
    "prediction": Prediction | None,
    "model": str,
    "family": str,
    "revision": str | None,
    "weights_sha256": str | None,
    "metric": str,
    "order": str,
    "policy": str | tuple[str, ...] | None,
    "dtype": str,
    "precision": str,
    "offload": str,
    "weights": str,
    "mesh": str,
    "matmul_algorithm": str,
    "seed": int,
    "tokens": int,
    "token_texts": tuple[str, ...],
    "span": str | None,
    "position": int,
    "shape": tuple[int, int],
    "dial": dict[str, Any] | None,
    "peak_bytes": int,
    "predicted_peak_bytes": int | None,
    "device": str,
    "versions": dict[str, str],
    "target": str | None,
    "chosen_by": str,
    "method": str,
    "method_reason": str | None,
    "k": int | None,
    "tol": float | None,
    "tolerance": float,
    "passes": int,
    "seconds": float,
}
#: Of a map's tokens: a summary has both or neither, and so have the tensors.
_LABELLED = ("token_texts", "position")


@dataclass(frozen=True)
class Tensor:
    """What one tensor has to be.

    Attributes:
        shape: its sizes in words.
        kind: numpy's letter of its type: ``f`` or ``i``.
        optional: whether it may be missing.
    """

    shape: str
    kind: str = "f"
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """What a result's files have to be.

    Attributes:
        tensors: by name.
        sizes: what is known of the sizes from the summary, by their names in shapes.
    """

    tensors: Mapping[str, Tensor]
    sizes: Mapping[str, int]

    def numbered(self, number: int) -> Schema:
        """The same with sizes of its own, to stand beside that of another result."""

        def own(word: str) -> str:
            return word if word.isdigit() else f"{word}_{number}"

        tensors = {
            name: replace(tensor, shape=" ".join(map(own, tensor.shape.split())))
            for name, tensor in self.tensors.items()
        }
        return Schema(tensors, {own(word): size for word, size in self.sizes.items()})


def check_entries(summary: Mapping[str, Any], required: Mapping[str, Any]) -> None:
    """The types of what a summary holds.

    Raises:
        ValueError: an entry is missing, or of another type.
    """
    for name, kind in required.items():
        if name not in summary:
            raise ValueError(f"its entry {name} is missing")
        restored(kind, summary[name], name)
    for name, kind in COMMON.items():
        if name in summary and name not in required:
            restored(kind, summary[name], name)
    if summary.get("metric", HIDDEN) not in METRICS:
        raise ValueError(f"its metric is none of {', '.join(METRICS)}")
    if len({name in summary for name in _LABELLED}) > 1:
        raise ValueError(f"one of its entries {', '.join(_LABELLED)} is missing")
    if "token_texts" in summary and summary.get("tokens") != len(summary["token_texts"]):
        raise ValueError("its entries tokens and token_texts do not fit together")


def check_tensors(layout: Mapping[str, Stored], schema: Schema) -> None:
    """The types and shapes of tensors, and that they fit together.

    Raises:
        ValueError: a tensor is missing, empty, of another type or of another shape.
    """
    sizes: dict[str, tuple[int, ...]] = {name: (size,) for name, size in schema.sizes.items()}
    for name, wanted in schema.tensors.items():
        if name not in layout:
            if wanted.optional:
                continue
            raise ValueError(f"its tensor {name} is missing")
        found, words = layout[name], wanted.shape.split()
        if found.kind != wanted.kind or not _fits(found.shape, words, sizes):
            kind = "floating" if wanted.kind == "f" else "whole"
            known = [f"{word} = {_spelled(sizes[word])}" for word in words if word in sizes]
            where = f" with {', '.join(known)}" if known else ""
            raise ValueError(f"its tensor {name} is {found}, not {kind} numbers [{wanted.shape}]{where}")


def _fits(shape: Sequence[int], words: Sequence[str], sizes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a shape is what the words say; what they did not know before, they know then."""
    free = [word for word in words if word.startswith("*") and word not in sizes]
    assert len(free) <= 1, words
    fixed = sum(len(sizes.get(word, (1,))) for word in words if word not in free)
    rest = len(shape) - fixed
    if rest < 0 or (rest > 0 and not free) or not all(shape):
        return False
    start = 0
    for word in words:
        count = rest if word in free else len(sizes.get(word, (1,)))
        part = tuple(shape[start : start + count])
        start += count
        meant = (int(word),) if word.isdigit() else sizes.setdefault(word, part)
        if part != meant:
            return False
    return True


def _spelled(sizes: Sequence[int]) -> str:
    return " × ".join(map(str, sizes)) if sizes else "nothing"


def of_map(summary: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors that every map has, ``*in`` for the sizes of its input and ``*out`` for its output."""
    if "token_texts" not in summary:
        # Whoever keeps one of these keeps all; of a part of another result nobody does.
        return {
            "embeddings": Tensor("*in", optional=True),
            "output": Tensor("*out", optional=True),
            "offset": Tensor("*out", optional=True),
        }, {}
    return {
        "token_ids": Tensor("T", "i"),
        "positions": Tensor("T", "i"),
        "embeddings": Tensor("T d"),
        "output": Tensor("*out"),
        "offset": Tensor("*out"),
    }, {"T": len(summary["token_texts"])}


def same_values(entries: Sequence[Any], tensor: np.ndarray, what: str) -> None:
    """Both files are of one result: what the summary repeats of a tensor is what the tensor holds.

    Raises:
        ValueError: it is not.
    """
    if not np.array_equal(np.asarray(entries, np.float64), np.asarray(tensor, np.float64), equal_nan=True):
        raise ValueError(f"its files are of different results: {what} differ")


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """No number is NaN or infinite, as none is where a certificate holds.

    Raises:
        ValueError: one is.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"its tensor {name} has NaN or infinity although its certificate holds")
