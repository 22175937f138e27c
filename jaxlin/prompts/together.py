"""What is known of several prompts' predictions, for which weights are gone through once and not for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Array, Float

from jaxlin.prompts.head import HeadAt, HeadsAt
from jaxlin.prompts.model import Model
from jaxlin.prompts.prediction import prediction_checks
from jaxlin.results.labels import Labels
from jaxlin.results.prediction import Prediction


def labels_together(
    model: Model,
    prompts: Sequence[Sequence[int]],
    ys: Sequence[Float[Array, " d"]],
    labels: Sequence[Labels | None],
) -> list[Labels | None]:
    """The same labels; what the first of them is asked of its prediction is computed for all.

    Args:
        model: whose prompts they are.
        prompts: the tokens of each, up to the output's position.
        ys: the hidden states there, after the final norm.
        labels: of their maps.
    """
    checks = prediction_checks(model, prompts, ys)
    heads = HeadsAt(model, ys).heads
    return [
        each if each is None else _shared(each, check, head)
        for each, check, head in zip(labels, checks, heads, strict=True)
    ]


def _shared(labels: Labels, check: Callable[..., object], head: HeadAt) -> Labels:
    def predicted() -> Prediction:
        return head.prediction

    def scoring() -> Float[np.ndarray, "n d"]:
        return head.rows

    return replace(
        labels,
        prediction=None if labels.prediction is None else check,  # type: ignore[arg-type]
        predicted=None if labels.predicted is None else predicted,
        scoring=None if labels.scoring is None else scoring,
    )
