"""What freezing decides about one step, and what a rule may ask about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxlin.networks.kinds import Cause, Germ, Kind, Role, fresh
from jaxlin.networks.program import Program, Step
from jaxlin.networks.scalar_functions import germ_of

#: Units of roundoff within which an activation is 0 at 0.
_ROUNDINGS = 16


class Form(Enum):
    """How a linear output follows from the linear operands."""

    #: The primitive itself, with its other operands frozen.
    ITSELF = "itself"
    #: The operand that was larger or smaller at the point.
    CHOICE = "choice"
    #: Times the sign at the point.
    SIGN = "sign"
    #: The derivative at the point, of what is piecewise linear and 0 at 0: maxima, sorting.
    DERIVATIVE = "derivative"
    #: (act(x) / x)·x with the quotient frozen.
    QUOTIENT = "quotient"
    #: xⁿ⁻¹·x with the power frozen.
    POWER = "power"
    #: Control flow, with programs inside.
    SCAN = "scan"
    COND = "cond"


@dataclass(frozen=True, eq=False)
class Decision:
    """What is decided about a step.

    Attributes:
        kinds: of its outputs.
        kept: for each operand, whether it stays on the linear path; the others are frozen.
        form: how linear outputs follow.
        root: what the quotient is taken to, for ``Form.QUOTIENT``.
        slope: the limit of the quotient at 0.
        inner: decisions of the programs inside.
    """

    kinds: tuple[Kind, ...]
    kept: tuple[bool, ...] = ()
    form: Form = Form.ITSELF
    root: int = -1
    slope: float = 0.0
    inner: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Site:
    """A step with what is known of its operands.

    Attributes:
        step: the step.
        program: that it is of.
        known: the kinds of all values so far, by number.
        rules: what was said about primitives without a rule.
    """

    step: Step
    program: Program
    known: Mapping[int, Kind]
    rules: Mapping[str, str]

    @property
    def operands(self) -> list[Kind]:
        """The kinds of its inputs."""
        return [self.known[number] for number in self.step.inputs]

    @property
    def output(self) -> int:
        """The number of its first output."""
        return self.step.outputs[0]

    def cause(self, why: str) -> Cause:
        """This step as the reason for something."""
        aval = self.program.types[self.output]
        shape = f"{aval.dtype}{list(aval.shape)}"
        return Cause(self.step.name, self.step.where, shape, why)

    def joined(self, kinds: list[Kind]) -> tuple[Role, bool, Cause | None]:
        """The role of a sum of these, whether it is undecided by that sum alone, and why."""
        depending = [kind for kind in kinds if kind.depends]
        if not depending:
            return Role.CONSTANT, False, None
        undecided = [kind for kind in depending if kind.role is Role.UNDECIDED]
        if undecided:
            worst = next((kind for kind in undecided if not kind.mixed), undecided[0])
            return Role.UNDECIDED, all(kind.mixed for kind in undecided), worst.cause
        frozen = next((kind for kind in depending if kind.role is Role.COEFFICIENT), None)
        if frozen is None:
            return Role.LINEAR, False, None
        if all(kind.role is Role.COEFFICIENT for kind in depending):
            return Role.COEFFICIENT, False, frozen.cause
        why = f"adds a nonlinear function of the input ({frozen.cause}) to a linear one"
        return Role.UNDECIDED, True, self.cause(why)

    def elementwise(
        self,
        role: Role,
        *,
        activated: bool = False,
        mixed: bool = False,
        cause: Cause | None = None,
    ) -> Kind:
        """The kind of an output that is computed element by element, with what is known of it near 0."""
        if role is Role.CONSTANT:
            return Kind(role, germ=germ_of(self.step.name, self.step.params, [k.germ for k in self.operands]))
        shape = self.program.types[self.output].shape
        depending = [
            (kind, self.program.types[number].shape == shape)
            for kind, number in zip(self.operands, self.step.inputs, strict=True)
            if kind.depends
        ]
        bases = {kind.base if fits else self.output for kind, fits in depending}
        base = bases.pop() if len(bases) == 1 else self.output
        alone = base != self.output
        within = frozenset(
            {number for number in self.step.inputs if self.known[number].depends}.union(
                *(kind.within for kind, _ in depending)
            )
            if alone
            else ()
        )
        roots = {kind.root for kind, _ in depending}
        if alone and len(roots) == 1 and None not in roots:
            found = germ_of(self.step.name, self.step.params, [k.germ for k in self.operands])
            moved = role is Role.LINEAR and not activated and found is not None and found.value != 0
            if found is not None and not moved:
                return Kind(role, activated, base, within, roots.pop(), found, cause, mixed)
        if role in (Role.LINEAR, Role.UNDECIDED) and not (activated and alone) and not mixed:
            return replace(fresh(role, self.output, cause), base=base, within=within)
        return Kind(role, activated and alone, base, within, None, None, cause, mixed)

    def is_zero(self, germ: Germ | None) -> bool:
        """Whether something is 0 where its root is, up to rounding, and smooth enough for a quotient."""
        if germ is None or not np.isfinite(germ.slope):
            return False
        return abs(germ.value) <= _ROUNDINGS * float(jnp.finfo(self.program.types[self.output].dtype).eps)
