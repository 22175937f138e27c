"""One logit, or difference of two, split over what it is the sum of; and the tables of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import numpy as np
from rich.table import Table
from rich.text import Text

from jaxlin.linear.operator import Leaf
from jaxlin.results.tables import new_table, visible

#: Tokens and branches in a table, cells of the longest bar, tokens named beside a branch.
_SHOWN, _BAR, _FROM = 12, 16, 3


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Split:
    """⟨w, y⟩ split exactly: over input tokens, over what wrote to the residual stream, and over both at once.

    Attributes:
        value: ⟨w, y⟩, the logit or difference of logits.
        offset: ⟨w, c⟩, which is no token's (0 without biases on the linear path, and without a span).
        tokens: what each input position contributes [T]; with the offset they sum to the value.
        embedding: what the last token's own embedding contributes through the residual stream.
        branches: what attention and MLP of each layer add [layers, 2]; with the embedding they sum to it too.
        directions: what each position contributes along each singular direction [k, T], ⟨w, u⟩·σ⟨v_t, x_t⟩;
            over k they sum to ``tokens`` as far as the directions go. None where no SVD was given.
        heads: what each attention head adds [layers, heads]; None in results of older versions.
        biases: what the biases of attention's output projections add [layers]; with the heads they sum to
            attention. None where there are no such biases.
        branch_tokens: what each position contributes through each head and, behind the heads, the MLP of each
            layer [layers, heads + 1, T]. Over the branches they sum, with the embedding at the last position,
            to ``tokens``. None where it was not asked for.
        branch_offsets: what is no token's of those [layers, heads + 1]; with it they sum, over the tokens, to
            heads and MLPs.
        row: w [d]; None where nobody kept it.
        target: what is split, in words.
    """

    value: Leaf
    offset: Leaf
    tokens: Leaf
    embedding: Leaf
    branches: Leaf
    directions: Leaf = None
    heads: Leaf = None
    biases: Leaf = None
    branch_tokens: Leaf = None
    branch_offsets: Leaf = None
    row: Leaf = None
    target: str = field(default="", metadata={"static": True})

    @property
    def each(self) -> np.ndarray:
        """Heads and, behind them, the MLP of each layer [layers, heads + 1].

        Attention as one where no head is known.
        """
        branches = np.asarray(self.branches)
        return np.concatenate([branches[:, :1] if self.heads is None else self.heads, branches[:, 1:]], 1)

    @property
    def strongest(self) -> list[tuple[int, int]]:
        """(layer, which of :attr:`each`) of all of them, the largest contributions first."""
        order = np.argsort(-np.abs(self.each), axis=None, kind="stable")
        layers, branches = np.unravel_index(order, self.each.shape)
        return list(zip(layers.tolist(), branches.tolist(), strict=True))

    def rows_of_tokens(self, most: int) -> list[tuple[int | None, str, float]]:
        """The largest contributions of tokens, and what is left: (place among them, name, contribution)."""
        shares = np.asarray(self.tokens, np.float64)
        order = np.argsort(-np.abs(shares), kind="stable")[:most]
        rows: list[tuple[int | None, str, float]] = [(int(t), "", float(shares[t])) for t in order]
        others = len(shares) - len(order)
        if others:
            name = "the other token" if others == 1 else f"the other {others} tokens"
            rows.append((None, name, float(shares.sum() - shares[order].sum())))
        if self.offset:
            rows.append((None, "the offset c", float(self.offset)))
        return rows

    def rows_of_branches(self, most: int) -> list[tuple[tuple[int, int] | None, str, float]]:
        """The largest contributions of heads and MLPs, and what is left: (place in ``each``, name, size)."""
        each, order = self.each, self.strongest[:most]
        rows: list[tuple[tuple[int, int] | None, str, float]] = [
            (place, self.name_of(*place), float(each[place])) for place in order
        ]
        others = each.size - len(order)
        if others:
            rest = float(each.sum() - sum(each[place] for place in order))
            rows.append((None, "the other branch" if others == 1 else f"the other {others}", rest))
        if self.biases is not None:
            rows.append((None, "biases of attention", float(np.asarray(self.biases).sum())))
        rows.append((None, "the last embedding", float(self.embedding)))
        return rows

    def name_of(self, layer: int, branch: int) -> str:
        """One of :attr:`each` in words."""
        if branch == self.each.shape[1] - 1:
            return f"layer {layer} MLP"
        return f"layer {layer} attention" if self.heads is None else f"layer {layer} head {branch}"


def table_of_tokens(split: Split, positions: Sequence[int], texts: Sequence[str], title: str) -> Table:
    """The largest contributions of tokens, and what is left over."""
    largest = float(np.abs(split.tokens).max()) or 1.0
    rows = split.rows_of_tokens(_SHOWN)
    made = new_table(title, "position", "token", "contribution", "")
    for i, (t, name, share) in enumerate(rows):
        position, token = ("", name) if t is None else (str(positions[t]), visible(texts[t]))
        last = i == len(rows) - 1
        made.add_row(position, Text(token), f"{share:+.4g}", bar(share / largest), end_section=last)
    made.add_row("", "together", f"{float(split.value):+.4g}", "")
    return made


def table_of_branches(split: Split, texts: Sequence[str], title: str) -> Table:
    """The heads and MLPs that contribute most, with the tokens through them where they are known."""
    through = [] if split.branch_tokens is None else ["token"]
    made = new_table(title, "layer", " ", "contribution", "", *through)
    largest = float(np.abs(split.each).max()) or 1.0
    rows = split.rows_of_branches(_SHOWN)
    for i, (place, name, share) in enumerate(rows):
        cells = ["", name, f"{share:+.4g}", bar(share / largest)]
        if place is not None:
            cells[:2] = str(place[0]), name.removeprefix(f"layer {place[0]} ")
            cells += [_tokens_through(split, *place, texts)] if through else []
        made.add_row(*map(Text, cells), end_section=i == len(rows) - 1)
    made.add_row("", "together", f"{float(split.value):+.4g}", "")
    return made


def table_of_layers(split: Split) -> Table:
    """Attention and MLP of every layer."""
    made = new_table("over what wrote to the residual stream", "layer", "attention", "", "MLP", " ")
    largest = float(np.abs(split.branches).max()) or 1.0
    made.add_row("embedding", f"{float(split.embedding):+.4g}", "", "", "")
    for layer, shares in enumerate(np.asarray(split.branches)):
        cells = [cell for share in shares for cell in (f"{share:+.4g}", bar(share / largest))]
        made.add_row(str(layer), *cells)
    return made


def _tokens_through(split: Split, layer: int, branch: int, texts: Sequence[str]) -> str:
    shares = np.asarray(split.branch_tokens)[layer, branch]
    order = np.argsort(-np.abs(shares), kind="stable")[:_FROM]
    return "  ".join(f"{visible(texts[t])} {shares[t]:+.2g}" for t in order)


def bar(share: float) -> str:
    """A bar as long as the share is large; negative ones are hollow."""
    return ("█" if share > 0 else "░") * round(min(abs(share), 1.0) * _BAR) if share == share else ""
