"""How many directions a map really uses, as a part of a result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dimensions:
    """How many directions a map really uses.

    Attributes:
        frobenius2: ‖J‖_F²; exact where the whole spectrum is known, else estimated.
        frobenius2_error: its standard error, 0 where it is exact.
        stable_rank: ‖J‖_F² / σ₁².
        participation: (Σσ²)² / Σσ⁴, as the least and the most it can be: what is beyond the top k has
            a known energy, and no σ above σ_k. Both are the same where the whole spectrum is known.
    """

    frobenius2: float
    frobenius2_error: float
    stable_rank: float
    participation: tuple[float, float]
