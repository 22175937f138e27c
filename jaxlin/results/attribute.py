"""The result of an attribution: a logit split over tokens, over layers, and over singular directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxlin.errors import printable
from jaxlin.linear.certificate import Certificate, Check
from jaxlin.linear.operator import Leaf
from jaxlin.results.about import About
from jaxlin.results.base import Result, map_arrays, saved_about, saved_labels, shape_of
from jaxlin.results.labels import Labels
from jaxlin.results.page.pieces import View, card, few_enough, shade, table, tokens_of
from jaxlin.results.pictures import Picture, bars_of_layers, bars_of_tokens
from jaxlin.results.plain import restored
from jaxlin.results.schema import Schema, Tensor, of_map
from jaxlin.results.svd import SVDResult
from jaxlin.results.tables import (
    WORDS,
    certificate_lines,
    check_line,
    new_table,
    panel,
    spell,
    spell_map,
    verdict,
    verdict_of,
    visible,
)
from jaxlin.results.triplets import (
    UNKNOWN_COST,
    Cost,
    Decoded,
    cost_entries,
    output_entries,
    repeated_triplets,
    triplet_entries,
    triplet_tensors,
)

#: Tokens in the table, and cells of the longest bar; all tokens are in the files.
_SHOWN, _BAR = 12, 16
#: What the summary says of a target that nobody chose.
MOST_LIKELY = "the model's own most likely next token"
_DETAILS = ("checks", "holds", "per_token", "per_layer", "certificate", "per_direction", "svd")


@dataclass(frozen=True)
class Share:
    """What a summary says of one token."""

    contribution: float


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Attribution(Result):
    """⟨w, y⟩ split twice, exactly: over input tokens, and over what wrote to the residual stream.

    Attributes:
        value: ⟨w, y⟩, the logit or difference of logits.
        offset: ⟨w, c⟩, which is no token's (0 without biases on the linear path, and without a span).
        tokens: what each input position contributes [T]; with the offset they sum to the value.
        embedding: what the last token's own embedding contributes through the residual stream.
        branches: what attention and MLP of each layer add [layers, 2]; with the embedding they sum to it too.
        directions: what each position contributes along each singular direction [k, T], ⟨w, u⟩·σ⟨v_t, x_t⟩;
            over k they sum to ``tokens`` as far as the directions go. None where no SVD was given.
        checks: that the sums hold, and that the passes are a linear map and its transpose.
        row: w [d]; None where nobody kept it, like what follows.
        x: the embeddings [T, d] of the prompt.
        y: the output of its map [d].
        c: the map's offset, y = J·x + c [d].
        triplets: the singular directions, where there are some.
        seed: of the checks' probes, and of the SVD.
        labels: the tokens of the prompt, and what reads vectors.
        about: further entries of the summary: the target in words, and how it was chosen.
    """

    kind: ClassVar[str] = "attribute"
    entries: ClassVar[Mapping[str, Any]] = {
        "value": float,
        "offset": float,
        "embedding": float,
        "seed": int,
        "checks": tuple[Check, ...],
        "per_token": tuple[Share, ...],
        "per_layer": tuple[Any, ...],
    }

    value: Leaf
    offset: Leaf
    tokens: Leaf
    embedding: Leaf
    branches: Leaf
    directions: Leaf
    checks: tuple[Check, ...] = field(metadata={"static": True})
    row: Leaf = None
    x: Leaf = None
    y: Leaf = None
    c: Leaf = None
    triplets: SVDResult | None = None
    seed: int = field(default=0, metadata={"static": True})
    labels: Labels | None = field(default=None, metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __repr__(self) -> str:
        certificate = "holds" if self.holds else "FAILS"
        value = "" if isinstance(self.value, jax.core.Tracer) else f"{float(self.value):.5g} "
        return f"Attribution({value}over {len(self.tokens)} tokens, certificate {certificate})"

    @property
    def holds(self) -> bool:
        """Whether every check keeps its limit."""
        return all(check.holds for check in self.checks)

    @property
    def target(self) -> str:
        """What is split, in words."""
        return str(self.entry("target", "⟨w, y⟩"))

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions in the prompt."""
        return tuple(range(len(self.tokens))) if self.labels is None else self.labels.positions

    @property
    def texts(self) -> tuple[str, ...]:
        """The tokens, as far as they are known."""
        return ("",) * len(self.tokens) if self.labels is None else self.labels.texts

    def arrays(self) -> dict[str, Any]:
        own = {
            "target_row": self.row,
            "token_contributions": self.tokens,
            "branch_contributions": self.branches,
            "direction_contributions": self.directions,
        }
        if self.triplets is not None:
            own |= {name: getattr(self.triplets, name) for name in ("U", "s", "V", "residuals", "spectrum")}
        known = {name: np.asarray(array) for name, array in own.items() if array is not None}
        return map_arrays(self.x, self.y, self.c, self.labels) | known

    def figures(self) -> dict[str, Any]:
        sums = {name: float(getattr(self, name)) for name in ("value", "offset", "embedding")}
        return {"seed": self.seed, **shape_of(self.x, self.y), "target": self.target, **sums}

    def details(self) -> dict[str, Any]:
        names = zip(self.positions, self.texts, self.tokens, strict=True)
        ids = [{}] * len(self.tokens) if self.labels is None else [{"id": token} for token in self.labels.ids]
        details: dict[str, Any] = {
            "checks": self.checks,
            "holds": self.holds,
            "per_token": [
                {"position": position, **ids[t], "text": text, "contribution": float(share)}
                for t, (position, text, share) in enumerate(names)
            ],
            "per_layer": [
                {"layer": layer, "attention": float(attention), "mlp": float(mlp)}
                for layer, (attention, mlp) in enumerate(self.branches)
            ],
        }
        if self.triplets is None or self.directions is None:
            return details
        svd, sums = self.triplets, np.asarray(self.directions).sum(1)
        words = output_entries(svd.outputs)
        return details | {
            "certificate": svd.certificate,
            "svd": cost_entries(svd),
            "per_direction": triplet_entries(svd.s, svd.residuals, words, contribution=sums),
        }

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        tensors, sizes = of_map(summary)
        labelled = "token_texts" in summary
        tensors |= {
            "target_row": Tensor("d", optional=not labelled),
            "token_contributions": Tensor("T"),
            "branch_contributions": Tensor("L 2"),
        }
        sizes |= {"T": len(summary["per_token"]), "L": len(summary["per_layer"])}
        if "per_direction" in summary:
            restored(tuple[Decoded, ...], summary["per_direction"], "per_direction")
            restored(Certificate, summary.get("certificate"), "certificate")
            restored(Cost, summary.get("svd", UNKNOWN_COST), "svd")
            tensors |= triplet_tensors() | {"direction_contributions": Tensor("k T")}
            sizes |= {"k": len(summary["per_direction"])}
        return Schema(tensors, sizes)

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        shares = [token["contribution"] for token in summary["per_token"]]
        yield "token_contributions", shares, arrays["token_contributions"]
        if "per_direction" in summary:
            yield from repeated_triplets(arrays, summary["per_direction"])

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> Attribution:
        labels, svd = saved_labels(arrays, summary), None
        if "per_direction" in summary:
            entry = {"certificate": summary["certificate"], "triplets": summary["per_direction"]}
            entry |= summary.get("svd", UNKNOWN_COST)
            svd = SVDResult.from_part(arrays, entry, summary["seed"], labels)
            svd = replace(svd, offset=arrays.get("offset"))
        return cls(
            **{name: restored(float, summary[name]) for name in ("value", "offset", "embedding")},
            tokens=arrays["token_contributions"],
            branches=arrays["branch_contributions"],
            directions=arrays.get("direction_contributions"),
            checks=restored(tuple[Check, ...], summary["checks"]),
            row=arrays.get("target_row"),
            x=arrays.get("embeddings"),
            y=arrays.get("output"),
            c=arrays.get("offset"),
            triplets=svd,
            seed=summary["seed"],
            labels=labels,
            about=saved_about(summary, _DETAILS, labels),
        )

    def table(self) -> RenderableType:
        lines = [check_line(check) for check in self.checks]
        failed = verdict_of([check.name for check in self.checks if not check.holds])
        chosen = f", {MOST_LIKELY}" if self.entry("chosen_by") == MOST_LIKELY else ""
        shown: list[RenderableType] = [
            panel(lines, failed, spell_map(self.summary())),
            Text(printable(f"{self.target} = {float(self.value):.5g}{chosen}")),
            self._tokens_table(),
            self._layers_table(),
        ]
        return Group(*shown, *([] if self.triplets is None else [self._directions_table(self.triplets)]))

    def _tokens_table(self) -> Table:
        shares = np.asarray(self.tokens)
        order = np.argsort(-np.abs(shares), kind="stable")[:_SHOWN]
        largest = float(np.abs(shares).max()) or 1.0
        rows = [(str(self.positions[t]), visible(self.texts[t]), float(shares[t])) for t in order]
        others = len(shares) - len(order)
        if others:
            name = "the other token" if others == 1 else f"the other {others} tokens"
            rows.append(("", name, float(shares.sum() - shares[order].sum())))
        if self.offset:
            rows.append(("", "the offset c", float(self.offset)))
        made = new_table("over input tokens", "position", "token", "contribution", "")
        for i, (position, name, share) in enumerate(rows):
            last = i == len(rows) - 1
            made.add_row(position, Text(name), f"{share:+.4g}", bar(share / largest), end_section=last)
        made.add_row("", "together", f"{float(self.value):+.4g}", "")
        return made

    def _layers_table(self) -> Table:
        made = new_table("over what wrote to the residual stream", "layer", "attention", "", "MLP", " ")
        largest = float(np.abs(self.branches).max()) or 1.0
        made.add_row("embedding", f"{float(self.embedding):+.4g}", "", "", "")
        for layer, shares in enumerate(np.asarray(self.branches)):
            cells = [cell for share in shares for cell in (f"{share:+.4g}", bar(share / largest))]
            made.add_row(str(layer), *cells)
        return made

    def _directions_table(self, svd: SVDResult) -> Table:
        held = "" if svd.holds else f"; certificate {verdict(svd.certificate)}"
        made = new_table(f"over singular directions{held}", "#", "σ", "contribution", "writes")
        for i, sum_ in enumerate(np.asarray(self.directions).sum(1)):
            made.add_row(str(i + 1), f"{float(svd.s[i]):.4g}", f"{sum_:+.4g}", spell(svd.outputs[i], WORDS))
        return made

    def shown(self) -> View:
        title = f"{self.target} = {float(self.value):.5g}"
        shades = [shade("attribution", self.tokens, f"contribution of each token to {title}")]
        cards = [card("certificate", self.holds, [check_line(check) for check in self.checks])]
        if self.triplets is not None:
            svd, along = self.triplets, np.asarray(self.directions)
            lines = certificate_lines(svd.certificate)
            cards.append(card("certificate of the directions", svd.holds, lines))
            for i in range(few_enough(len(along), len(self.tokens))):
                label = f"contribution of each token along direction {i + 1}"
                sigma, total = f"{float(svd.s[i]):.5g}", f"{along[i].sum():+.4g}"
                facts = [["σ", sigma], ["contribution", total]]
                name = f"direction {i + 1}"
                shades.append(shade(name, along[i], label, facts=facts, outputs=svd.outputs[i]))
        rows = [["embedding", f"{float(self.embedding):+.4g}", ""]]
        rows += [
            [str(layer), *(f"{share:+.4g}" for share in shares)] for layer, shares in enumerate(self.branches)
        ]
        written = table("What wrote to the residual stream", ("layer", "attention", "MLP"), rows)
        tokens = tokens_of(self.labels)
        return {
            "title": title,
            "tokens": tokens,
            "shades": shades if tokens else [],
            "tables": [written],
            "cards": cards,
        }

    def pictures(self) -> list[Picture]:
        title = f"{self.target} = {float(self.value):.4g}"
        return [
            bars_of_tokens("over_tokens", self.positions, self.texts, np.asarray(self.tokens), title),
            bars_of_layers("over_layers", np.asarray(self.branches), title),
        ]

    def call(self) -> dict[str, Any]:
        chosen = self.entry("chosen_by") != MOST_LIKELY
        options = {"target": self.target} if chosen and self.entry("target") else {}
        if self.triplets is None:
            return options
        return {**options, "k": len(self.triplets.s), "tol": self.triplets.certificate.tolerance}

    def rows(self) -> list[dict[str, Any]]:
        along: Any = () if self.directions is None else np.asarray(self.directions)
        return [
            {
                "position": self.positions[t],
                "text": self.texts[t],
                "contribution": float(share),
                **{f"direction_{i + 1}": float(shares[t]) for i, shares in enumerate(along)},
            }
            for t, share in enumerate(self.tokens)
        ]


def bar(share: float) -> str:
    """A bar as long as the share is large; negative ones are hollow."""
    return ("█" if share > 0 else "░") * round(min(abs(share), 1.0) * _BAR) if share == share else ""
