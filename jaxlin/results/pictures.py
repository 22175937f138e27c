"""Pictures of results, each with the numbers it shows beside it. matplotlib is loaded when one is drawn."""

from __future__ import annotations

import base64
import csv
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError, printable, shortened
from jaxlin.results.tables import visible

#: Numbers by name: columns of one length.
Columns = dict[str, Any]
Values = Array | np.ndarray
FORMATS = ("png", "pdf", "svg")
#: Letters of a token that a picture shows.
_LETTERS = 24
#: Tokens of a bar chart; the numbers have all of them.
_BARS = 24
#: How all pictures look, as settings of matplotlib.
STYLE: Any = {
    "svg.hashsalt": "jaxlin",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.usetex": False,  # tokens and names are words, never markup
}
#: What a cell of a spreadsheet must not begin with, or it would be computed: also as wide letters.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: of its files.
        draw: draws it into matplotlib's axes.
        numbers: what it shows, as columns of one length.
        size: in inches.
        nothing: why there is nothing to draw, which then stands in place of it; empty where there is.
        caption: what it is of, above it.
    """

    name: str
    draw: Callable[[Any], None]
    numbers: Columns
    size: tuple[float, float] = field(default=(6.4, 4.0))
    nothing: str = ""
    caption: str = ""

    def figure(self) -> Any:
        """It as a :class:`matplotlib.figure.Figure`."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        with mpl.rc_context(STYLE):
            figure = Figure(figsize=self.size, layout="constrained")
            axes = figure.add_subplot()
            if self.nothing:
                axes.set_axis_off()
                words = literal(f"{self.name}: there is nothing to draw,\n{self.nothing}", keep="\n")
                axes.text(0.5, 0.5, words, ha="center", va="center", wrap=True)
            else:
                self.draw(axes)
            if self.caption:
                figure.suptitle(literal(self.caption), fontsize=8, color="dimgrey", wrap=True)
        return figure

    def save(self, folder: Path, formats: Sequence[str]) -> list[Path]:
        """Write the picture in every format, and its numbers as CSV."""
        import matplotlib as mpl

        figure = self.figure()
        paths = [folder / f"{self.name}.{ending}" for ending in formats]
        with mpl.rc_context(STYLE), _silent_about_fonts():
            for path in paths:
                figure.savefig(path, dpi=160)
        numbers = folder / f"{self.name}.csv"
        with numbers.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            lines = csv.writer(file)
            lines.writerow(map(cell, self.numbers))
            lines.writerows(map(cell, row) for row in zip(*self.numbers.values(), strict=True))
        return [*paths, numbers]


def cell(value: Any) -> Any:
    """What stands in a CSV: numbers as they are, text spelled out, and so that no spreadsheet computes it.

    Text that would be computed, and text that begins with ``'`` itself, gets a ``'`` before it.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.startswith((*_FORMULA, "'")) else text


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
    """matplotlib logs and warns that a font lacks some letter of some prompt, which nobody can help."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for words in ("Glyph .* missing from", "Matplotlib currently does not support"):
                warnings.filterwarnings("ignore", words, UserWarning)
            yield
    finally:
        logger.setLevel(before)


def check_formats(formats: Sequence[str]) -> None:
    """:class:`JaxlinError` if any of these is none of :data:`FORMATS`, or there are none."""
    unknown = [ending for ending in formats if ending not in FORMATS]
    if unknown or not formats:
        what = f"unknown format {shortened(unknown[0])!r}" if unknown else "no format is given"
        raise JaxlinError(f"{what}: choose from {', '.join(FORMATS)}")


def spectrum(
    s: Float[Values, " k"], residuals: Float[Values, " k"], whole: Float[Values, " m"] | None
) -> Picture:
    """Singular values with their residuals as error bars, and the whole spectrum where it is known."""
    k, s, residuals = np.arange(1, len(s) + 1), np.asarray(s), np.asarray(residuals)

    def draw(axes: Any) -> None:
        if whole is not None:
            every = np.arange(1, len(whole) + 1)
            axes.plot(every, drawable(whole), color="lightgrey", label="whole spectrum")
        errors = np.nan_to_num(drawable(residuals))
        axes.errorbar(k, drawable(s), yerr=errors, fmt=".", label="σ ± residual")
        axes.set(xlabel="number of the direction", ylabel="σ", yscale="log")
        whole_numbers(axes)
        axes.legend(frameon=False)

    nothing = nothing_in([s], log=True, zero="no singular value is above 0")
    return Picture("spectrum", draw, {"number": k, "s": s, "residual": residuals}, nothing=nothing)


def path(layers: Sequence[int], overlaps: Float[np.ndarray, "layers k k"]) -> Picture:
    """How far the first left vectors of every layer lie along the last layer's first two."""
    shown = min(4, overlaps.shape[1])
    columns: Columns = {"layer": layers}
    for i in range(shown):
        for j in range(min(2, overlaps.shape[2])):
            columns |= {f"u{i + 1}_on_last_u{j + 1}": overlaps[:, i, j]}

    def draw(axes: Any) -> None:
        for i in range(shown):
            along = drawable(overlaps[:, i, :2])
            axes.plot(along[:, 0], along[:, -1], "o-", markersize=3, linewidth=0.8, label=f"u{i + 1}")
            for layer, (a, b) in zip(layers, along[:, [0, -1]], strict=True):
                axes.annotate(str(layer), (a, b), fontsize=6, textcoords="offset points", xytext=(2, 2))
        axes.set(xlabel="⟨u, first of the last layer⟩", ylabel="⟨u, second of the last layer⟩")
        axes.legend(frameon=False)

    return Picture("path", draw, columns, (4.8, 4.4), nothing_in([overlaps]))


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
            axes.plot(x, drawable(values), "o-", markersize=3, linewidth=0.9, label=literal(title))
        axes.set(xlabel=literal(across), ylabel=literal(label), yscale="log" if log else "linear")
        whole_numbers(axes)
        if len(series) > 1:
            axes.legend(frameon=False)

    nothing = nothing_in(series.values(), log=log)
    return Picture(name, draw, {across: x, **(columns or {}), **series}, nothing=nothing)


def spectra(name: str, title: str, layers: Sequence[int], s: Float[np.ndarray, "layers k"]) -> Picture:
    """σ by number, a line for every layer, from dark to light."""
    k = np.arange(1, s.shape[1] + 1)

    def draw(axes: Any) -> None:
        import matplotlib as mpl

        colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
        for layer, values, colour in zip(layers, s, colours, strict=True):
            axes.plot(k, drawable(values), ".-", color=colour, linewidth=0.8, label=f"layer {layer}")
        axes.set(xlabel="number of the direction", ylabel="σ", yscale="log", title=literal(title))
        whole_numbers(axes)
        if len(layers) <= 12:
            axes.legend(frameon=False, fontsize=7)

    columns = {f"layer_{layer}": values for layer, values in zip(layers, s, strict=True)}
    return Picture(name, draw, {"number": k, **columns}, nothing=nothing_in([s], log=True))


def bars_of_tokens(
    name: str, positions: Sequence[int], tokens: Sequence[str], shares: Float[np.ndarray, " t"], title: str
) -> Picture:
    """What each token contributes, the largest ones in the order of the prompt."""
    order = np.sort(np.argsort(-np.abs(shares), kind="stable")[:_BARS])

    def draw(axes: Any) -> None:
        names = [f"{positions[i]} {word(tokens[i])}" for i in order]
        axes.bar(range(len(order)), drawable(shares[order]))
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
        axes.set(ylabel="contribution", title=literal(title))

    numbers = {"position": positions, "text": tokens, "contribution": shares}
    return Picture(name, draw, numbers, nothing=nothing_in([shares]))


def bars_of_layers(name: str, branches: Float[np.ndarray, "layers 2"], title: str) -> Picture:
    """What attention and MLP of each layer contribute [layers, 2]."""
    layers = np.arange(len(branches))
    series = {"attention": branches[:, 0], "mlp": branches[:, 1]}

    def draw(axes: Any) -> None:
        for shift, (part, shares) in zip((-0.2, 0.2), series.items(), strict=True):
            axes.bar(layers + shift, drawable(shares), 0.4, label=part)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(xlabel="layer", ylabel="contribution", title=literal(title))
        whole_numbers(axes)
        axes.legend(frameon=False)

    return Picture(name, draw, {"layer": layers, **series}, nothing=nothing_in([branches]))


def literal(text: str, *, keep: str = "") -> str:
    """Text spelled out, without what matplotlib would take for mathematics; ``keep`` as in ``printable``."""
    return printable(text, keep=keep).replace("$", r"\$")


def word(text: str, letters: int = _LETTERS) -> str:
    """A token in few letters, for a picture."""
    return literal(shortened(printable(visible(text)), letters))


def nothing_in(values: Iterable[Any], *, log: bool = False, zero: str = "every value is 0") -> str:
    """Why numbers cannot be drawn; empty where they can. On a logarithmic scale nothing below 0 can."""
    flat = np.concatenate([np.ravel(np.asarray(each, np.float64)) for each in values] or [np.zeros(0)])
    known = flat[np.isfinite(flat)]
    if not known.size:
        return "no value is finite"
    return zero if not (known > 0).any() and (log or not known.any()) else ""


def drawable(values: Any) -> Any:
    """The same numbers in float64, without those that are not finite, which matplotlib would warn of."""
    wide = np.asarray(values, np.float64)
    return np.where(np.isfinite(wide), wide, np.nan)


def whole_numbers(axes: Any) -> None:
    """Ticks below at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
