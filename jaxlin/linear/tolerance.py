"""What accuracy to ask for, and what can be asked for, in a given arithmetic."""

from __future__ import annotations

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian

#: Unit roundoff of a pass -> residual to ask for: float64, float32, three bfloat16 products, TF32, bfloat16.
_TOLERANCES = ((1e-12, 1e-10), (1e-6, 1e-4), (2e-5, 1e-3), (1e-3, 1e-2), (1.0, 1e-1))


def default_tolerance(operator: DetachedJacobian) -> float:
    """Residual asked for, as a multiple of σ₁: 1e-10 in float64, 1e-4 in float32, more if coarser."""
    return next(tolerance for finest, tolerance in _TOLERANCES if operator.unit_roundoff <= finest)


def checked_tolerance(operator: DetachedJacobian, tolerance: float | None) -> float:
    """The tolerance asked for, or the default; :class:`JaxlinError` if it cannot be met."""
    if tolerance is None:
        return default_tolerance(operator)
    floor = tolerance_floor(operator)
    if not floor <= tolerance < 1:
        raise JaxlinError(
            f"the tolerance is {tolerance:g}, and this arithmetic can be held to {floor:.1e}·σ₁ or more: "
            f"choose one from there to 1, or a wider `dtype`"
        )
    return tolerance


def tolerance_floor(operator: DetachedJacobian) -> float:
    """The smallest residual, as a multiple of σ₁, that this operator's arithmetic can be asked for."""
    return 8 * operator.unit_roundoff
