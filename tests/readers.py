"""Something that reads vectors as tokens, for tests of results: a tiny model, or numbers alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float

from jaxlin import DetachedJacobian
from jaxlin.analyses.decoding import best_outputs, nearest_tokens
from jaxlin.prompts.model import Model
from jaxlin.results.labels import Labels, TokenScore

FACTS = {"model": "tiny", "family": "llama", "revision": None, "dtype": "float64", "precision": "float64"}


@dataclass(frozen=True, eq=False)
class ModelReader:
    """A model's read-out, with the ids of tokens as their texts."""

    model: Model

    def outputs(
        self, u: Float[Any, "n d"], top: int = 8, *, normed: bool = True
    ) -> list[tuple[TokenScore, ...]]:
        return best_outputs(u, partial(self.model.logits, normed=normed), "<{}>".format, top)

    def nearest(self, blocks: Float[Any, "k p d"], count: int = 3) -> list[list[tuple[TokenScore, ...]]]:
        return nearest_tokens(blocks, self.model.vocabulary(), count, "<{}>".format)

    def facts(self) -> dict[str, Any]:
        return FACTS


@dataclass(frozen=True, eq=False)
class PlainReader:
    """Features as a vocabulary."""

    def outputs(
        self, u: Float[Any, "n d"], top: int = 8, *, normed: bool = True
    ) -> list[tuple[TokenScore, ...]]:
        return best_outputs(u, lambda hidden: hidden, str, top)

    def nearest(self, blocks: Float[Any, "k p d"], count: int = 3) -> list[list[tuple[TokenScore, ...]]]:
        return nearest_tokens(blocks, jnp.eye(blocks.shape[-1]), count, str)

    def facts(self) -> dict[str, Any]:
        return FACTS


def labels_of(ids: list[int], reader: Any, **facts: Any) -> Labels:
    """Labels of a whole prompt, whose tokens are spelled by their ids."""
    texts, positions = tuple(f"<{token}>" for token in ids), tuple(range(len(ids)))
    return Labels(tuple(ids), texts, positions, len(ids) - 1, {"policy": "detached", **facts}, reader)


def with_labels(operator: DetachedJacobian, model: Model, ids: list[int]) -> DetachedJacobian:
    """A model's map with labels, which the model reads."""
    return replace(operator, labels=labels_of(ids, ModelReader(model)))
