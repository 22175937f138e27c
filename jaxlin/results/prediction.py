"""What the model predicts after a prompt, as a part of every result: the first thing that a reader sees."""

from __future__ import annotations

from dataclasses import dataclass

from jaxlin.errors import shortened
from jaxlin.results.spelling import percent, visible

#: Tokens of a prediction that are kept, and those that one line names.
KEPT, NAMED = 10, 5
#: Letters of a token where there is little room.
_LETTERS = 16


@dataclass(frozen=True)
class PredictedToken:
    """One token that may come next.

    Attributes:
        id: its number.
        text: its spelling, with the blank that it begins with.
        probability: of the ordinary forward pass, through softmax.
        logit: its score, through the soft-cap if there is one.
        centred: its score minus the mean over the vocabulary, which is all that softmax sees of it.
    """

    id: int
    text: str
    probability: float
    logit: float
    centred: float

    def __str__(self) -> str:
        return f"{visible(self.text)} {percent(self.probability)}"


@dataclass(frozen=True)
class Prediction:
    """The most likely next tokens, the most likely first; the second is the strongest rival of the first."""

    tokens: tuple[PredictedToken, ...]

    def __str__(self) -> str:
        return "  ".join(map(str, self.tokens[:NAMED]))

    @property
    def first(self) -> str:
        """The predicted token and its probability, in few letters."""
        token = self.tokens[0]
        return f"{shortened(visible(token.text), _LETTERS)} {percent(token.probability)}"

    @property
    def pair(self) -> tuple[PredictedToken, ...]:
        """The predicted token and its strongest rival; a vocabulary of one has no rival."""
        return self.tokens[:2]
