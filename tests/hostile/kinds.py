"""The kinds of cases, each with its strategy, and how many of a hundred cases are of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hostile import flags, inputs, places, saved
from hostile.case import Case
from hostile.world import World

Strategy = Callable[[World, bool], st.SearchStrategy[Case]]


@dataclass(frozen=True)
class Kind:
    """One kind of cases.

    Attributes:
        cases: the strategy: of a world, and of whether time is no matter.
        share: how many of a hundred cases are of this kind.
    """

    cases: Strategy
    share: int


KINDS: Mapping[str, Kind] = {
    "flags": Kind(flags.flag_cases, 18),
    "config": Kind(inputs.config_cases, 14),
    "weights": Kind(inputs.weight_cases, 9),
    "gguf": Kind(inputs.gguf_cases, 4),
    "index": Kind(inputs.index_cases, 6),
    "tokenizer": Kind(inputs.tokenizer_cases, 9),
    "prompt": Kind(inputs.prompt_cases, 5),
    "lines": Kind(inputs.line_cases, 7),
    "results": Kind(saved.result_cases, 14),
    "batches": Kind(saved.batch_cases, 4),
    "states": Kind(saved.state_cases, 4),
    "places": Kind(places.place_cases, 6),
}
assert sum(kind.share for kind in KINDS.values()) == 100

#: Examples as they come: slow ones are what is looked for.
QUIETLY = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


def drawn(kind: str, world: World, number: int, count: int) -> list[Case]:
    """The cases of one kind and seed, always the same ones."""
    cases: list[Case] = []

    @seed(number)
    @settings(QUIETLY, max_examples=count, phases=[Phase.generate])
    @given(KINDS[kind].cases(world, True))
    def collect(case: Case) -> None:
        cases.append(case)

    collect()
    return cases
