"""Pictures of what is positive or negative, warm and cold: layers by heads, branches by tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxlin.results.pictures import Columns, Picture, drawable, literal, nothing_in, word
from jaxlin.results.split import Split

#: Branches and tokens that the picture of both names; all of them are in the numbers.
_BRANCHES, _TOKENS, _LETTERS = 16, 24, 16


def signed_branches(name: str, split: Split, title: str) -> Picture:
    """What every head and MLP contributes: a cell for each, layers upwards."""
    each = split.each
    heads = each.shape[1] - 1

    def draw(axes: Any) -> None:
        _draw(axes, each, title)
        axes.invert_yaxis()
        ticks = range(0, heads, -(-heads // 9))
        axes.set_xticks([*ticks, heads], [*map(str, ticks), "MLP"])
        layers = range(0, len(each), -(-len(each) // 9))
        axes.set_yticks(layers, [str(layer) for layer in layers])
        axes.axvline(heads - 0.5, color="black", linewidth=0.6)
        axes.set(xlabel="attention head", ylabel="layer")

    columns: Columns = {"layer": np.arange(len(each))}
    columns |= {f"head_{i}": each[:, i] for i in range(heads)} | {"mlp": each[:, heads]}
    if split.biases is not None:
        columns["output_bias"] = np.asarray(split.biases)
    width = float(np.clip(2.5 + 0.4 * (heads + 1), 4.8, 9.6))
    height = float(np.clip(1.5 + 0.2 * len(each), 3.6, 9.6))
    return Picture(name, draw, columns, (width, height), nothing_in([each]))


def signed_tokens(
    name: str, split: Split, positions: Sequence[int], texts: Sequence[str], title: str
) -> Picture:
    """What the strongest tokens contribute through the strongest heads and MLPs."""
    whole = np.asarray(split.branch_tokens, np.float64)
    rows = split.strongest[:_BRANCHES]
    chosen = np.stack([whole[place] for place in rows])
    most = np.nan_to_num(np.abs(chosen)).max(0)
    order = np.sort(np.argsort(-most, kind="stable")[:_TOKENS])

    def draw(axes: Any) -> None:
        _draw(axes, chosen[:, order], title)
        names = [f"{positions[t]} {word(texts[t], _LETTERS)}" for t in order]
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(rows)), [split.name_of(*place) for place in rows], fontsize=7)

    columns: Columns = {"position": positions, "text": texts}
    for layer, branch in np.ndindex(*whole.shape[:2]):
        key = split.name_of(layer, branch).replace(" ", "_").lower()
        columns[key] = whole[layer, branch]
    return Picture(name, draw, columns, (7.2, 4.8), nothing_in([whole]))


def _draw(axes: Any, values: Float[np.ndarray, "r c"], title: str) -> None:
    """A heat map whose white is 0."""
    drawn = drawable(values)
    most = float(np.nanmax(np.abs(drawn)))
    image = axes.imshow(drawn, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-most, vmax=most)
    axes.figure.colorbar(image, ax=axes, label="contribution")
    axes.set_title(literal(title), fontsize=10)
