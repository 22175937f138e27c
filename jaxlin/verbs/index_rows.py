"""One line of the index of many prompts, from the summary of a saved result that was checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxlin.linear.certificate import Certificate, Check
from jaxlin.results.attribute import Attribution, Share, Target
from jaxlin.results.base import Result
from jaxlin.results.contributions import Contributions
from jaxlin.results.layer import LayerFigures
from jaxlin.results.layers import LayersResult
from jaxlin.results.metric import HIDDEN
from jaxlin.results.plain import as_plain, restored
from jaxlin.results.prediction import NAMED, Prediction
from jaxlin.results.svd import SVDResult
from jaxlin.results.tokens import TokenCertificate, TokensResult
from jaxlin.verbs.options import Attribute, Layers, Svd, Tokens
from jaxlin.verbs.shared import Mapped

#: Tokens of one prompt in its line.
_TOKENS = 4
#: The result of each verb that takes many prompts.
RESULTS: Mapping[type[Mapped], type[Result]] = {
    Svd: SVDResult,
    Tokens: TokensResult,
    Layers: LayersResult,
    Attribute: Attribution,
}


def row_of(name: str, summary: Mapping[str, Any], verb: type[Mapped]) -> dict[str, Any]:
    """What the index says of one result."""
    prediction = restored(Prediction | None, summary.get("prediction"))
    predicts = {} if prediction is None else {"predicts": predicted_row(prediction)}
    return {"id": name, **predicts, "tokens": summary["tokens"], **_ROWS[verb](summary)}


def _row_of_triplets(summary: Mapping[str, Any]) -> dict[str, Any]:
    certificate = restored(Certificate, summary["certificate"])
    split = restored(Contributions | None, summary.get("contributions"))
    shown = split.order[0] if split is not None and summary.get("order") == "contribution" else 0
    return {
        "metric": summary.get("metric", HIDDEN),
        "holds": certificate.holds,
        "worst_residual": as_plain(certificate.worst_residual),
        "captured_energy": as_plain(certificate.energy.captured),
        "s": [triplet["s"] for triplet in summary["triplets"]],
        "writes": [score["text"] for score in summary["triplets"][shown]["outputs"]],
        **({} if split is None else {"contributions": as_plain(split_row(split))}),
        "passes": summary["passes"],
        "seconds": summary["seconds"],
    }


def _row_of_splits(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Every target with its value; of the first, the tokens that contribute most."""
    targets = restored(tuple[Target, ...], summary.get("targets", [summary]))
    shares = restored(tuple[Share, ...], summary["per_token"])
    order = np.argsort([-abs(share.contribution) for share in shares], kind="stable")[:_TOKENS]
    return {
        "holds": all(check.holds for check in restored(tuple[Check, ...], summary["checks"])),
        "targets": [target.target for target in targets],
        "values": [as_plain(target.value) for target in targets],
        "texts": [summary["token_texts"][t] for t in order],
        "positions": [int(summary["per_token"][t]["position"]) for t in order],
        "contributions": [as_plain(shares[t].contribution) for t in order],
    }


def _row_of_tokens(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens whose σ₁ is largest, and what their first left vectors write."""
    certificate = restored(TokenCertificate, summary["certificate"])
    largest = np.array([token["s"][0] for token in summary["per_token"]], np.float64)
    order = np.argsort(-largest, kind="stable")[:_TOKENS]
    chosen = [summary["per_token"][t] for t in order]
    return {
        "metric": summary.get("metric", HIDDEN),
        "holds": certificate.holds,
        "worst_error": as_plain(certificate.worst_error),
        "texts": [summary["token_texts"][t] for t in order],
        "positions": [token["position"] for token in chosen],
        "s": [token["s"][0] for token in chosen],
        "writes": [[score["text"] for score in token["outputs"]] for token in chosen],
        "passes": summary["passes"],
        "seconds": summary["seconds"],
    }


def _row_of_layers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of every part, layer by layer: σ₁, the stable rank and what the first direction writes most."""
    parts = restored(dict[str, tuple[LayerFigures, ...]], summary["parts"])
    return {
        "metric": summary.get("metric", HIDDEN),
        "holds": all(layer.certificate.holds for layers in parts.values() for layer in layers),
        "layers": list(summary["layers"]),
        "parts": {
            name: {
                "s": [entry["triplets"][0]["s"] for entry in summary["parts"][name]],
                "stable_rank": [as_plain(layer.stable_rank) for layer in layers],
                "writes": [_first(entry["triplets"][0]) for entry in summary["parts"][name]],
            }
            for name, layers in parts.items()
        },
        "passes": sum(entry["passes_of_the_part"] for part in summary["parts"].values() for entry in part),
    }


def _first(triplet: Mapping[str, Any]) -> str | None:
    outputs = triplet["outputs"]
    return outputs[0]["text"] if outputs else None


def predicted_row(prediction: Prediction) -> list[dict[str, Any]]:
    """The most likely next tokens in one line of the index."""
    return [{"text": token.text, "probability": token.probability} for token in prediction.tokens[:NAMED]]


def split_row(split: Contributions) -> dict[str, Any]:
    """What the directions contribute to the predicted token's centred logit: one by one, and of how much."""
    if not split.whole.logits:
        return {"output": [part.output for part in split.directions]}
    logits = [part.logits[0] for part in split.directions]
    return {"logit": logits, "together": split.together.logits[0], "whole": split.whole.logits[0]}


_ROWS: Mapping[type[Mapped], Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    Svd: _row_of_triplets,
    Tokens: _row_of_tokens,
    Layers: _row_of_layers,
    Attribute: _row_of_splits,
}
