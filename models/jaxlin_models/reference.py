"""What a checkpoint's tokenizer files say by themselves, whichever class transformers makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from jaxlin_models.errors import ModelError

#: Where classes and files have been seen to differ: blanks, line breaks, digits, letters beyond ASCII. None
#: begins with a blank: there transformers reads Llama 2's layout otherwise, no reason to refuse all text.
PROBE = (
    "The capital of France is Paris.",
    "one blank last ",
    "two  blanks,   three    and\tmore",
    "line\nbreaks\n\nof\r\nall\n\n\n kinds \n",
    "1 23 456 7890 3.14159 1,000,000 007",
    "don't I'M we'LL they've X's",
    "def f(x):\n    return x_1[0] != {'a': \"b\"}",
    "café naïve Straße Ωmega 日本語 текст עברית العربية",
    "e\u0301 \u00a0no break\u2028separator\u200djoiner ﬁ ½ Ⅷ",
    "😀 👍🏽 🏳️‍🌈",
)


@dataclass(frozen=True, eq=False)
class Reference:
    """Token ids by the files alone.

    Attributes:
        file: the file that says them.
        ids: of a text, with or without special tokens; None where it does not say.
        remedy: what to do about others.
        unknown: the id that stands for what the vocabulary does not have.
    """

    file: Path
    ids: Callable[[str, bool], list[int] | None]
    remedy: str
    unknown: int | None = None

    def check(self, name: str, text: str, ids: list[int], *, special_tokens: bool) -> None:
        """Compare.

        Args:
            name: of the class that gave the ids.
            text: what they are of.
            ids: what it gave.
            special_tokens: whether it was to add its own.

        Raises:
            ModelError: the file has other ids.
        """
        expected = self.ids(text, special_tokens)
        if expected is None or ids == expected:
            return
        at = next(
            (i for i, pair in enumerate(zip(ids, expected, strict=False)) if pair[0] != pair[1]),
            min(len(ids), len(expected)),
        )
        ours, theirs = (
            str(some[at : at + 4])[:-1] + (", …]" if len(some) > at + 4 else "]") for some in (ids, expected)
        )
        raise ModelError(
            f"transformers' {name} and {self.file} read {_short(text)} as different tokens, from number {at} "
            f"on as {ours} and as {theirs}; {self.remedy}"
        )

    def knows(self, text: str) -> bool:
        """Whether the vocabulary has all that is in a text."""
        return self.unknown is None or self.unknown not in (self.ids(text, False) or ())


def of_tokenizer_json(file: Path) -> Reference:
    """As ``tokenizers.Tokenizer.from_file`` reads it; raises whatever that raises."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    name = getattr(tokenizer.model, "unk_token", None)
    unknown = tokenizer.token_to_id(name) if isinstance(name, str) else None
    return Reference(
        file,
        lambda text, special: list(tokenizer.encode(text, add_special_tokens=special).ids),
        "give `token_ids` of the file, or set tokenizer_class in tokenizer_config.json to "
        '"PreTrainedTokenizerFast" unless it is',
        unknown,
    )


def of_sentencepiece(file: Path) -> Reference:
    """As the library SentencePiece itself reads it, which knows nothing of special tokens."""
    from sentencepiece import SentencePieceProcessor  # not every checkpoint needs it

    processor = SentencePieceProcessor(model_file=str(file))
    return Reference(
        file,
        lambda text, special: None if special else list(processor.encode(text)),
        "name the class that belongs to it in tokenizer_config.json (tokenizer_class)",
        processor.unk_id(),
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
