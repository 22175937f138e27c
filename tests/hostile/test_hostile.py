"""Hostile input is met or refused, in one sentence, within bounds, and leaves no trace: the fast form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import Phase, given, settings

from hostile.case import Case
from hostile.corpus import corpus
from hostile.judge import run
from hostile.kinds import KINDS, QUIETLY
from hostile.world import World, make_world

pytestmark = pytest.mark.once

#: Cases of all kinds together; `make hostile` tries many more, with seeds of their own.
CASES = 1600


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The valid files, and no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield make_world(tmp_path_factory.mktemp("hostile"), all_kinds=False)


def test_corpus(world: World) -> None:
    """Cases that were found failing; all of them are tried before any is told of."""
    outcomes = {name: run(case, world, code) for name, (case, code) in corpus(world).items()}
    assert {name: outcome for name, outcome in outcomes.items() if outcome.broken} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_drawn(kind: str, world: World) -> None:
    @settings(QUIETLY, derandomize=True, max_examples=CASES * KINDS[kind].share // 100,
              phases=[Phase.generate, Phase.shrink])  # fmt: skip
    @given(KINDS[kind].cases(world, False))
    def holds(case: Case) -> None:
        outcome = run(case, world)
        assert not outcome.broken, (case, outcome)

    holds()
