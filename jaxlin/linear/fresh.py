"""Probes of a certificate, sent through passes that all carry equally many.

Each number of probes is a program of its own, and compiling one costs more than a small solve: what is sent
in one direction takes one program. The last call is filled up with the first probes once more, which shows
whether a pass gives the same answer twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from jaxlin.linear.operator import DetachedJacobian
from jaxlin.runtime.progress import Progress, silent


@dataclass(frozen=True)
class Layout:
    """How ``count`` probes are sent: ``calls`` times ``size`` of them.

    Those from number ``count`` on are the first ones once more.
    """

    count: int
    size: int
    calls: int

    @classmethod
    def of(cls, count: int, most: int, *, again: bool = False) -> Layout:
        """At most so many in a call; with ``again`` the first of them also in another, later call."""
        needed = count + again
        fewest = max(math.ceil(needed / most), 1 + again)
        # One call more, where fewer probes are then sent once more.
        calls = min((fewest, fewest + 1), key=lambda calls: calls * math.ceil(needed / calls))
        return cls(count, math.ceil(needed / calls), calls)

    @property
    def passes(self) -> int:
        """Probes that go through the network."""
        return self.size * self.calls


@runtime_checkable
class Passes(Protocol):
    """Passes of n maps of one shape, each with b probes of its own."""

    def matmat(self, v: Shaped[np.ndarray, "n b ..."]) -> Any:
        """J·V of each."""

    def rmatmat(self, u: Shaped[np.ndarray, "n b ..."]) -> Any:
        """Jᵀ·U of each."""

    @property
    def probes_per_pass(self) -> int:
        """How many probes of each to send together when many are needed."""


@dataclass(frozen=True, eq=False)
class Alone:
    """Those of one map."""

    operator: DetachedJacobian

    def matmat(self, v: Shaped[np.ndarray, "1 b ..."]) -> Shaped[np.ndarray, "1 b ..."]:
        """J·V."""
        return np.asarray(self.operator.matmat(v[0]))[None]

    def rmatmat(self, u: Shaped[np.ndarray, "1 b ..."]) -> Shaped[np.ndarray, "1 b ..."]:
        """Jᵀ·U."""
        return np.asarray(self.operator.rmatmat(u[0]))[None]

    @property
    def probes_per_pass(self) -> int:
        """How many probes to send together."""
        return self.operator.probes_per_pass


def send(
    run: Callable[[Shaped[np.ndarray, "n b ..."]], Any],
    probes: Sequence[Callable[[int], Any]],
    layout: Layout,
    progress: Progress = silent,
    stage: str = "",
    unit: str = "",
) -> Iterator[tuple[int, Shaped[np.ndarray, "n ..."]]]:
    """What the passes of n maps make of each probe, on the host: (its number, its images).

    Args:
        run: the passes of some probes of every map.
        probes: of each map, a probe by its number, below ``layout.count``.
        layout: how they are sent.
        progress: told of every call as ``stage``, in ``unit``.

    Yields:
        numbers from 0 to ``layout.passes`` - 1; those from ``count`` on are of the first probes once more.
    """
    like = np.asarray(probes[0](0))
    for call in range(layout.calls):
        numbers = range(call * layout.size, (call + 1) * layout.size)
        progress(stage, min(numbers.start, layout.count), layout.count, unit)
        block = np.empty((len(probes), layout.size, *like.shape), like.dtype)  # long ones: copied once
        for of_map, probe in zip(block, probes, strict=True):
            for place, number in enumerate(numbers):
                of_map[place] = probe(number % layout.count)
        images = np.asarray(run(block))
        yield from zip(numbers, np.moveaxis(images, 1, 0), strict=True)
    progress(stage, layout.count, layout.count, unit)
