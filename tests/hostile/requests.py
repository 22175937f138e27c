"""The smallest valid command line of every verb, from its declarations."""

from __future__ import annotations

from jaxlin.commands.main import command_of
from jaxlin.verbs.declare import Declared
from jaxlin.verbs.options import VERBS
from jaxlin.verbs.shared import Kept

#: What options by these names are given; the first of "VERB.NAME" and "NAME" that is there.
GIVEN = {
    "model": ("model",),
    "token_ids": ("1,2,3",),
    "k": ("1",),
    "svd.method": ("dense",),
    "policies": ("detached,none",),
    "concept": ("w1 w2",),
    "steer.token_ids": (),
    "steer.prompt": ("w1 w2 w3",),
    "steer.tokens": ("1",),
    "plan.tokens": ("4",),
    "attribute.k": (),
    "function": ("net.py:predict",),
    "data": ("points.npy",),
    "result": ("results/svd",),
    "results": ("results/svd",),
    "convert.out": ("results/convert",),
}


def words_of(declared: Declared, values: tuple[str, ...]) -> list[str]:
    """An option with values, as words of a command line."""
    if declared.option.positional:
        return list(values)
    if len(values) == 1 and (values[0].startswith("-") or not declared.flag.startswith("--")):
        return (
            [f"{declared.flag}={values[0]}"] if declared.flag.startswith("--") else [declared.flag, values[0]]
        )
    return [declared.flag, *values]


def request(verb: str) -> list[str] | None:
    """A request that is met; results go to ``results/VERB``. None for a verb that nobody knows how to ask."""
    words = [verb]
    for declared in command_of(verb).flags.values():
        values = GIVEN.get(f"{verb}.{declared.name}", GIVEN.get(declared.name))
        if declared.name == "out" and issubclass(VERBS[verb], Kept):
            values = (f"results/{verb}",)
        if values:
            words += words_of(declared, values)
        elif declared.required:
            return None
    return words
