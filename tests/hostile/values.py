"""Hostile values: numbers, texts and JSON that are wrong in type, size or spelling."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Raw:
    """JSON as it stands, which ``json`` would not write: 1e400, thousands of brackets, a key twice."""

    text: str


def nested(depth: int, opening: str = "[", closing: str = "]") -> Raw:
    """Brackets in brackets."""
    return Raw(opening * depth + ("" if opening == "[" else "0") + closing * depth)


#: What a terminal would act on, one way or another.
CONTROLS = ("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\rb", "a\nb", "\t", "\x08\x08", "\x7f", "\x9b31m",
            "\x85",
            "a\u202eb", "\u2066x\u2069", "\u2028", "\u200f", "\ufeff", "\u0301" * 9)  # fmt: skip
#: What a spreadsheet, a browser, matplotlib, rich or a path would act on.
MARKUP = ("=cmd|'/C calc'!A0", "@SUM(1)", "+1", "-1", "$x_{$", "$\\frac{1}{0}$", "$$",
          "<script>alert(1)</script>",
          "]]>&amp;", "[bold red]x[/]", "[/nothing]", "{0.__class__}", "%s%n", "../../outside",
          "/etc/passwd", "~", "a/b")  # fmt: skip
WORDS = (
    "",
    " ",
    "a",
    "w1",
    "w1 w2",
    "None",
    "null",
    "true",
    "0",
    "nan",
    "１",
    "é",
    "日本語",
    "🙂🏳️‍🌈",
    "x" * 300,
    "word " * 2000,
)
TEXTS = (*CONTROLS, *MARKUP, *WORDS)
#: Half a surrogate pair: from JSON, and from bytes on a command line that are no UTF-8.
LONE = ("\ud800", "a\udfffb", os.fsdecode(b"\xff\xfe"))

NUMBERS: tuple[Any, ...] = (0, 1, -1, 2, 3, 7, 8, 16, 255, 2**31 - 1, 2**31, 2**32, 2**63, -(2**63), 2**64,
               10**24, -(10**30),
           30_000_000, 0.5, -0.5, 1.5, 1e-320, 1e-45, 1e30, 3.5e38, 1e308, -1e308, Raw("1e400"),
           Raw("-1e400"), Raw("NaN"),
           Raw("Infinity"), Raw("-0.0"), Raw("1e-400"), Raw("9" * 400), Raw("9" * 5000))  # fmt: skip
ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], [1], ["a"], [1, 2, 3], {"a": 1},
           {"": None}, {"type": "x"},
       [0] * 1000, list(range(50)), [[1, 2], [3]], nested(50), nested(900), nested(20_000),
       nested(900, '{"a":', "}"), Raw('{"a":1,"a":2}'), Raw('"\\ud800"'), Raw('"\\u0000"'), Raw("[1,]"),
              Raw(""))  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    """Hostile text; some of it is no Unicode."""
    return st.one_of(st.sampled_from((*TEXTS, *LONE)), st.text(max_size=20))


def json_values(also: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Hostile values for a place in JSON; ``also``: words that mean something there."""
    known = [st.sampled_from(also)] if also else []
    small = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
    # Copies, because what is drawn may be edited in its place.
    odd = st.sampled_from(ODD).map(deepcopy)
    return st.one_of(st.sampled_from(NUMBERS), odd, texts(), *known, st.integers(), st.floats(), small)


def as_json(value: Any) -> str:
    """JSON of a document with :class:`Raw` parts in it."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(str(key))}:{as_json(inner)}" for key, inner in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(as_json, value)) + "]"
    return json.dumps(value)
