"""What results of every kind say on disk of their map and its tokens, and how that is read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlin.results.about import About
from jaxlin.results.labels import Labels
from jaxlin.results.plain import restored
from jaxlin.results.prediction import Prediction

#: Entries of a summary that labels hold in their ``facts``, and all that they hold.
_FACTS = ("policy", "metric", "dial", "span", "normed")
_LABELLED = ("prediction", "tokens", "token_texts", "position", *_FACTS)


def map_arrays(x: Any, y: Any, offset: Any, labels: Labels | None) -> dict[str, Any]:
    """What every result on disk says about its map, by name of tensor; without what is not known."""
    arrays = {"embeddings": x, "output": y, "offset": offset}
    if labels is not None:
        arrays |= {
            "token_ids": np.asarray(labels.ids, np.int64),
            "positions": np.asarray(labels.positions, np.int64),
        }
    return {name: array for name, array in arrays.items() if array is not None}


def shape_of(x: Any, y: Any) -> dict[str, Any]:
    """The size of the matrix, where its point is known."""
    return {} if x is None or y is None else {"shape": [int(np.size(y)), int(np.size(x))]}


def entries_of(labels: Labels | None) -> dict[str, Any]:
    """What labels say in a summary."""
    if labels is None:
        return {}
    facts = {} if labels.reader is None else labels.reader.facts()
    tokens = {"tokens": len(labels.ids), "token_texts": labels.texts, "position": labels.position}
    predicted = {} if labels.predicted is None else {"prediction": labels.predicted()}
    return {**facts, "span": None, **labels.facts, **tokens, **predicted}


def saved_labels(
    arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any], *, hidden: bool = True
) -> Labels | None:
    """The labels of a saved result, which nothing reads vectors for."""
    if "token_ids" not in arrays:
        return None
    prediction = restored(Prediction | None, summary.get("prediction"), "prediction")
    if prediction is not None and not prediction.tokens:
        raise ValueError("its prediction has no tokens")
    return Labels(
        ids=tuple(arrays["token_ids"].tolist()),
        texts=tuple(summary["token_texts"]),
        positions=tuple(arrays["positions"].tolist()),
        position=summary["position"],
        facts={name: summary[name] for name in _FACTS if name in summary},
        hidden=hidden,
        predicted=None if prediction is None else lambda: prediction,
    )


def saved_about(summary: Mapping[str, Any], details: Sequence[str], labels: Labels | None) -> About:
    """What stays of a saved summary when the labels and long entries are taken out."""
    known = {"verb", *details, *(() if labels is None else _LABELLED)}
    return About({name: entry for name, entry in summary.items() if name not in known})
