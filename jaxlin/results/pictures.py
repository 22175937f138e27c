"""Pictures of saved results, each with the numbers it shows beside it.

Everything is read from ``result.safetensors`` and ``result.json``: no model is needed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxlin.errors import JaxlinError
from jaxlin.results.store import read

#: Numbers by name: columns of one length.
Columns = dict[str, Sequence[Any] | np.ndarray]
#: Directions and tokens in a heat map; all of them are in the numbers.
_DIRECTIONS, _TOKENS_WITH_NAMES = 16, 48


@dataclass(frozen=True)
class Picture:
    """One picture: its name, what draws it, and the numbers that it shows."""

    name: str
    draw: Callable[[Axes], None]
    numbers: Columns
    size: tuple[float, float] = field(default=(6.4, 4.0))

    def save(self, folder: Path, formats: Sequence[str]) -> list[Path]:
        """Write the picture in every format, and its numbers as CSV."""
        settings: Any = {"svg.hashsalt": "jaxlin", "axes.spines.top": False, "axes.spines.right": False}
        with mpl.rc_context(settings):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure.add_subplot())
            paths = [folder / f"{self.name}.{ending}" for ending in formats]
            for path in paths:
                figure.savefig(path, dpi=160)
        numbers = folder / f"{self.name}.csv"
        with numbers.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(self.numbers)
            lines.writerows(zip(*self.numbers.values(), strict=True))
        return [*paths, numbers]


def pictures_of(folder: Path) -> list[Picture]:
    """All pictures of one result.

    Raises:
        JaxlinError: there is no result, or none that can be drawn.
    """
    arrays, summary = read(folder)
    verb = str(summary.get("verb"))
    if verb not in _PICTURES:
        raise JaxlinError(
            f"{folder} has no pictures (a result of {verb!r}): give one of {', '.join(sorted(_PICTURES))}"
        )
    return _PICTURES[verb](arrays, summary)


def _svd(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> list[Picture]:
    tokens = summary["token_texts"]
    found = [spectrum(arrays["s"], arrays["residuals"], arrays.get("spectrum"))]
    if arrays["U"].shape[1:] == arrays["output"].shape and summary.get("target") is None:
        weights = np.linalg.norm(arrays["V"], axis=-1)
        brought = arrays["s"][:, None] * np.einsum("ktd,td->kt", arrays["V"], arrays["embeddings"])
        rebuilt = arrays["offset"] + brought.sum(1) @ arrays["U"]
        label = f"{len(arrays['s'])} directions"
        found += [
            reconstruction({label: rebuilt}, arrays["output"]),
            heatmap("directions", weights, arrays["positions"], tokens, "‖v_t‖"),
        ]
    return found


def _tokens(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> list[Picture]:
    positions, s = arrays["positions"], arrays["token_s"]
    texts = [token["text"] for token in summary["per_token"]]

    def draw(axes: Axes) -> None:
        for i in range(s.shape[1]):
            axes.plot(positions, s[:, i], ".-", linewidth=0.6, markersize=3, label=f"σ{i + 1}")
        axes.set(xlabel="position", ylabel="σ of J_t", yscale="log")
        axes.legend(frameon=False)

    columns: Columns = {"position": positions, "token": texts}
    return [Picture("tokens", draw, columns | {f"s{i + 1}": s[:, i] for i in range(s.shape[1])})]


def _layers(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> list[Picture]:
    layers, parts = arrays["layers"], summary["parts"]
    dims = {part: [one["stable_rank"] for one in each] for part, each in parts.items()}
    first = {part: arrays[f"{part}_s"][:, 0] for part in parts}
    found = [
        _lines("stable_rank", layers, dims, "stable rank ‖J‖²_F / σ₁²"),
        _lines("largest_sigma", layers, first, "σ₁", log=True),
        *(_spectra(part, layers, arrays[f"{part}_s"]) for part in parts),
    ]
    if "cumulative" in parts:
        found.append(path(layers, arrays["cumulative_path"]))
    return found


def _attribute(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> list[Picture]:
    tokens, layers = summary["per_token"], summary["per_layer"]
    shares = arrays["token_contributions"]
    order = np.sort(np.argsort(-np.abs(shares), kind="stable")[:24])

    def over_tokens(axes: Axes) -> None:
        names = [f"{tokens[i]['position']} {_visible(tokens[i]['text'])}" for i in order]
        axes.bar(range(len(order)), shares[order])
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
        axes.set(ylabel="brings", title=_title(f"{summary['target']} = {summary['value']:.4g}"))

    def over_layers(axes: Axes) -> None:
        where = np.arange(len(layers))
        for shift, part in ((-0.2, "attention"), (0.2, "mlp")):
            axes.bar(where + shift, [one[part] for one in layers], 0.4, label=part)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(
            xlabel="layer", ylabel="brings", title=_title(f"{summary['target']} = {summary['value']:.4g}")
        )
        axes.legend(frameon=False)

    return [
        Picture(
            "over_tokens",
            over_tokens,
            {key: [token[key] for token in tokens] for key in ("position", "text", "contribution")},
        ),
        Picture(
            "over_layers",
            over_layers,
            {key: [one[key] for one in layers] for key in ("layer", "attention", "mlp")},
        ),
    ]


def _compare(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> list[Picture]:
    if "models" in summary:
        return _models(arrays, summary)
    names = list(summary["maps"])
    rebuilt = {name: arrays[f"{name}_reconstructed"] for name in names}
    k = np.arange(1, len(arrays[f"{names[0]}_s"]) + 1)
    values = {name: arrays[f"{name}_s"] for name in names}
    degrees = {
        f"{name}, {side}": np.degrees(arrays[f"{name}_{side}_angles"])
        for name in names[1:]
        for side in ("left", "right")
    }
    return [
        reconstruction(rebuilt, arrays["output"]),
        _lines("spectra", k, values, "σ", log=True, across="number of the direction"),
        _lines("angles", k, degrees, f"principal angle to {names[0]} [°]", across="number of the angle"),
    ]


def _models(arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> list[Picture]:
    found = []
    for name, one in summary["models"].items():
        ranks = {"stable rank": [each["stable_rank"] for each in one["parts"]["cumulative"]]}
        label = name.replace("/", "_")
        found.append(_lines(f"{label}_stable_rank", np.asarray(one["layers"]), ranks, f"{name}: stable rank"))
        found.append(_spectra(f"{label}", np.asarray(one["layers"]), arrays[f"{label}_cumulative_s"]))
    return found


def spectrum(s: np.ndarray, residuals: np.ndarray, whole: np.ndarray | None) -> Picture:
    """Singular values with their residuals as error bars, and the whole spectrum where it is known."""
    k = np.arange(1, len(s) + 1)

    def draw(axes: Axes) -> None:
        if whole is not None:
            axes.plot(np.arange(1, len(whole) + 1), whole, color="lightgrey", label="whole spectrum")
        axes.errorbar(k, s, yerr=residuals, fmt=".", label="found, ± residual")
        axes.set(xlabel="number of the direction", ylabel="σ", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)

    return Picture("spectrum", draw, {"number": k, "s": s, "residual": residuals})


def reconstruction(rebuilt: Mapping[str, np.ndarray], output: np.ndarray) -> Picture:
    """Every element of what a map gives back, over the same element of the output."""

    def draw(axes: Axes) -> None:
        ends = [float(output.min()), float(output.max())]
        axes.plot(ends, ends, color="lightgrey", zorder=0)
        for name, each in rebuilt.items():
            error = np.linalg.norm(each - output) / np.linalg.norm(output)
            axes.plot(output, each, ".", markersize=3, label=f"{name}: relative error {error:.1e}")
        axes.set(xlabel="y, what the model says", ylabel="J·x + c")
        axes.legend(frameon=False)

    return Picture("reconstruction", draw, {"y": output, **rebuilt}, (4.8, 4.4))


def heatmap(
    name: str, weights: np.ndarray, positions: np.ndarray, tokens: Sequence[str], label: str
) -> Picture:
    """Directions by input positions; the tokens themselves stand below where there is room for them."""
    shown = weights[:_DIRECTIONS]

    def draw(axes: Axes) -> None:
        image = axes.imshow(shown, aspect="auto", interpolation="nearest", cmap="viridis")
        axes.figure.colorbar(image, ax=axes, label=label)
        axes.set_yticks(range(len(shown)), [str(i + 1) for i in range(len(shown))], fontsize=7)
        axes.set(ylabel="direction")
        if len(tokens) <= _TOKENS_WITH_NAMES:
            axes.set_xticks(range(len(tokens)), [_visible(text) for text in tokens], rotation=90, fontsize=7)
        else:
            ticks = np.linspace(0, len(tokens) - 1, 8).astype(int)
            axes.set_xticks(ticks, [str(positions[i]) for i in ticks])
            axes.set(xlabel="position")

    columns: Columns = {"position": positions, "token": list(tokens)}
    return Picture(
        name, draw, columns | {f"direction_{i + 1}": row for i, row in enumerate(weights)}, (7.2, 3.6)
    )


def path(layers: np.ndarray, overlaps: np.ndarray) -> Picture:
    """How far the first left vectors of every layer lie along the last layer's first two."""
    shown = min(4, overlaps.shape[1])
    columns: Columns = {"layer": layers}
    for i in range(shown):
        for j in range(min(2, overlaps.shape[2])):
            columns |= {f"u{i + 1}_on_last_u{j + 1}": overlaps[:, i, j]}

    def draw(axes: Axes) -> None:
        for i in range(shown):
            along = overlaps[:, i, :2]
            axes.plot(along[:, 0], along[:, -1], "o-", markersize=3, linewidth=0.8, label=f"u{i + 1}")
            for layer, (a, b) in zip(layers, along[:, [0, -1]], strict=True):
                axes.annotate(str(layer), (a, b), fontsize=6, textcoords="offset points", xytext=(2, 2))
        axes.set(xlabel="⟨u, first of the last layer⟩", ylabel="⟨u, second of the last layer⟩")
        axes.legend(frameon=False)

    return Picture("path", draw, columns, (4.8, 4.4))


def _lines(
    name: str,
    x: np.ndarray,
    lines: Mapping[str, Any],
    label: str,
    *,
    log: bool = False,
    across: str = "layer",
) -> Picture:
    def draw(axes: Axes) -> None:
        for title, values in lines.items():
            axes.plot(x, values, "o-", markersize=3, linewidth=0.9, label=title)
        axes.set(xlabel=across, ylabel=label, yscale="log" if log else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(lines) > 1:
            axes.legend(frameon=False)

    return Picture(name, draw, {across: x, **lines})


def _spectra(part: str, layers: np.ndarray, s: np.ndarray) -> Picture:
    """σ by number, a line for every layer, from dark to light."""
    k = np.arange(1, s.shape[1] + 1)

    def draw(axes: Axes) -> None:
        colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
        for layer, values, colour in zip(layers, s, colours, strict=True):
            axes.plot(k, values, ".-", color=colour, linewidth=0.8, label=f"layer {layer}")
        axes.set(xlabel="number of the direction", ylabel="σ", yscale="log", title=part)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(layers) <= 12:
            axes.legend(frameon=False, fontsize=7)

    columns = {f"layer_{layer}": values for layer, values in zip(layers, s, strict=True)}
    return Picture(f"spectra_{part}", draw, {"number": k, **columns})


def _visible(text: str) -> str:
    """A token as one word without what matplotlib would take for mathematics."""
    return _title(repr(text)[1:-1].replace(" ", "▁"))


def _title(text: str) -> str:
    return text.replace("$", r"\$")


_PICTURES: Mapping[str, Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], list[Picture]]] = {
    "svd": _svd,
    "tokens": _tokens,
    "layers": _layers,
    "attribute": _attribute,
    "compare": _compare,
}
