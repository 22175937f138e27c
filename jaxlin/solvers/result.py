"""What a method of the SVD gets and hands over; the result is :class:`jaxlin.results.svd.SVDResult`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxlin.runtime.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Triplets:
    """What a method hands over: flat vectors, falling values, and the passes they cost.

    Where ``v`` is None, ``u`` are orthonormal left vectors whose span is what counts, and ``s`` their values
    as the method sees them: what the passes of the certificate make of ``u`` becomes the triplets.
    ``spectrum`` holds every singular value where the method knows them all; ``moved`` is, for an iterative
    method, by how much its values still changed over its last steps, as a multiple of σ₁.
    """

    u: Float[Array | np.ndarray, "k m"]
    s: Float[Array | np.ndarray, " k"]
    v: Float[Array | np.ndarray, "k n"] | None
    passes: int
    spectrum: Float[Array | np.ndarray, " r"] | None = None
    moved: float | None = None


@runtime_checkable
class StateStore(Protocol):
    """Where an iterative method leaves the arrays of its state, so that a killed run can go on."""

    def restore(
        self, check: Callable[[Mapping[str, tuple[int, ...]]], None]
    ) -> Mapping[str, Shaped[np.ndarray, ...]] | None:
        """Those of the last whole state by their names, or None.

        ``check`` is given their shapes before any memory is taken for them; what it raises ends it.
        """

    def save(self, step: int, arrays: Mapping[str, Shaped[Array | np.ndarray, ...]]) -> None:
        """Keep those of this step."""


@dataclass(frozen=True)
class Request:
    """What a method is asked for.

    Attributes:
        k: how many triplets.
        tolerance: residual asked of each, as a multiple of σ₁.
        seed: of every random vector.
        block: probes at once in an iterative method.
        max_passes: where an iterative method gives up.
        progress: told what is happening.
        store: where an iterative method keeps its state, if anywhere.
        scratch: folder for rows that wait on disk; the system's for temporary files if None.
    """

    k: int
    tolerance: float
    seed: int
    block: int
    max_passes: int
    progress: Progress = silent
    store: StateStore | None = None
    scratch: Path | None = None
