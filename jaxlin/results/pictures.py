"""Pictures of results, each with the numbers it shows beside it. matplotlib is loaded when one is drawn."""

from __future__ import annotations

import base64
import csv
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError
from jaxlin.results.tables import visible

#: Numbers by name: columns of one length.
Columns = dict[str, Any]
Values = Array | np.ndarray
FORMATS = ("png", "pdf", "svg")
#: Directions and tokens in a heat map, tokens in a bar chart; all of them are in the numbers.
_DIRECTIONS, _TOKENS_WITH_NAMES, _BARS = 16, 48, 24
_SETTINGS: Any = {"svg.hashsalt": "jaxlin", "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: of its files.
        draw: draws it into matplotlib's axes.
        numbers: what it shows, as columns of one length.
        size: in inches.
    """

    name: str
    draw: Callable[[Any], None]
    numbers: Columns
    size: tuple[float, float] = field(default=(6.4, 4.0))

    def figure(self) -> Any:
        """It as a :class:`matplotlib.figure.Figure`."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        with mpl.rc_context(_SETTINGS):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure.add_subplot())
        return figure

    def save(self, folder: Path, formats: Sequence[str]) -> list[Path]:
        """Write the picture in every format, and its numbers as CSV."""
        import matplotlib as mpl

        figure = self.figure()
        paths = [folder / f"{self.name}.{ending}" for ending in formats]
        with mpl.rc_context(_SETTINGS), _silent_about_fonts():
            for path in paths:
                figure.savefig(path, dpi=160)
        numbers = folder / f"{self.name}.csv"
        with numbers.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            lines = csv.writer(file)
            lines.writerow(self.numbers)
            lines.writerows(zip(*self.numbers.values(), strict=True))
        return [*paths, numbers]


class Figures(tuple[Any, ...]):
    """Figures of matplotlib, which a notebook shows one below the other."""

    def _repr_html_(self) -> str:
        return "\n".join(map(_as_image, self))


def _as_image(figure: Any) -> str:
    image = io.BytesIO()
    with _silent_about_fonts():
        figure.savefig(image, format="png", dpi=110)
    data = base64.b64encode(image.getvalue()).decode()
    return f'<img style="max-width:100%" src="data:image/png;base64,{data}">'


@contextmanager
def _silent_about_fonts() -> Iterator[None]:
    """matplotlib logs that a font lacks some letter of some prompt, which nobody can help."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_formats(formats: Sequence[str]) -> None:
    """:class:`JaxlinError` if any of these is none of :data:`FORMATS`, or there are none."""
    unknown = [ending for ending in formats if ending not in FORMATS]
    if unknown or not formats:
        what = f"unknown format {unknown[0]!r}" if unknown else "no format is given"
        raise JaxlinError(f"{what}: choose from {', '.join(FORMATS)}")


def spectrum(
    s: Float[Values, " k"], residuals: Float[Values, " k"], whole: Float[Values, " m"] | None
) -> Picture:
    """Singular values with their residuals as error bars, and the whole spectrum where it is known."""
    k, s, residuals = np.arange(1, len(s) + 1), np.asarray(s), np.asarray(residuals)

    def draw(axes: Any) -> None:
        if whole is not None:
            axes.plot(np.arange(1, len(whole) + 1), whole, color="lightgrey", label="whole spectrum")
        axes.errorbar(k, s, yerr=residuals, fmt=".", label="σ ± residual")
        axes.set(xlabel="number of the direction", ylabel="σ", yscale="log")
        _whole_numbers(axes)
        axes.legend(frameon=False)

    return Picture("spectrum", draw, {"number": k, "s": s, "residual": residuals})


def reconstruction(rebuilt: Mapping[str, Float[Values, " m"]], output: Float[Values, " m"]) -> Picture:
    """Every element of what a map gives back, over the same element of the output."""
    output = np.asarray(output)

    def draw(axes: Any) -> None:
        ends = [float(output.min()), float(output.max())]
        axes.plot(ends, ends, color="lightgrey", zorder=0)
        for name, values in rebuilt.items():
            error = np.linalg.norm(values - output) / np.linalg.norm(output)
            axes.plot(output, values, ".", markersize=3, label=f"{name}: relative error {error:.1e}")
        axes.set(xlabel="y, the model's own output", ylabel="J·x + c")
        axes.legend(frameon=False)

    return Picture("reconstruction", draw, {"y": output, **rebuilt}, (4.8, 4.4))


def heatmap(
    name: str, weights: Float[np.ndarray, "k t"], positions: Sequence[int], tokens: Sequence[str], label: str
) -> Picture:
    """Directions by input positions; the tokens themselves stand below where there is room for them."""
    shown = weights[:_DIRECTIONS]

    def draw(axes: Any) -> None:
        image = axes.imshow(shown, aspect="auto", interpolation="nearest", cmap="viridis")
        axes.figure.colorbar(image, ax=axes, label=label)
        axes.set_yticks(range(len(shown)), [str(i + 1) for i in range(len(shown))], fontsize=7)
        axes.set(ylabel="direction")
        if tokens and len(tokens) <= _TOKENS_WITH_NAMES:
            axes.set_xticks(range(len(tokens)), [_word(text) for text in tokens], rotation=90, fontsize=7)
        else:
            ticks = np.unique(np.linspace(0, len(positions) - 1, 8).astype(int))
            axes.set_xticks(ticks, [str(positions[i]) for i in ticks])
            axes.set(xlabel="position")

    columns: Columns = {"position": positions, **({"token": list(tokens)} if tokens else {})}
    directions = {f"direction_{i + 1}": row for i, row in enumerate(weights)}
    return Picture(name, draw, columns | directions, (7.2, 3.6))


def path(layers: Sequence[int], overlaps: Float[np.ndarray, "layers k k"]) -> Picture:
    """How far the first left vectors of every layer lie along the last layer's first two."""
    shown = min(4, overlaps.shape[1])
    columns: Columns = {"layer": layers}
    for i in range(shown):
        for j in range(min(2, overlaps.shape[2])):
            columns |= {f"u{i + 1}_on_last_u{j + 1}": overlaps[:, i, j]}

    def draw(axes: Any) -> None:
        for i in range(shown):
            along = overlaps[:, i, :2]
            axes.plot(along[:, 0], along[:, -1], "o-", markersize=3, linewidth=0.8, label=f"u{i + 1}")
            for layer, (a, b) in zip(layers, along[:, [0, -1]], strict=True):
                axes.annotate(str(layer), (a, b), fontsize=6, textcoords="offset points", xytext=(2, 2))
        axes.set(xlabel="⟨u, first of the last layer⟩", ylabel="⟨u, second of the last layer⟩")
        axes.legend(frameon=False)

    return Picture("path", draw, columns, (4.8, 4.4))


def lines(
    name: str,
    x: Sequence[Any] | np.ndarray,
    series: Mapping[str, Any],
    label: str,
    *,
    log: bool = False,
    across: str = "layer",
    columns: Columns | None = None,
) -> Picture:
    """One line a series over ``x``, called ``across``; ``columns`` stand beside it in the numbers."""

    def draw(axes: Any) -> None:
        for title, values in series.items():
            axes.plot(x, values, "o-", markersize=3, linewidth=0.9, label=title)
        axes.set(xlabel=across, ylabel=label, yscale="log" if log else "linear")
        _whole_numbers(axes)
        if len(series) > 1:
            axes.legend(frameon=False)

    return Picture(name, draw, {across: x, **(columns or {}), **series})


def spectra(name: str, title: str, layers: Sequence[int], s: Float[np.ndarray, "layers k"]) -> Picture:
    """σ by number, a line for every layer, from dark to light."""
    k = np.arange(1, s.shape[1] + 1)

    def draw(axes: Any) -> None:
        import matplotlib as mpl

        colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
        for layer, values, colour in zip(layers, s, colours, strict=True):
            axes.plot(k, values, ".-", color=colour, linewidth=0.8, label=f"layer {layer}")
        axes.set(xlabel="number of the direction", ylabel="σ", yscale="log", title=literal(title))
        _whole_numbers(axes)
        if len(layers) <= 12:
            axes.legend(frameon=False, fontsize=7)

    columns = {f"layer_{layer}": values for layer, values in zip(layers, s, strict=True)}
    return Picture(name, draw, {"number": k, **columns})


def bars_of_tokens(
    name: str, positions: Sequence[int], tokens: Sequence[str], shares: Float[np.ndarray, " t"], title: str
) -> Picture:
    """What each token contributes, the largest ones in the order of the prompt."""
    order = np.sort(np.argsort(-np.abs(shares), kind="stable")[:_BARS])

    def draw(axes: Any) -> None:
        names = [f"{positions[i]} {_word(tokens[i])}" for i in order]
        axes.bar(range(len(order)), shares[order])
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
        axes.set(ylabel="contribution", title=literal(title))

    return Picture(name, draw, {"position": positions, "text": tokens, "contribution": shares})


def bars_of_layers(name: str, branches: Float[np.ndarray, "layers 2"], title: str) -> Picture:
    """What attention and MLP of each layer contribute [layers, 2]."""
    layers = np.arange(len(branches))
    series = {"attention": branches[:, 0], "mlp": branches[:, 1]}

    def draw(axes: Any) -> None:
        for shift, (part, shares) in zip((-0.2, 0.2), series.items(), strict=True):
            axes.bar(layers + shift, shares, 0.4, label=part)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(xlabel="layer", ylabel="contribution", title=literal(title))
        _whole_numbers(axes)
        axes.legend(frameon=False)

    return Picture(name, draw, {"layer": layers, **series})


def literal(text: str) -> str:
    """Text without what matplotlib would take for mathematics."""
    return text.replace("$", r"\$")


def _word(text: str) -> str:
    return literal(visible(text))


def _whole_numbers(axes: Any) -> None:
    """Ticks below at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
