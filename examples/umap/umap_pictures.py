"""The figures of this example. Each is returned, and saved to ``results/umap``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from expression import first_genes
from jaxtyping import Float

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "results" / "umap"
STYLE = HERE.parent / "paper.mplstyle"
#: Nine colours that colour-blind readers can tell apart (Paul Tol's "muted"), and grey for the rest.
COLOURS = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
REST = "#BBBBBB"
_MARKS = "osD^vP*Xd"


def saved(figure: Any, name: str) -> Any:
    """The figure, after it was written to the folder of results."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png")
    return figure


@plt.style.context(STYLE)
def embedding_figure(placed: Float[np.ndarray, "cells 2"], kinds: Sequence[str], genes: Sequence[str]) -> Any:
    """The cells twice: coloured by kind, and by the gene with the strongest contribution."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.7), sharey=True)
    _coloured(left, placed, kinds, "a  kind of cell, as labelled")
    _coloured(right, placed, genes, "b  gene with the strongest contribution")
    for axes in (left, right):
        axes.set(xlabel="dimension 1", aspect="equal")
    left.set_ylabel("dimension 2")
    return saved(figure, "embedding")


def _coloured(axes: Any, placed: np.ndarray, names: Sequence[str], title: str) -> None:
    """Cells in a colour and a mark for each of the nine most frequent names."""
    every = np.array(names)
    found, counts = np.unique(every, return_counts=True)
    order = found[np.argsort(-counts, kind="stable")]
    first, rest = order[: len(COLOURS)], order[len(COLOURS) :]
    if len(rest):
        few = np.isin(every, rest)
        name = rest[0] if len(rest) == 1 else f"{len(rest)} others"
        axes.plot(*placed[few].T, ".", color=REST, ms=4, label=f"{name} ({few.sum()})", zorder=1)
    for name, colour, mark in zip(first, COLOURS, _MARKS, strict=False):
        of = every == name
        axes.plot(*placed[of].T, mark, color=colour, ms=3, mew=0, label=f"{name} ({of.sum()})")
    axes.plot(0, 0, "+", color="black", ms=8)
    axes.annotate("origin", (0, 0), (4, 4), textcoords="offset points", fontsize=7)
    handles, labels = axes.get_legend_handles_labels()
    if len(rest):
        handles, labels = handles[1:] + handles[:1], labels[1:] + labels[:1]
    axes.legend(handles, labels, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.4)
    axes.set_title(title)


@dataclass(frozen=True, eq=False)
class Ranked:
    """Two scores of every gene for one kind of cell.

    Attributes:
        moved: how far a gene moves the centre of the kind from that of the other cells [genes].
        z: of the rank-sum test, this kind against the others [genes].
    """

    moved: Float[np.ndarray, " genes"]
    z: Float[np.ndarray, " genes"]


@plt.style.context(STYLE)
def agreement_figure(ranked: Mapping[str, Ranked], genes: Sequence[str]) -> Any:
    """What moves each kind of cell, against how clearly it is expressed differently."""
    figure, grid = plt.subplots(1, len(ranked), figsize=(2.75 * len(ranked), 2.9), squeeze=False)
    for axes, (kind, scores) in zip(grid[0], ranked.items(), strict=True):
        by_z, by_move = first_genes(np.abs(scores.z), 20), first_genes(scores.moved, 20)
        both = np.intersect1d(by_z, by_move)
        axes.axhline(0, color="black", lw=0.4)
        axes.axvline(0, color="black", lw=0.4)
        groups = (
            (np.setdiff1d(by_z, both), "s", COLOURS[1], "first 20 by |z|"),
            (np.setdiff1d(by_move, both), "o", COLOURS[0], "first 20 by movement"),
            (both, "D", COLOURS[3], "in both"),
        )
        axes.plot(scores.z, scores.moved, ".", ms=3, color=REST, rasterized=True, zorder=1)
        for chosen, mark, colour, name in groups:
            axes.plot(scores.z[chosen], scores.moved[chosen], mark, ms=3.5, mew=0, color=colour, label=name)
        _named(axes, scores, [*first_genes(scores.moved, 4), *first_genes(np.abs(scores.z), 3)], genes)
        axes.set(xlabel="z of the rank-sum test", title=kind)
    grid[0][0].set_ylabel("moves the centre by\n(units of the embedding)")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return saved(figure, "expression")


def _named(axes: Any, scores: Ranked, numbers: Sequence[int], genes: Sequence[str]) -> None:
    """Names towards the middle from their points, and never one upon another."""
    low, high = scores.moved.min(), scores.moved.max()
    axes.set_ylim(low - 0.08 * (high - low), high + 0.14 * (high - low))
    gap, aside = 0.062 * np.ptp(axes.get_ylim()), 0.09 * np.ptp(scores.z)
    for side, towards in ((1, "right"), (-1, "left")):
        chosen = [number for number in set(numbers) if side * scores.z[number] > 0]
        if not chosen:
            continue
        start = side * min(side * scores.z[number] for number in chosen) - side * aside
        height = np.inf
        for number in sorted(chosen, key=lambda number: -scores.moved[number]):
            height = min(scores.moved[number], height - gap)
            axes.annotate(
                genes[number], (scores.z[number], scores.moved[number]), (start, height), fontsize=6.5,
                ha=towards, va="center", arrowprops={"arrowstyle": "-", "lw": 0.3, "color": "#555555"},
            )  # fmt: skip


@plt.style.context(STYLE)
def heat_figure(
    moved: Mapping[str, Float[np.ndarray, " genes"]], genes: Sequence[str], *, each: int = 4
) -> Any:
    """The genes that move each kind of cell most, for all kinds: rows are kinds, columns are genes."""
    chosen: list[int] = []
    for scores in moved.values():
        chosen += [number for number in first_genes(scores, each) if number not in chosen]
    values = np.array([scores[chosen] for scores in moved.values()])
    most = np.abs(values).max()
    figure, axes = plt.subplots(figsize=(0.27 * len(chosen) + 2.6, 0.27 * len(moved) + 1.3))
    image = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    axes.set_xticks(range(len(chosen)), [genes[number] for number in chosen], rotation=90, fontsize=7)
    axes.set_yticks(range(len(moved)), list(moved))
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.colorbar(image, ax=axes, label="moves the centre by\n(units of the embedding)", pad=0.02)
    return saved(figure, "genes")


@plt.style.context(STYLE)
def methods_figure(rows: Sequence[tuple[str, float, float, float]]) -> Any:
    """Time of other methods against their distance from the exact contributions.

    Args:
        rows: name, CPU seconds for each cell, mean distance, and how far two runs differ (0 if they cannot).
    """
    figure, axes = plt.subplots(figsize=(5.2, 3.9))
    floor = 1e-16
    for (name, seconds, distance, spread), colour, mark in zip(rows, COLOURS, _MARKS, strict=False):
        label = name + (
            f"  (two runs differ by {spread:.0%})" if spread else "  (exact)" if not distance else ""
        )
        axes.plot(seconds, max(distance, floor), mark, color=colour, ms=7, label=label)
    axes.set(xscale="log", yscale="log", ylim=(floor / 3, 30), xlabel="seconds of one CPU core for each cell")
    axes.set_ylabel("distance from the exact contributions\n(share of their length)")
    axes.set_yticks([1e-15, 1e-10, 1e-5, 1])
    figure.legend(loc="outside upper left")
    return saved(figure, "methods")
