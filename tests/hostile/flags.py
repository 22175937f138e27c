"""Command lines: flags of every verb, from their declarations, with values that nobody should give."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from hostile.case import Case
from hostile.requests import GIVEN, request, words_of
from hostile.values import LONE, TEXTS
from hostile.world import World
from jaxlin.commands.main import command_of
from jaxlin.verbs.declare import Declared
from jaxlin.verbs.options import VERBS

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = ("", "0", "-1", "1", "2", "3", "x", "1.5", "1e3", "9" * 5000, "-" + "9" * 400, "0x10", "１",
           "1_000", " 1", "+1",
           "3000000000", str(2**64), "nan", "inf", "-inf", "1e400", "1e308", "-1e308", "1e-320", "1e-4",
           "0.5", "1,2", "--k")  # fmt: skip
#: Words in the small languages of flags: spans, layers, ids, amounts of memory, targets, lists of names.
GRAMMAR = (":", "::", "0:", ":0", "1:", "-1", "-1:", "0:3000000000", "3000000000", "0:" + "9" * 5000, "2:1",
           "0,0", "0,1,2", "0,,1", ",",
           "1:2:3", "a:b", "0 1", "40GB", "40gib", "0GB", "-1GB", "1e400GB", "9" * 400 + "GB", "1.5.2GB",
           "GB", "nanGB", "1KB", "logits:",
           "logits:w1", 'logits:"w1"', 'logits:"w1"-"w2"', 'logits:"', 'logits:""', 'logits:"\\x41"',
           'logits:"w1"-', 'logits:"w1"+"w2"', 'logits:#3',
           'logits:"' + "w" * 5000 + '"', "#1", "#", "#-1", "#" + "9" * 5000, "#１", "detached",
           "detached,detached", "detached,nope", ",,",
           "cumulative", "block,mlp", "block,block", "cpu", "gpu", "gpu:1", "cpu:9", "cpu:x", "cuda",
           "tpu:", "model,model",
           "model,sharded,missing", "model@main", "org/name", "org/name@x", "a/b/c", "demo-nope",
           "gemma-3-4b", "png", "auto", "exact")  # fmt: skip
#: Places; none is above the folder of the world, because what is asked for there may really be written.
PLACES = ("model", "missing", "model/config.json", "fifo", "zero", "loop", "dangling", "folder", "link/x",
          "x" * 300, "a/" * 40 + "b", "",
          ".", "..", "prompt.txt", "prompts.jsonl", "results/svd", "results", "batch", "run",
          "prompt.txt/x", "new/deep/place",
          "\x1b[31mred", "$x_{$", "a\nb", "=cmd", "\u202egnp", "\udcff", "-", "--", "~", "*", "[bold]x[/]",
          "<b>")  # fmt: skip


def values_of(declared: Declared) -> st.SearchStrategy[str]:
    """Hostile values for one option: of its type, of its choices, and of any other."""
    choices = tuple(declared.option.choices)
    own = [st.sampled_from(choices)] if choices else []
    typed: tuple[str, ...] = GRAMMAR
    if declared.kind in (int, float):
        typed = NUMBERS
    elif (
        declared.name in ("out", "model", "models", "result", "results", "prompts")
        or declared.kind.__name__ == "Path"
    ):
        typed = PLACES
    if declared.name in ("out", "to"):  # what is written may go nowhere else
        return st.sampled_from(PLACES)
    texts = st.sampled_from((*TEXTS, *LONE)) if declared.name != "model" else st.sampled_from(GRAMMAR)
    shape = re.sub(r"[^\w,:]", "", declared.metavar)[:8]
    return st.one_of(
        *([st.sampled_from(typed)] * 3), *own, texts, st.text(alphabet=shape + ':,-."#1', max_size=6)
    ).map(lambda text: text.replace("\0", ""))


#: Looked up once: the checks of types in the suite draw random numbers, which a strategy may not.
_REQUESTS = {verb: tuple(request(verb) or (verb,)) for verb in VERBS}
_KNOWN = {verb: command_of(verb).flags for verb in VERBS}


@st.composite
def flag_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A request whose options have hostile values, come twice, without values, or do not exist."""
    verb = draw(st.sampled_from((*VERBS, *VERBS, "nope", "", "--version", "--help")))
    if verb not in VERBS:
        return Case((verb, *draw(st.lists(st.sampled_from((*TEXTS, "--json", "-k")), max_size=2))))
    words = list(_REQUESTS[verb])
    if "--out" in words and draw(st.integers(0, 9)):
        at = words.index("--out")
        del words[at : at + 2]
    known = _KNOWN[verb]
    late = draw(st.integers(0, 3 if thorough else 1))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        words += _option(draw, known[draw(st.sampled_from(sorted(known)))])
    if draw(st.integers(0, 11)) == 0:
        more = draw(
            st.sampled_from(
                (
                    "--nope",
                    "--k",
                    "--jsn",
                    "-x",
                    "--",
                    "-",
                    "--out",
                    "--json=1",
                    "--help",
                    "positional",
                    "--=",
                    "-k",
                )
            )
        )
        words.insert(draw(st.integers(1, len(words))), more)
    if draw(st.integers(0, 11)) == 0 and len(words) > 1:
        del words[draw(st.integers(1, len(words) - 1))]
    if not late and "--token-ids" in words:  # so that nothing is computed even if all values are right
        words += ["--token-ids", "1,99"]
    return Case(tuple(words))


def _option(draw: Draw, declared: Declared) -> list[str]:
    if declared.kind is bool:
        return [declared.flag]
    count = draw(st.integers(0, 3)) if declared.several else 1
    values = tuple(draw(values_of(declared)) for _ in range(count))
    if declared.name in GIVEN and draw(st.integers(0, 7)) == 0:
        values = GIVEN[declared.name]
    return words_of(declared, values)
