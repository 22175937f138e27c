"""Probes of a certificate, sent through passes that all carry equally many.

Each number of probes is a program of its own, and compiling one costs more than a small solve: what is sent
in one direction takes one program. The last call is filled up with the first probes once more, which shows
whether a pass gives the same answer twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

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


def send(
    run: Callable[[Shaped[np.ndarray, "b ..."]], Any],
    probe: Callable[[int], Any],
    layout: Layout,
    progress: Progress = silent,
    stage: str = "",
    unit: str = "",
) -> Iterator[tuple[int, Shaped[np.ndarray, ...]]]:
    """What the passes make of each probe, on the host: (its number, its image).

    Args:
        run: the passes of some probes.
        probe: a probe by its number, below ``layout.count``.
        layout: how they are sent.
        progress: told of every call as ``stage``, in ``unit``.

    Yields:
        numbers from 0 to ``layout.passes`` - 1; those from ``count`` on are of the first probes once more.
    """
    for call in range(layout.calls):
        numbers = range(call * layout.size, (call + 1) * layout.size)
        progress(stage, min(numbers.start, layout.count), layout.count, unit)
        images = np.asarray(run(np.stack([np.asarray(probe(n % layout.count)) for n in numbers])))
        yield from zip(numbers, images, strict=True)
    progress(stage, layout.count, layout.count, unit)
