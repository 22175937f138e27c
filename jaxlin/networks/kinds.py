"""What a value inside a network is, seen from its input: a constant, a coefficient, linear, or undecided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What freezing makes of a value."""

    #: Does not depend on the input.
    CONSTANT = "constant"
    #: Depends on it and is frozen: a nonlinear coefficient.
    COEFFICIENT = "coefficient"
    #: A linear function of the input, plus constants, once all coefficients are frozen.
    LINEAR = "linear"
    #: Neither: right where it ends in a coefficient, an error where it reaches the output.
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Cause:
    """Why a value is a coefficient or undecided: the primitive, its place, its shape, what is wrong."""

    primitive: str
    where: str
    shape: str
    why: str

    def __str__(self) -> str:
        return f"`{self.primitive}` at {self.where}, {self.shape}, {self.why}"


@dataclass(frozen=True)
class Germ:
    """A function of one number, near 0: its value there and its slope."""

    value: float
    slope: float


@dataclass(frozen=True)
class Kind:
    """What is known of a value.

    Attributes:
        role: see :class:`Role`.
        activated: whether it is an activation: a linear value times a function of itself, element by element.
            Of two factors the activated one is frozen.
        base: the value that it is computed from element by element; its own number if from several.
        within: the values that it is computed from element by element.
        root: the value that ``germ`` is a function of; None where nothing is known.
        germ: its value and slope where ``root`` is 0.
        cause: why it is a coefficient, or undecided.
        mixed: whether it is undecided only as the sum of a linear and a nonlinear function.
    """

    role: Role
    activated: bool = False
    base: int | None = None
    within: frozenset[int] = frozenset()
    root: int | None = None
    germ: Germ | None = None
    cause: Cause | None = None
    mixed: bool = False

    @property
    def depends(self) -> bool:
        """Whether it depends on the input."""
        return self.role is not Role.CONSTANT

    @property
    def on_path(self) -> bool:
        """Whether it is linear or may be: a factor beside it is frozen."""
        return self.role in (Role.LINEAR, Role.UNDECIDED)


CONSTANT = Kind(Role.CONSTANT)


def fresh(role: Role, number: int, cause: Cause | None = None) -> Kind:
    """The kind of a value that is computed from others, but not element by element."""
    if role is Role.CONSTANT:
        return CONSTANT
    return Kind(role, base=number, root=number, germ=Germ(0.0, 1.0), cause=cause)
