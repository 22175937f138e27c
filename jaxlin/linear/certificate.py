"""The certificate of a result: figures from fresh passes, none of them from the solver.

A residual proves that *a* singular value lies within it of σ, not that none was missed. What speaks
against a missed one: the solver went past k and its values no longer moved (stagnation), a second seed
found the same values, and the energy that the triplets capture leaves room for no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxlin.linear.energy import Energy
from jaxlin.linear.fresh import Alone, Layout, send
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.linear.vectors import quietly

#: Passes of the checks of the operator: adjoint test, repetition, linearity and reconstruction.
CHECK_PASSES = 5
#: Units of roundoff that may accumulate in one pass of a whole network; at coarse arithmetic, a fraction.
_ROUNDINGS, _AT_MOST = 200.0, 0.2


@dataclass(frozen=True)
class Check:
    """One named figure and the limit it has to keep; NaN never does."""

    name: str
    value: float
    limit: float
    meaning: str

    @property
    def holds(self) -> bool:
        """Whether the figure keeps its limit."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Certificate:
    """Fresh checks of one result.

    Attributes:
        tolerance: asked of every residual, as a multiple of σ₁.
        worst_residual: the largest residual, as a multiple of σ₁.
        converged: how many of the triplets meet the tolerance.
        wanted: how many triplets there are.
        checks: the other figures, each with its limit: ``adjoint``, ``repetition``, ``linearity``,
            ``reconstruction`` (where c was found without y), ``stagnation`` (of iterative methods),
            ``second seed`` (where asked for).
        energy: Σσ² / ‖J‖_F² with its standard error.
        zero: whether σ₁ is 0. Everything holds of the zero map, and says nothing.
    """

    tolerance: float
    worst_residual: float
    converged: int
    wanted: int
    checks: tuple[Check, ...]
    energy: Energy
    zero: bool = False

    def __repr__(self) -> str:
        failed = [f"{self.wanted - self.converged} of {self.wanted} triplets"] * (
            self.converged < self.wanted
        )
        failed += [check.name for check in self.failed]
        verdict = f"FAILS at {', '.join(failed)}" if failed else "holds"
        verdict += ", THE MAP IS ZERO" * self.zero
        return (
            f"Certificate({verdict}, worst residual {self.worst_residual:.1e}·σ₁ of {self.tolerance:.0e}, "
            f"captured energy {repr(self.energy)[7:-1]})"
        )

    @property
    def holds(self) -> bool:
        """Whether every triplet meets the tolerance and every check its limit."""
        return self.converged == self.wanted and not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not keep their limits, by name."""
        return tuple(check for check in self.checks if not check.holds)

    def check(self, name: str) -> Check | None:
        """The check of this name, or None where it does not apply."""
        return next((check for check in self.checks if check.name == name), None)


def misfit_of(image: Shaped[np.ndarray, ...], s: float, expected: Shaped[np.ndarray, ...]) -> float:
    """‖image − σ·expected‖ of one probe, on the host."""
    with quietly():
        difference = wide(image) - np.asarray(s, wide(expected).dtype) * wide(expected)
        return _norm(difference)


def certify(
    s: Float[np.ndarray, " k"],
    residual: Float[np.ndarray, " k"],
    tolerance: float,
    checks: tuple[Check, ...],
    energy: Energy,
) -> Certificate:
    """Put a result's residuals beside the other checks."""
    with quietly():
        relative = np.asarray([_ratio(float(value), float(s[0])) for value in residual])
    return Certificate(
        tolerance=tolerance,
        worst_residual=float(relative.max()),
        converged=int((relative <= tolerance).sum()),
        wanted=len(s),
        checks=checks,
        energy=energy,
        zero=not bool(s[0] != 0),
    )


def check_operator(operator: DetachedJacobian, seed: int) -> tuple[Check, ...]:
    """Whether forward and backward are a linear map and its transpose: five passes, random probes."""
    u, v = probes_of(operator, seed)
    probes = forward_probes(operator, v)
    layout = Layout.of(len(probes), min(2, operator.probes_per_pass), again=True)
    images = [image for _, (image,) in send(Alone(operator).matmat, [lambda i: probes[i]], layout)]
    return checks_of(operator, (u, v), images, operator.rmatvec(jnp.asarray(u)))


def probes_of(
    operator: DetachedJacobian, seed: int
) -> tuple[Shaped[np.ndarray, ...], Shaped[np.ndarray, ...]]:
    """Random probes of an output and of an input, which is as long as x: neither drowns in their sum."""
    drawn = np.random.default_rng(seed)
    u, v = (drawn.standard_normal(shape) for shape in (operator.output_shape, operator.input_shape))
    with quietly():
        v *= np.linalg.norm(wide(operator.x)) / np.linalg.norm(v)
        return u.astype(operator.dtype), v.astype(operator.dtype)


def forward_probes(
    operator: DetachedJacobian, v: Shaped[np.ndarray, ...]
) -> tuple[Shaped[np.ndarray, ...], Shaped[np.ndarray, ...], Shaped[np.ndarray, ...]]:
    """What the checks send forwards, before they send v once more in another pass: v, x, their sum."""
    x = np.asarray(operator.x)
    with quietly():
        return v, x, v + x


def checks_of(
    operator: DetachedJacobian,
    probes: tuple[Shaped[np.ndarray, ...], Shaped[np.ndarray, ...]],
    images: Sequence[Shaped[np.ndarray | Array, ...]],
    pulled: Shaped[np.ndarray | Array, ...],
) -> tuple[Check, ...]:
    """The checks, from what the passes made of the probes.

    Args:
        operator: the map.
        probes: u and v, see :func:`probes_of`.
        images: J of :func:`forward_probes`, and of v once more.
        pulled: Jᵀ·u.
    """
    with quietly():
        return tuple(_checks(operator, probes, images, pulled))


def _checks(
    operator: DetachedJacobian,
    probes: tuple[Shaped[np.ndarray, ...], Shaped[np.ndarray, ...]],
    images: Sequence[Shaped[np.ndarray | Array, ...]],
    pulled: Shaped[np.ndarray | Array, ...],
) -> Iterator[Check]:
    rounding = min(_ROUNDINGS * operator.unit_roundoff, _AT_MOST)
    (u, v), (image, of_x, of_sum, again) = (
        [wide(probe) for probe in probes],
        [wide(image) for image in images[:4]],
    )
    lengths = _norm(image), _norm(of_x)
    yield Check(
        "adjoint",
        _ratio(abs(_dot(image, u) - _dot(v, wide(pulled))), lengths[0] * _norm(u)),
        rounding,
        "|⟨Jv, u⟩ − ⟨v, Jᵀu⟩| / (‖Jv‖·‖u‖): the two passes are each other's transpose",
    )
    yield Check(
        "repetition",
        _ratio(_norm(again - image), lengths[0]),
        rounding,
        "‖Jv − Jv‖ / ‖Jv‖ of the same pass run twice: there is no noise in it",
    )
    yield Check(
        "linearity",
        _ratio(_norm(of_sum - of_x - image), lengths[0] + lengths[1]),
        rounding,
        "‖J(v+x) − Jv − Jx‖ / (‖Jv‖ + ‖Jx‖): the pass is linear",
    )
    if operator.offset_independent:
        y = wide(operator.y)
        yield Check(
            "reconstruction",
            _ratio(_norm(of_x + wide(operator.offset) - y), _norm(y)),
            rounding,
            "‖J·x + c − y‖ / ‖y‖: the map gives back what the model said",
        )


def wide(a: Shaped[np.ndarray | Array, ...]) -> Shaped[np.ndarray, " n"]:
    """Flattened on the host, in float32 or better: sums over a bfloat16 array lose what they should show."""
    flat = np.asarray(a)
    return flat.astype(solver_dtype(flat.dtype), copy=False).ravel()


def _ratio(error: float, scale: float) -> float:
    """error / scale; 0 / 0, which the zero map gives, is no error."""
    return float(np.divide(error, 1.0 if scale == 0 and error == 0 else scale))


def _norm(a: Shaped[np.ndarray, " n"]) -> float:
    """In float64: a sum of squares of float32 may be too large."""
    return float(np.sqrt(_dot(a, a)))


def _dot(a: Shaped[np.ndarray, " n"], b: Shaped[np.ndarray, " n"]) -> float:
    """Summed in float64."""
    return float(np.einsum("n,n->", a, b, dtype=np.float64))
