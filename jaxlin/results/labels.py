"""What is known of the prompt behind a map: it travels with the operator, and results are shown by it.

The engine carries it as one opaque static field and never looks inside; programs are compiled without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from jaxlin.linear.certificate import Check
from jaxlin.results.metric import HIDDEN
from jaxlin.results.prediction import Prediction


@dataclass(frozen=True)
class TokenScore:
    """A vocabulary token and its score: a logit for outputs, a cosine for inputs."""

    id: int
    text: str
    score: float


@runtime_checkable
class Reader(Protocol):
    """What reads vectors as tokens: a model, of which results see no more than this."""

    def outputs(
        self, u: Float[Any, "n d"], top: int = 8, *, normed: bool = True
    ) -> list[tuple[TokenScore, ...]]:
        """The output tokens that each hidden state writes most; through the final norm if not normed."""

    def nearest(self, blocks: Float[Any, "k p d"], count: int = 3) -> list[list[tuple[TokenScore, ...]]]:
        """The tokens whose embeddings are nearest to each block, by cosine."""

    def facts(self) -> dict[str, Any]:
        """Which model it is, for a summary."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The tokens of a map's input positions, and what reads its vectors.

    Attributes:
        ids: token ids of the input positions.
        texts: their spellings.
        positions: their places in the prompt, rising.
        position: the output's place in the prompt.
        facts: what else was decided about the map, by the names of result.json: policy, dial, span;
            and ``normed``, which is false where the output is a hidden state before the final norm.
        reader: reads hidden states and embeddings; None where there is no model.
        hidden: whether the output is a hidden state, so that left vectors can be read.
        prediction: recomputes the model's prediction by another path, for the certificate; None where the
            output is not what the model predicts from, or there is no model.
        predicted: what the model predicts at the output's place in the prompt, whichever part of the map
            this is; None where nobody knows.
        scoring: the rows whose products with the hidden state there, after the final norm, are the centred
            logits of the predicted token and of its strongest rival; None without a model.
    """

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    positions: tuple[int, ...]
    position: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    reader: Reader | None = None
    hidden: bool = True
    prediction: Callable[[], Check] | None = None
    predicted: Callable[[], Prediction] | None = None
    scoring: Callable[[], Float[np.ndarray, "n d"]] | None = None

    def of_numbers(self) -> Labels:
        """Those of a map whose output is no hidden state but some numbers made of one."""
        return replace(self, hidden=False, scoring=None)

    def take(self, chosen: Sequence[int] | Int[np.ndarray, " s"]) -> Labels:
        """Those of some input positions, by their place among these."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            texts=tuple(self.texts[i] for i in chosen),
            positions=tuple(self.positions[i] for i in chosen),
        )


def metric_of(labels: Labels | None) -> str:
    """By which metric the output of a map is measured: its own length where nothing else is said."""
    metric: str = HIDDEN if labels is None else labels.facts.get("metric", HIDDEN)
    return metric


def prompt_checks(labels: Labels | None) -> tuple[Check, ...]:
    """What a certificate checks of the prompt behind a map, beside the map itself."""
    return () if labels is None or labels.prediction is None else (labels.prediction(),)
