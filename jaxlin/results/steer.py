"""The result of steering: a prompt's continuations at several strengths of a concept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from jaxlin.errors import printable
from jaxlin.linear.certificate import Certificate
from jaxlin.results.about import About
from jaxlin.results.base import Result
from jaxlin.results.calls import given
from jaxlin.results.labels import Reader
from jaxlin.results.page.pieces import View, card, table
from jaxlin.results.pictures import Picture, spectrum
from jaxlin.results.plain import restored
from jaxlin.results.saved import saved_about
from jaxlin.results.schema import Schema, Tensor
from jaxlin.results.svd import SVDResult
from jaxlin.results.tables import certificate_lines, new_table, verdict
from jaxlin.results.triplets import UNKNOWN_COST, Cost, cost_entries, triplet_tensors

#: What the summary holds as it is.
_FIELDS = ("prompt", "concept", "layer", "layers", "rank", "as_published", "temperature")
_DETAILS = ("certificate", "continuations", "svd")


@dataclass(frozen=True)
class Continuation:
    """How the prompt goes on at one strength λ: token ids, and their text."""

    strength: float
    ids: tuple[int, ...]
    text: str


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SteeringResult(Result):
    """A prompt's continuations while a concept's map acts on it, the one without first.

    Attributes:
        prompt_ids: tokens of the prompt.
        prompt: its text.
        concept_ids: tokens of the concept.
        concept: its text.
        layer: after which layer the map acts, or into which one as published.
        layers: how many there are.
        rank: how many singular triplets the map is made of; None for the whole map.
        as_published: whether it acts as in the published code; see :mod:`jaxlin.analyses.steering`.
        temperature: of sampling; 0 takes the most likely token.
        continuations: one for each strength.
        triplets: the map's singular triplets, where it is made of some.
        reader: the model, for the summary.
        about: further entries of the summary.
    """

    kind: ClassVar[str] = "steer"
    entries: ClassVar[Mapping[str, Any]] = {
        "prompt": str,
        "concept": str,
        "concept_tokens": int,
        "layer": int,
        "layers": int,
        "rank": int | None,
        "as_published": bool,
        "temperature": float,
        "certificate": Certificate | None,
        "continuations": tuple[Continuation, ...],
    }
    labels = None  # the prompt is no map's input

    prompt_ids: tuple[int, ...] = field(metadata={"static": True})
    prompt: str = field(metadata={"static": True})
    concept_ids: tuple[int, ...] = field(metadata={"static": True})
    concept: str = field(metadata={"static": True})
    layer: int = field(metadata={"static": True})
    layers: int = field(metadata={"static": True})
    rank: int | None = field(metadata={"static": True})
    as_published: bool = field(metadata={"static": True})
    temperature: int | float = field(metadata={"static": True})
    continuations: tuple[Continuation, ...] = field(metadata={"static": True})
    triplets: SVDResult | None = None
    reader: Reader | None = field(default=None, metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __repr__(self) -> str:
        count = len(self.continuations)
        return (
            f"SteeringResult({self.concept!r} at layer {self.layer} of {self.layers}, {count} continuations)"
        )

    @property
    def holds(self) -> bool:
        """Whether the certificate of the map's triplets holds; of the whole map there is none."""
        return self.triplets is None or self.triplets.holds

    @property
    def options(self) -> dict[str, Any]:
        """How many tokens were asked for, and at which strengths; 0 is always there."""
        first, *others = [continuation.strength for continuation in self.continuations]
        return {"tokens": len(self.continuations[0].ids), "strength": others or [first]}

    def arrays(self) -> dict[str, Any]:
        arrays: dict[str, Any] = {
            "token_ids": np.asarray(self.prompt_ids, np.int64),
            "concept_ids": np.asarray(self.concept_ids, np.int64),
            "strengths": np.asarray([entry.strength for entry in self.continuations], np.float64),
            "continuations": np.asarray([entry.ids for entry in self.continuations], np.int64),
        }
        if self.triplets is not None:
            own = {name: getattr(self.triplets, name) for name in ("U", "s", "V", "residuals", "spectrum")}
            arrays |= {name: array for name, array in own.items() if array is not None}
        return arrays

    def figures(self) -> dict[str, Any]:
        facts = {} if self.reader is None else self.reader.facts()
        own = {name: getattr(self, name) for name in _FIELDS}
        return {**facts, **own, "concept_tokens": len(self.concept_ids)}

    def details(self) -> dict[str, Any]:
        svd = self.triplets
        return {
            "certificate": None if svd is None else svd.certificate,
            **({} if svd is None else {"svd": cost_entries(svd)}),
            "continuations": self.continuations,
            "options": self.options,
        }

    @classmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        tensors = {
            "token_ids": Tensor("prompt", "i"),
            "concept_ids": Tensor("concept", "i"),
            "strengths": Tensor("n"),
            "continuations": Tensor("n tokens", "i"),
        }
        if summary["certificate"] is not None:
            restored(Cost, summary.get("svd", UNKNOWN_COST), "svd")
            restored(int, summary.get("seed"), "seed")
            tensors |= triplet_tensors(v="*in")
        return Schema(tensors, {"n": len(summary["continuations"]), "concept": summary["concept_tokens"]})

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        entries = summary["continuations"]
        yield "strengths", [entry["strength"] for entry in entries], arrays["strengths"]
        yield "continuations", [entry["ids"] for entry in entries], arrays["continuations"]

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> SteeringResult:
        svd = None
        if summary["certificate"] is not None:
            entry = {"certificate": summary["certificate"], **summary.get("svd", UNKNOWN_COST)}
            svd = SVDResult.from_part(arrays, entry, summary["seed"])
        return cls(
            **{name: restored(cls.entries[name], summary[name], name) for name in _FIELDS},
            prompt_ids=tuple(arrays["token_ids"].tolist()),
            concept_ids=tuple(arrays["concept_ids"].tolist()),
            continuations=restored(tuple[Continuation, ...], summary["continuations"]),
            triplets=svd,
            about=saved_about(summary, _DETAILS, None),
        )

    def _what(self) -> str:
        """What steers, and where."""
        what = "the whole map" if self.rank is None else f"rank {self.rank} of the map"
        where = f"the input of layer {self.layer}" if self.as_published else f"layer {self.layer}"
        return f"{what} of “{self.concept}” at {where} of {self.layers}"

    def table(self) -> RenderableType:
        held = "" if self.triplets is None else f", certificate {verdict(self.triplets.certificate)}"
        made = new_table(None, "λ", show_lines=True)
        made.add_column("continuation", ratio=1)
        for entry in self.continuations:
            prompt, more = (printable(text, keep="\n") for text in (self.prompt, entry.text))
            made.add_row(f"{entry.strength:g}", Text(prompt, style="dim") + Text(more))
        return Group(Text(printable(f"{self._what()}{held}")), made)

    def shown(self) -> View:
        rows = [[f"{entry.strength:g}", self.prompt + entry.text] for entry in self.continuations]
        cards = []
        if self.triplets is not None:
            lines = certificate_lines(self.triplets.certificate)
            cards = [card("certificate of the map", self.triplets.holds, lines)]
        return {
            "title": self._what(),
            "tables": [table("Continuations", ("λ", "text"), rows)],
            "cards": cards,
        }

    def pictures(self) -> list[Picture]:
        svd = self.triplets
        return [] if svd is None else [spectrum(svd.s, svd.residuals, svd.spectrum)]

    def call(self) -> dict[str, Any]:
        noted = given(self.figures(), rank=None, as_published=False, temperature=0.0)
        strength = tuple(self.options["strength"])
        steered = {"concept": self.concept, "layer": self.layer, "strength": strength}
        return {**steered, "tokens": self.options["tokens"], **noted}

    def rows(self) -> list[dict[str, Any]]:
        return [{"strength": entry.strength, "text": entry.text} for entry in self.continuations]
