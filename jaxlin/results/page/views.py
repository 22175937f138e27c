"""What the page shows of each kind of result: plain numbers and words, small enough to embed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlin.analyses.layers import PARTS
from jaxlin.errors import JaxlinError
from jaxlin.results.page.again import python_of

#: What is embedded of a large result: directions, output tokens of each, directions in the grid of layers.
_DIRECTIONS, _OUTPUTS, _GRID = 16, 8, 8
#: Numbers of shades in all, above which fewer directions are embedded: a number takes some seven bytes.
_NUMBERS = 300_000

View = dict[str, Any]


def view_of(folder: Path, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    """One result as the page's script reads it.

    ``tokens`` are shaded by one of ``shades`` at a time, each with what is to be said about it; ``cards`` are
    the certificates; ``charts``, ``grid`` and ``tables`` come below where there are any; ``python`` makes
    the result again.

    Raises:
        JaxlinError: no verb wrote this, or one whose results are not shown.
    """
    verb = str(summary.get("verb"))
    if verb not in _VIEWS:
        raise JaxlinError(
            f"{folder} cannot be shown (a result of {verb!r}): give one of {', '.join(sorted(_VIEWS))}"
        )
    empty: View = {"tokens": [], "shades": [], "charts": [], "grid": None, "tables": []}
    view = empty | {"name": folder.name, "verb": verb} | _VIEWS[verb](arrays, summary)
    return view | {"facts": _facts(summary), "python": python_of(summary)}


def _facts(summary: Mapping[str, Any]) -> list[list[str]]:
    """What it was made from and what it cost, in words."""
    named = {
        "model": "model",
        "revision": "revision",
        "policy": "policy",
        "tokens": "tokens",
        "dtype": "stored in",
        "precision": "products in",
        "method": "method",
        "passes": "passes",
        "seconds": "seconds",
        "device": "device",
    }
    facts = [[title, _word(summary[key])] for key, title in named.items() if summary.get(key) is not None]
    if "shape" in summary:
        facts.insert(1, ["J", " × ".join(str(size) for size in summary["shape"])])
    return facts


def _word(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _card(title: str, certificate: Mapping[str, Any], unit: str) -> View:
    """A certificate: green or red, with the reason."""
    lines = []
    if "worst_residual" in certificate:
        worst = f"worst {certificate['worst_residual']:.1e}·σ₁"
    else:
        worst = f"worst error {certificate['worst_error']:.1e}·σ₁"
    met = certificate["converged"] == certificate["wanted"]
    lines.append(
        {
            "name": "residuals" if "worst_residual" in certificate else "errors",
            "text": f"{certificate['converged']} of {certificate['wanted']} {unit} within "
            f"{certificate['tolerance']:.0e}·σ₁, {worst}",
            "holds": met,
        }
    )
    lines += [_check(check) for check in certificate["checks"]]
    energy = certificate.get("energy")
    if energy is not None:
        error = f" ± {energy['error']:.1%}" if energy["error"] else ", exactly"
        lines.append({"name": "captured energy", "text": f"{energy['captured']:.1%}{error}", "holds": True})
    return {"title": title, "holds": bool(certificate["holds"]), "lines": lines}


def _check(check: Mapping[str, Any]) -> View:
    holds = bool(check.get("holds", check["value"] <= check["limit"]))
    sign = "≤" if holds else "exceeds"
    return {
        "name": check["name"],
        "text": f"{check['value']:.1e} {sign} {check['limit']:.0e}",
        "holds": holds,
    }


def _tokens(positions: Sequence[int] | np.ndarray, texts: Sequence[str]) -> list[list[Any]]:
    return [[int(position), text] for position, text in zip(positions, texts, strict=True)]


def _numbers(values: Any) -> list[float]:
    """Three significant digits, which is more than a shade shows."""
    return [float(f"{value:.3g}") if math.isfinite(value) else 0.0 for value in np.asarray(values).ravel()]


def _shade(name: str, values: Any, label: str, **about: Any) -> View:
    return {"name": name, "values": _numbers(values), "label": label, **about}


def _outputs(scores: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    return [[score["text"], float(f"{score['score']:.3g}")] for score in scores[:_OUTPUTS]]


def _svd(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    tokens = _tokens(arrays["positions"], summary["token_texts"])
    count = _shown(len(arrays["s"]), len(tokens))
    weights = np.linalg.norm(arrays["V"][:count], axis=-1)
    shares = arrays["s"][:count, None] * np.einsum("ktd,td->kt", arrays["V"][:count], arrays["embeddings"])
    shades = []
    for i, triplet in enumerate(summary["triplets"][:count]):
        shades.append(
            _shade(
                f"direction {i + 1}",
                weights[i],
                "‖v_t‖, weight of the right vector at each token",
                facts=[
                    ["σ", f"{triplet['s']:.5g}"],
                    ["residual", f"{triplet['residual']:.1e}"],
                    ["converged", "yes" if triplet["converged"] else "NO"],
                ],
                outputs=_outputs(triplet["outputs"]),
                shares=_numbers(shares[i]),
            )
        )
    chart = _spectrum(arrays["s"], arrays["residuals"], arrays.get("spectrum"))
    chart["note"] = _captured(arrays["s"], summary["certificate"]["energy"])
    view = {"tokens": tokens, "shades": shades, "charts": [chart]}
    if summary.get("target") is not None:
        view["title"] = f"{summary['target']} = {summary['target_value']:.5g}"
    return view | {"cards": [_card("certificate", summary["certificate"], "triplets")]}


def _shown(directions: int, tokens: int) -> int:
    """How many directions are embedded: two numbers each for every token."""
    return max(1, min(directions, _DIRECTIONS, _NUMBERS // max(1, 2 * tokens)))


def _captured(s: np.ndarray, energy: Mapping[str, float]) -> str:
    error = f" ± {energy['error']:.1%}" if energy["error"] else ""
    return f"together they capture {energy['captured']:.1%}{error} of ‖J‖²_F"


def _spectrum(s: np.ndarray, residuals: np.ndarray, whole: np.ndarray | None) -> View:
    series: list[View] = [{"name": "σ", "values": _numbers(s), "errors": _numbers(residuals)}]
    if whole is not None and len(whole) > len(s):
        series.append({"name": "the rest of the spectrum", "values": _numbers(whole), "errors": None})
    return {"title": "Spectrum", "across": "number", "series": series, "log": True, "note": ""}


def _per_token(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    each = summary["per_token"]
    tokens = _tokens([t["position"] for t in each], [t["text"] for t in each])
    s = arrays["token_s"]
    notes = [_outputs(token["outputs"][:4]) for token in each]
    shades = [
        _shade(f"σ{i + 1}", s[:, i], f"σ{i + 1} of each token's own J_t", notes=notes, facts=[], outputs=[])
        for i in range(s.shape[1])
    ]
    norms = _shade("‖J_t‖", arrays["token_norms"], "Frobenius norm of each J_t", facts=[], outputs=[])
    series = [
        {"name": f"σ{i + 1}", "values": _numbers(s[:, i]), "errors": _numbers(arrays["token_errors"][:, i])}
        for i in range(min(4, s.shape[1]))
    ]
    chart = {"title": "σ by position", "across": "position", "series": series, "log": True, "note": ""}
    card = _card("certificate", summary["certificate"], "tokens")
    return {"tokens": tokens, "shades": [*shades, norms], "charts": [chart], "cards": [card]}


def _layers(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    tokens = _tokens(arrays["positions"], summary["token_texts"])
    grids, ranks = [], []
    for part, layers in summary["parts"].items():
        ranks.append(
            {"name": part, "values": _numbers([one["stable_rank"] for one in layers]), "errors": None}
        )
        weights = arrays[f"{part}_weights"]
        keep = _NUMBERS // max(1, len(summary["parts"]) * len(layers) * weights.shape[-1])
        count = max(1, min(_GRID, weights.shape[1], keep))
        rows = []
        for i, one in enumerate(layers):
            cells = [
                {
                    "s": float(f"{triplet['s']:.4g}"),
                    "outputs": _outputs(triplet["outputs"]),
                    "values": _numbers(weights[i, j]),
                }
                for j, triplet in enumerate(one["triplets"][:count])
            ]
            rows.append({"layer": one["layer"], "rank": float(f"{one['stable_rank']:.3g}"), "cells": cells})
        last_only = weights.shape[-1] != len(tokens)
        grids.append({"part": part, "meaning": PARTS[part], "rows": rows, "last_only": last_only})
    every = [
        (f"{part}, layer {one['layer']}", one["certificate"])
        for part, layers in summary["parts"].items()
        for one in layers
    ]
    worst = max(certificate["worst_residual"] for _, certificate in every)
    lines = [
        {
            "name": "maps",
            "text": f"{sum(bool(one['holds']) for _, one in every)} of {len(every)} certificates hold, "
            f"worst residual {worst:.1e}·σ₁",
            "holds": bool(summary["holds"]),
        }
    ]
    for name, certificate in every:
        if not certificate["holds"]:
            lines += [
                line | {"name": name}
                for line in _card(name, certificate, "triplets")["lines"]
                if not line["holds"]
            ]
    chart = {
        "title": "Stable rank by layer",
        "across": "layer",
        "labels": [int(layer) for layer in summary["layers"]],
        "series": ranks,
        "log": False,
        "note": "",
    }
    card = {"title": "certificate of all maps", "holds": bool(summary["holds"]), "lines": lines}
    return {"tokens": tokens, "charts": [chart], "grid": grids, "cards": [card]}


def _attribute(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    each = summary["per_token"]
    tokens = _tokens([t["position"] for t in each], [t["text"] for t in each])
    target = f"{summary['target']} = {summary['value']:.5g}"
    shades = [
        _shade(
            "attribution",
            arrays["token_contributions"],
            f"what each token brings to {target}",
            facts=[],
            outputs=[],
        )
    ]
    for i, direction in enumerate(summary.get("per_direction", [])):
        if i < _shown(len(summary["per_direction"]), len(tokens)):
            shades.append(
                _shade(
                    f"direction {i + 1}",
                    arrays["direction_contributions"][i],
                    f"what each token brings along direction {i + 1}",
                    facts=[["σ", f"{direction['s']:.5g}"], ["brings", f"{direction['contribution']:+.4g}"]],
                    outputs=_outputs(direction["outputs"]),
                )
            )
    table = {
        "title": "What wrote to the residual stream",
        "columns": ["layer", "attention", "MLP"],
        "rows": [
            ["embedding", f"{summary['embedding']:+.4g}", ""],
            *(
                [str(one["layer"]), f"{one['attention']:+.4g}", f"{one['mlp']:+.4g}"]
                for one in summary["per_layer"]
            ),
        ],
    }
    lines = [_check(check) for check in summary["checks"]]
    cards = [{"title": "certificate", "holds": bool(summary["holds"]), "lines": lines}]
    if "certificate" in summary:
        cards.append(_card("certificate of the directions", summary["certificate"], "triplets"))
    return {"title": target, "tokens": tokens, "shades": shades, "tables": [table], "cards": cards}


def _compare(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    if "models" in summary:
        return _models(arrays, summary)
    maps = summary["maps"]
    rows = [
        ["‖J·x + c − y‖ / ‖y‖", *(f"{one['reconstruction']:.1e}" for one in maps.values())],
        ["σ₁", *(f"{one['triplets'][0]['s']:.4g}" for one in maps.values())],
        ["stable rank", *(f"{one['stable_rank']:.2f}" for one in maps.values())],
        *(
            [f"{side} angles to the first", *(_degrees(one[f"{side}_angles"]) for one in maps.values())]
            for side in ("left", "right")
        ),
    ]
    count = min(_DIRECTIONS, summary["k"])
    words = [
        [
            str(i + 1),
            *(
                "  ".join(t["text"].strip() for t in one["triplets"][i]["outputs"][:5])
                for one in maps.values()
            ),
        ]
        for i in range(count)
    ]
    series = [
        {
            "name": name,
            "values": _numbers(arrays[f"{name}_s"]),
            "errors": _numbers(arrays[f"{name}_residuals"]),
        }
        for name in maps
    ]
    return {
        "charts": [{"title": "Spectra", "across": "number", "series": series, "log": True, "note": ""}],
        "tables": [
            {"title": "The maps", "columns": ["", *maps], "rows": rows},
            {"title": "Left vectors write", "columns": ["#", *maps], "rows": words},
        ],
        "cards": [
            _card(f"{name}: certificate", one["certificate"], "triplets") for name, one in maps.items()
        ],
    }


def _degrees(angles: Sequence[float]) -> str:
    return f"{math.degrees(min(angles)):.0f}° … {math.degrees(max(angles)):.0f}°"


def _models(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    ranks, rows, cards = [], [], []
    for name, one in summary["models"].items():
        layers = one["parts"]["cumulative"]
        ranks.append(
            {"name": name, "values": _numbers([each["stable_rank"] for each in layers]), "errors": None}
        )
        for each in layers:
            words = "  ".join(t["text"].strip() for t in each["triplets"][0]["outputs"][:5])
            rows.append(
                [
                    name,
                    str(each["layer"]),
                    f"{each['triplets'][0]['s']:.4g}",
                    f"{each['stable_rank']:.2f}",
                    words,
                ]
            )
        held = sum(bool(each["certificate"]["holds"]) for each in layers)
        line = {
            "name": "maps",
            "text": f"{held} of {len(layers)} certificates hold",
            "holds": held == len(layers),
        }
        cards.append({"title": f"{name}: certificate", "holds": bool(one["holds"]), "lines": [line]})
    columns = ["model", "layer", "σ₁", "stable rank", "left vector 1 writes"]
    return {
        "charts": [
            {
                "title": "Stable rank, embeddings → after the layer",
                "across": "layer",
                "series": ranks,
                "log": False,
                "note": "",
            }
        ],
        "tables": [{"title": "Layer by layer", "columns": columns, "rows": rows}],
        "cards": cards,
    }


def _steer(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> View:
    rows = [[f"{one['strength']:g}", summary["prompt"] + one["text"]] for one in summary["continuations"]]
    certificate = summary["certificate"]
    cards = [] if certificate is None else [_card("certificate of the map", certificate, "triplets")]
    title = f"“{summary['concept']}” at layer {summary['layer']} of {summary['layers']}"
    return {
        "title": title,
        "tables": [{"title": "Continuations", "columns": ["λ", "text"], "rows": rows}],
        "cards": cards,
    }


_VIEWS: Mapping[str, Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], View]] = {
    "svd": _svd,
    "tokens": _per_token,
    "layers": _layers,
    "attribute": _attribute,
    "compare": _compare,
    "steer": _steer,
}
