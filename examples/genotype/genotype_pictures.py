"""The figures of this example. Each is returned, and saved to ``results/genotype``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from effects import agreement, of_each_pair
from jaxtyping import Float

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "results" / "genotype"
STYLE = HERE.parent / "paper.mplstyle"
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"


def saved(figure: Any, name: str) -> Any:
    """The figure, after it was written to the folder of results."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png")
    return figure


@plt.style.context(STYLE)
def effects_figure(
    additive: tuple[Float[np.ndarray, " loci"], Float[np.ndarray, " loci"]],
    epistasis: tuple[Float[np.ndarray, "loci loci"], Float[np.ndarray, "loci loci"]],
    maps: Float[np.ndarray, "individuals loci"],
    genotypes: Float[np.ndarray, "individuals loci"],
) -> Any:
    """Found against true effects of loci and of pairs, and the map at the strongest pair by genotype.

    Args:
        additive: the truth, and what was found.
        epistasis: the truth, and what was found.
        maps: of all individuals.
        genotypes: copies of the allele.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.9))
    _against(left, *additive, "additive effect")
    left.set_title("a  loci: the mean map")
    truth, found = (of_each_pair(effects) for effects in epistasis)
    _against(middle, truth, found, "effect of a pair")
    middle.set_title("b  pairs: how maps change")
    j, k = np.unravel_index(np.abs(epistasis[0]).argmax(), epistasis[0].shape)
    bystander = _bystander(epistasis[0], j)
    for locus, colour, shift, name in (
        (k, ORANGE, -0.14, "its partner"),
        (bystander, GREY, 0.14, "another locus"),
    ):
        groups = [maps[genotypes[:, locus] == copies, j] for copies in (0, 1, 2)]
        drawn = right.boxplot(
            groups, positions=np.arange(3) + shift, widths=0.22, showfliers=False, patch_artist=True,
            medianprops={"color": "black"}, manage_ticks=False,
        )  # fmt: skip
        for box in drawn["boxes"]:
            box.set_facecolor(colour)
        right.plot([], [], "s", color=colour, label=f"{name}, locus {locus + 1}")
    right.set(xticks=[0, 1, 2], xlabel="copies of the allele at the other locus")
    right.set_ylabel(f"J of locus {j + 1}  (genetic s.d. per allele)")
    right.set_ylim(top=right.get_ylim()[1] + 0.25 * np.ptp(right.get_ylim()))
    right.legend(loc="upper left")
    right.set_title("c  one locus, all individuals")
    return saved(figure, "effects")


def _bystander(epistasis: np.ndarray, locus: int) -> int:
    """A locus half a chromosome away that does not interact with this one."""
    far = np.roll(np.arange(len(epistasis)), -(locus + len(epistasis) // 2))
    return int(next(other for other in far if epistasis[locus, other] == 0 and other != locus))


def _against(axes: Any, truth: np.ndarray, found: np.ndarray, name: str) -> None:
    most = 1.1 * max(np.abs(truth).max(), np.abs(found).max())
    axes.plot([-most, most], [-most, most], color="black", lw=0.6, zorder=0)
    none = truth == 0
    axes.plot(truth[none], found[none], ".", ms=3, color=GREY, alpha=0.5, label=f"no effect ({none.sum():,})",
              rasterized=True)  # fmt: skip
    axes.plot(truth[~none], found[~none], "o", ms=4, color=BLUE, label=f"effect ({(~none).sum():,})")
    axes.text(0.97, 0.04, f"r = {agreement(found, truth):.3f}", transform=axes.transAxes, ha="right")
    axes.set(xlabel=f"true {name}  (genetic s.d.)", ylabel=f"found {name}  (genetic s.d.)", aspect="equal")
    axes.set(xlim=(-most, most), ylim=(-most, most))
    axes.legend(loc="upper left")


@plt.style.context(STYLE)
def noise_figure(
    heritabilities: Sequence[float], results: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
) -> Any:
    """How agreement with the truth falls with noise.

    Args:
        heritabilities: from left to right.
        results: what was measured (row) -> which population (column) -> which method -> its values.
    """
    marks = {"maps of the network": (BLUE, "o"), "linear regression": (GREY, "s"),
             "pair after pair": (GREEN, "D"), "lasso on all pairs": (ORANGE, "^")}  # fmt: skip
    columns = list(next(iter(results.values())))
    size = (6.4, 1.9 * len(results) + 0.5)
    figure, grid = plt.subplots(
        len(results), len(columns), figsize=size, sharex=True, sharey="row", squeeze=False
    )
    shown: dict[str, Any] = {}
    for row, (measure, by_population) in zip(grid, results.items(), strict=True):
        for axes, population in zip(row, columns, strict=True):
            for method, values in by_population[population].items():
                colour, mark = marks[method]
                (shown[method],) = axes.plot(
                    heritabilities, values, color=colour, marker=mark, ms=4, clip_on=False
                )
            axes.set(ylim=(0, 1.02), xticks=heritabilities)
        row[0].set_ylabel(measure)
    grid[0][0].invert_xaxis()  # shared: noise grows to the right
    for axes, population in zip(grid[0], columns, strict=True):
        axes.set_title(population)
    for axes in grid[-1]:
        axes.set_xlabel("heritability")
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown))
    return saved(figure, "noise")


@plt.style.context(STYLE)
def pairs_figure(
    found: Mapping[str, Float[np.ndarray, "loci loci"]], truth: Float[np.ndarray, "loci loci"]
) -> Any:
    """The effects of all pairs along the chromosome: true ones above the diagonal, found ones below it.

    The area of a disc is its effect, as a share of the largest of its triangle.
    """
    figure, row = plt.subplots(1, len(found), figsize=(3.3 * len(found), 3.5), squeeze=False)
    first, second = np.nonzero(np.triu(truth))
    for axes, (name, effects) in zip(row[0], found.items(), strict=True):
        for which, halves in (("true", np.triu(truth, 1)), ("found", np.tril(effects, -1))):
            for colour, sign in ((BLUE, -1), (ORANGE, 1)):
                share = np.clip(sign * halves / np.abs(halves).max(), 0, 1)
                y, x = np.nonzero(share)
                name_once = ("lowers" if sign < 0 else "raises") if which == "true" else None
                axes.scatter(x + 1, y + 1, s=60 * share[y, x], color=colour, lw=0, label=name_once)
        axes.plot(
            first + 1, second + 1, "o", ms=11, mfc="none", mec="black", mew=0.5, label="where a true pair is"
        )
        loci = len(truth)
        axes.plot([1, loci], [1, loci], color="black", lw=0.5)
        for word, place, side in (("true", (0.99, 0.5), "right"), ("found", (0.02, 0.02), "left")):
            box = {"facecolor": "white", "lw": 0, "pad": 1}
            axes.text(*place, word, transform=axes.transAxes, ha=side, bbox=box)
        axes.set(
            xlabel="locus", ylabel="locus", aspect="equal", title=name, xlim=(0, loci + 1), ylim=(loci + 1, 0)
        )
    handles, labels = row[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return saved(figure, "pairs")
