"""The result of a per-position decomposition, what its methods get and what they hand over."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxlin.linear.certificate import Check
from jaxlin.linear.operator import Leaf
from jaxlin.runtime.progress import Progress, silent


@dataclass(frozen=True)
class TokenCertificate:
    """What stands behind the triplets of every position.

    Attributes:
        tolerance: error allowed in every σ, as a multiple of that position's σ₁.
        worst_error: the largest error bound, in the same unit.
        converged: how many positions keep the tolerance.
        wanted: how many positions there are.
        confidence: probability that all error bounds hold at once; 1 where nothing was estimated.
        spot_residual: largest residual of some triplets recomputed from fresh passes, as a multiple of the
            position's σ₁. Of a shared basis it may exceed the error of σ, which is of second order in it.
        checks: of the operator, by name; see :class:`jaxlin.linear.certificate.Certificate`.
    """

    tolerance: float
    worst_error: float
    converged: int
    wanted: int
    confidence: float
    spot_residual: float
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every position keeps the tolerance and every check its limit."""
        return self.converged == self.wanted and not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not keep their limits, by name."""
        return tuple(check for check in self.checks if not check.holds)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TokensResult:
    """The k largest singular triplets of every position's Jacobian, J_t·V[t, i] = s[t, i]·U[t, i].

    Attributes:
        U: left vectors [T, k, *output_shape]; signs such that ⟨u, y⟩ ≥ 0.
        s: singular values [T, k], falling.
        V: right vectors [T, k, d].
        errors: bounds of |σ − s| [T, k], absolute.
        norms: ‖J_t‖_F [T]; estimated from random probes by ``shared``.
        method: ``exact`` or ``shared``.
        rank: left vectors that the blocks were seen through; m is all there are.
        passes: passes of the whole network that were spent, those of the checks included.
        seconds: wall time.
        seed: seed of every random vector that was drawn.
        certificate: what stands behind it.
    """

    U: Leaf
    s: Leaf
    V: Leaf
    errors: Leaf
    norms: Leaf
    method: str = field(metadata={"static": True})
    rank: int = field(metadata={"static": True})
    passes: int = field(metadata={"static": True})
    seconds: float = field(metadata={"static": True})
    seed: int = field(metadata={"static": True})
    certificate: TokenCertificate = field(metadata={"static": True})

    def __repr__(self) -> str:
        certificate = "holds" if self.certificate.holds else "FAILS"
        return (
            f"TokensResult({self.s.shape[0]} tokens, k={self.s.shape[1]}, {self.method}, rank {self.rank}, "
            f"{self.passes} passes, {self.seconds:.1f} s, certificate {certificate})"
        )

    @property
    def converged(self) -> Bool[np.ndarray, " t"]:
        """Which positions keep the certificate's tolerance."""
        return self.errors.max(axis=1) <= self.certificate.tolerance * self.s[:, 0]


@dataclass(frozen=True)
class TokenRequest:
    """What a method is asked for; see :func:`jaxlin.per_token.tokens`."""

    k: int
    tolerance: float
    seed: int
    progress: Progress = silent
    scratch: Path | None = None


@dataclass(frozen=True, eq=False)
class TokenTriplets:
    """What a method hands over, in the host's memory."""

    u: Float[np.ndarray, "t k m"]
    s: Float[np.ndarray, "t k"]
    v: Float[np.ndarray, "t k d"]
    errors: Float[np.ndarray, "t k"]
    norms: Float[np.ndarray, " t"]
    rank: int
    passes: int
    confidence: float
