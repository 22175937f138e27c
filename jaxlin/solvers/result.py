"""The one result type of every SVD method, and what a method gets and hands over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxlin.linear.certificate import Certificate
from jaxlin.linear.operator import Leaf
from jaxlin.runtime.progress import Progress, silent


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SVDResult:
    """The k largest singular triplets of an operator, J·V[i] = s[i]·U[i], and what they cost.

    Attributes:
        U: left vectors [k, *output_shape], orthonormal; signs such that ⟨u, y⟩ ≥ 0.
        s: singular values [k], falling, in float32 or better.
        V: right vectors [k, *input_shape], orthonormal; in the host's memory.
        residuals: √(‖Jv − σu‖² + ‖Jᵀu − σv‖²) of each triplet [k], absolute, from fresh passes.
        spectrum: every singular value [min(m, n)] where the method finds them all, else None.
        method: the method that was used, one of ``jaxlin.plan.METHODS``.
        passes: passes of the whole network that were spent, those of the certificate included.
        seconds: wall time.
        seed: seed of every random vector that was drawn.
        certificate: fresh checks of the result.
    """

    U: Leaf
    s: Leaf
    V: Leaf
    residuals: Leaf
    spectrum: Leaf
    method: str = field(metadata={"static": True})
    passes: int = field(metadata={"static": True})
    seconds: float = field(metadata={"static": True})
    seed: int = field(metadata={"static": True})
    certificate: Certificate = field(metadata={"static": True})

    def __repr__(self) -> str:
        certificate = "holds" if self.certificate.holds else "FAILS"
        traced = isinstance(self.s, jax.core.Tracer)
        values = "" if traced else f"σ {float(self.s[0]):.4g} … {float(self.s[-1]):.4g}, "
        cost = f"{self.passes} passes, {self.seconds:.1f} s"
        return f"SVDResult(k={len(self.s)}, {values}{self.method}, {cost}, certificate {certificate})"

    @property
    def converged(self) -> Bool[Array, " k"]:
        """Which triplets meet the certificate's tolerance."""
        return self.residuals <= self.certificate.tolerance * self.s[0]


@dataclass(frozen=True, eq=False)
class Triplets:
    """What a method hands over: flat vectors, falling values, and the passes they cost.

    ``spectrum`` holds every singular value where the method knows them all; ``moved`` is, for an iterative
    method, by how much its values still changed over its last steps, as a multiple of σ₁.
    """

    u: Float[Array | np.ndarray, "k m"]
    s: Float[Array | np.ndarray, " k"]
    v: Float[Array | np.ndarray, "k n"]
    passes: int
    spectrum: Float[Array | np.ndarray, " m"] | None = None
    moved: float | None = None


@runtime_checkable
class StateStore(Protocol):
    """Where an iterative method leaves its state, so that a killed run can go on."""

    def restore(self, shapes_for: Callable[[dict[str, Any]], Any]) -> Any | None:
        """The last whole state, or None. ``shapes_for`` turns what was noted beside it into its shapes."""

    def save(self, step: int, state: Any, note: dict[str, Any]) -> None:
        """Keep ``state`` of this step and a note of plain numbers beside it."""


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
