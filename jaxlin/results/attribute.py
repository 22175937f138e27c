"""The result of an attribution: logits split over tokens, over heads and MLPs, over singular directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import jax
import numpy as np
from rich.console import RenderableType

from jaxlin.linear.certificate import Certificate, Check
from jaxlin.linear.operator import Leaf
from jaxlin.results.about import About
from jaxlin.results.attribute_views import TWO_BEST, pictures_of, table_of
from jaxlin.results.base import Result
from jaxlin.results.labels import Labels
from jaxlin.results.page.attribute import view_of
from jaxlin.results.page.pieces import View
from jaxlin.results.pictures import Picture
from jaxlin.results.plain import restored
from jaxlin.results.saved import map_arrays, saved_about, saved_labels, shape_of
from jaxlin.results.schema import Schema, Tensor, of_map
from jaxlin.results.split import Split
from jaxlin.results.svd import SVDResult
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

_UNNAMED = "⟨w, y⟩"
_DETAILS = (
    "checks", "holds", "per_token", "per_layer", "targets", "certificate", "per_direction", "svd",
)  # fmt: skip
#: Tensor -> the field of a split that it holds, and its sizes in words.
_TENSORS: Mapping[str, tuple[str, str]] = {
    "target_row": ("row", "d"),
    "token_contributions": ("tokens", "T"),
    "branch_contributions": ("branches", "L 2"),
    "head_contributions": ("heads", "L H"),
    "output_bias_contributions": ("biases", "L"),
    "branch_token_contributions": ("branch_tokens", "L B T"),
    "branch_offsets": ("branch_offsets", "L B"),
    "direction_contributions": ("directions", "k T"),
}
_NEEDED = ("token_contributions", "branch_contributions")


@dataclass(frozen=True)
class Share:
    """What a summary says of one token."""

    contribution: float


@dataclass(frozen=True)
class Target:
    """What a summary says of one of several targets."""

    target: str
    value: float
    offset: float
    embedding: float


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Attribution(Result):
    """One logit or more, or differences of two, each split exactly; see :class:`jaxlin.results.split.Split`.

    What a split has, ``value``, ``tokens``, ``heads`` and so on, is here too, of the first target.

    Attributes:
        splits: one for each target.
        checks: that the sums hold, and that the passes are a linear map and its transpose.
        x: the embeddings [T, d] of the prompt; None where nobody kept them, like what follows.
        y: the output of its map [d].
        c: the map's offset, y = J·x + c [d].
        triplets: the singular directions, where there are some.
        seed: of the checks' probes, and of the SVD.
        labels: the tokens of the prompt, and what reads vectors.
        about: further entries of the summary: how the target was chosen, and so on.
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

    splits: tuple[Split, ...]
    checks: tuple[Check, ...] = field(metadata={"static": True})
    x: Leaf = None
    y: Leaf = None
    c: Leaf = None
    triplets: SVDResult | None = None
    seed: int = field(default=0, metadata={"static": True})
    labels: Labels | None = field(default=None, metadata={"static": True})
    about: About = field(default=About(), metadata={"static": True})

    def __repr__(self) -> str:
        certificate = "holds" if self.holds else "FAILS"
        traced = isinstance(self.value, jax.core.Tracer)
        values = "" if traced else ", ".join(f"{float(split.value):.5g}" for split in self.splits) + " "
        return f"Attribution({values}over {len(self.tokens)} tokens, certificate {certificate})"

    def __getattr__(self, name: str) -> Any:
        """What the first split has."""
        splits = self.__dict__.get("splits")
        if not splits or name not in Split.__dataclass_fields__:
            raise AttributeError(f"Attribution has no {name}")
        return getattr(splits[0], name)

    @property
    def holds(self) -> bool:
        """Whether every check keeps its limit."""
        return all(check.holds for check in self.checks)

    @property
    def target(self) -> str:
        """What is split first, in words."""
        return self.splits[0].target or str(self.entry("target", _UNNAMED))

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions in the prompt."""
        return tuple(range(len(self.tokens))) if self.labels is None else self.labels.positions

    @property
    def texts(self) -> tuple[str, ...]:
        """The tokens, as far as they are known."""
        return ("",) * len(self.tokens) if self.labels is None else self.labels.texts

    @property
    def titles(self) -> tuple[str, ...]:
        """Every target in words, with its value."""
        named = [self.target, *(split.target for split in self.splits[1:])]
        return tuple(
            f"{name} = {float(split.value):.5g}" for name, split in zip(named, self.splits, strict=True)
        )

    def arrays(self) -> dict[str, Any]:
        own = {}
        for name, (attribute, _) in _TENSORS.items():
            each = [getattr(split, attribute) for split in self.splits]
            if all(array is not None for array in each):
                own[name] = each[0] if len(each) == 1 else np.stack(each)
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
        heads: list[dict[str, Any]] = [{}] * len(self.branches)
        if self.heads is not None:
            heads = [{"heads": [float(share) for share in layer]} for layer in np.asarray(self.heads)]
        details: dict[str, Any] = {
            "checks": self.checks,
            "holds": self.holds,
            "per_token": [
                {"position": position, **ids[t], "text": text, "contribution": float(share)}
                for t, (position, text, share) in enumerate(names)
            ],
            "per_layer": [
                {"layer": layer, "attention": float(attention), "mlp": float(mlp), **heads[layer]}
                for layer, (attention, mlp) in enumerate(self.branches)
            ],
        }
        if len(self.splits) > 1:
            details["targets"] = [
                Target(split.target, float(split.value), float(split.offset), float(split.embedding))
                for split in self.splits
            ]
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
        lead = ""
        if "targets" in summary:
            targets = restored(tuple[Target, ...], summary["targets"], "targets")
            if len(targets) < 2:
                raise ValueError("its entry targets does not have two or more")
            lead, sizes = "R ", sizes | {"R": len(targets)}
        missing = {"target_row"} if "token_texts" not in summary else set()
        for name, (_, shape) in _TENSORS.items():
            optional = name in missing or name not in (*_NEEDED, "target_row")
            tensors[name] = Tensor(f"{lead}{shape}", optional=optional)
        sizes |= {"T": len(summary["per_token"]), "L": len(summary["per_layer"])}
        if "per_direction" in summary:
            restored(tuple[Decoded, ...], summary["per_direction"], "per_direction")
            restored(Certificate, summary.get("certificate"), "certificate")
            restored(Cost, summary.get("svd", UNKNOWN_COST), "svd")
            tensors |= triplet_tensors()
            tensors["direction_contributions"] = Tensor(f"{lead}k T")
            sizes |= {"k": len(summary["per_direction"])}
        else:
            del tensors["direction_contributions"]
        return Schema(tensors, sizes)

    @classmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        shares = [token["contribution"] for token in summary["per_token"]]
        first = (0,) if "targets" in summary else ()
        yield "token_contributions", shares, arrays["token_contributions"][first]
        if "head_contributions" in arrays:
            heads = [layer["heads"] for layer in summary["per_layer"]]
            yield "head_contributions", heads, arrays["head_contributions"][first]
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
        name = summary.get("target")
        named = {"target": "" if name in (None, _UNNAMED) else name}
        named |= {name: summary[name] for name in ("value", "offset", "embedding")}
        several = "targets" in summary
        targets = restored(tuple[Target, ...], summary["targets"] if several else [named])
        held: dict[str, Any] = {
            field: arrays[name] for name, (field, _) in _TENSORS.items() if name in arrays
        }
        if len({"branch_tokens" in held, "branch_offsets" in held}) > 1:
            raise ValueError("it has one of branch_token_contributions and branch_offsets alone")
        if "branch_tokens" in held and (
            "heads" not in held or held["heads"].shape[-1] + 1 != held["branch_offsets"].shape[-1]
        ):
            raise ValueError("its heads and branches do not fit together")
        return cls(
            splits=tuple(
                Split(
                    **vars(target), **{name: array[i] if several else array for name, array in held.items()}
                )
                for i, target in enumerate(targets)
            ),
            checks=restored(tuple[Check, ...], summary["checks"]),
            x=arrays.get("embeddings"),
            y=arrays.get("output"),
            c=arrays.get("offset"),
            triplets=svd,
            seed=summary["seed"],
            labels=labels,
            about=saved_about(summary, _DETAILS, labels),
        )

    def table(self) -> RenderableType:
        return table_of(self)

    def shown(self) -> View:
        return view_of(self)

    def pictures(self) -> list[Picture]:
        return pictures_of(self)

    def call(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.entry("chosen_by") != TWO_BEST and self.target != _UNNAMED:
            names = [split.target for split in self.splits]
            options["target"] = self.target if len(names) == 1 else names
        if self.branch_tokens is not None:
            options["by_token"] = True
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
                **{f"contribution_{i}": float(other.tokens[t]) for i, other in enumerate(self.splits[1:], 2)},
                **{f"direction_{i + 1}": float(shares[t]) for i, shares in enumerate(along)},
            }
            for t, share in enumerate(self.tokens)
        ]
