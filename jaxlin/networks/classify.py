"""The kinds of all values of a program, and what is decided about each of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp

from jaxlin.errors import JaxlinError
from jaxlin.networks.decisions import Decision, Form, Site
from jaxlin.networks.kinds import CONSTANT, Cause, Germ, Kind, Role, fresh
from jaxlin.networks.program import Program
from jaxlin.networks.rules import decide


@dataclass(frozen=True, eq=False)
class Plan:
    """A program with everything decided.

    Attributes:
        program: the steps.
        decisions: one for each step.
        kinds: of every value, by its number.
    """

    program: Program
    decisions: tuple[Decision, ...]
    kinds: Mapping[int, Kind]

    def linear(self, number: int) -> bool:
        """Whether a value is on the linear path."""
        return self.kinds[number].role is Role.LINEAR

    @property
    def outputs(self) -> tuple[Kind, ...]:
        """The kinds of its results."""
        return tuple(self.kinds[number] for number in self.program.outputs)


def classified(program: Program, rules: Mapping[str, str]) -> Plan:
    """The plan of a program whose first argument is the input; the others are parameters.

    Args:
        program: the steps.
        rules: for primitives without a rule, see :data:`jaxlin.networks.rules.GIVEN`.

    Raises:
        JaxlinError: the output is not a linear function of the input once all coefficients are frozen.
    """
    first, *parameters = program.inputs
    given = [fresh(Role.LINEAR, first), *(CONSTANT for _ in parameters)]
    plan = _planned(program, given, rules)
    for kind in plan.outputs:
        if kind.role in (Role.UNDECIDED, Role.COEFFICIENT):
            raise JaxlinError(_refusal(kind))
    return plan


def _refusal(kind: Kind) -> str:
    if kind.role is Role.COEFFICIENT:
        return (
            f"the output has no linear part: {kind.cause}; return what comes before it "
            "(the logits, not the probabilities)"
        )
    return f"the output is not linear once all coefficients are frozen: {kind.cause}"


def _planned(program: Program, given: Sequence[Kind], rules: Mapping[str, str]) -> Plan:
    kinds: dict[int, Kind] = dict(zip(program.inputs, given, strict=True))
    kinds |= dict.fromkeys(program.constants, CONSTANT)
    for number, value in program.known.items():
        germ = Germ(float(value), 0.0) if value.ndim == 0 and value.dtype.kind in "biuf" else None
        kinds[number] = Kind(Role.CONSTANT, germ=germ)
    decisions = []
    for step in program.steps:
        site = Site(step, program, kinds, rules)
        inner = _CONTROL.get(step.name)
        decision = decide(site) if inner is None else inner(site)
        kinds |= zip(step.outputs, decision.kinds, strict=True)
        decisions.append(decision)
    return Plan(program, tuple(decisions), kinds)


def _scan(site: Site) -> Decision:
    """The body, with kinds of what it carries that no longer change."""
    step, body = site.step, site.step.inner[0]
    fixed, carried = step.loop
    given = [_inside(kind, number) for kind, number in zip(site.operands, body.inputs, strict=True)]
    tried = {i: list(_TRIED[given[i].role]) for i in range(fixed, fixed + carried)}
    while True:
        plan = _planned(body, given, site.rules)
        changed = False
        for i, after in zip(tried, plan.outputs, strict=False):
            if _may_follow(given[i], after):
                continue
            number, changed = body.inputs[i], True
            given[i] = replace(fresh(tried[i].pop(0), number, after.cause), mixed=after.mixed)
        if not changed:
            break
    made = [*given[fixed : fixed + carried], *plan.outputs[carried:]]
    kinds = tuple(_inside(kind, number) for kind, number in zip(made, step.outputs, strict=True))
    return Decision(kinds, form=Form.SCAN, inner=(plan,))


#: What a carried value may be that begins as this, in the order it is tried.
_TRIED: Mapping[Role, Sequence[Role]] = {
    Role.CONSTANT: (Role.LINEAR, Role.COEFFICIENT, Role.UNDECIDED),
    Role.LINEAR: (Role.UNDECIDED,),
    Role.COEFFICIENT: (Role.UNDECIDED,),
    Role.UNDECIDED: (),
}


def _may_follow(before: Kind, after: Kind) -> bool:
    """Whether what the body makes may be what it was given the next time."""
    return before.role is Role.UNDECIDED or after.role in (before.role, Role.CONSTANT)


def _inside(kind: Kind, number: int) -> Kind:
    """The same role under a number of another program."""
    return replace(fresh(kind.role, number, kind.cause), mixed=kind.mixed)


def _cond(site: Site) -> Decision:
    """One branch or another, by a frozen index."""
    step = site.step
    index, *operands = site.operands
    plans = tuple(
        _planned(branch, [_inside(k, n) for k, n in zip(operands, branch.inputs, strict=True)], site.rules)
        for branch in step.inner
    )
    kinds = []
    for number, *branches in zip(step.outputs, *(plan.outputs for plan in plans), strict=True):
        role, mixed, cause = site.joined(branches)
        if role is Role.CONSTANT and index.depends:
            role, cause = Role.COEFFICIENT, site.cause("chooses between constants by the input")
        if not jnp.issubdtype(site.program.types[number].dtype, jnp.inexact) and role is not Role.CONSTANT:
            role, mixed = Role.COEFFICIENT, False
        kinds.append(replace(fresh(role, number, cause), mixed=mixed))
    return Decision(tuple(kinds), form=Form.COND, inner=plans)


def _while(site: Site) -> Decision:
    """Frozen, unless something linear goes through it: how often it runs is not known to its transpose."""
    depends = any(kind.depends for kind in site.operands)
    linear = any(kind.role is Role.LINEAR or kind.mixed for kind in site.operands)
    role = Role.UNDECIDED if linear else Role.COEFFICIENT if depends else Role.CONSTANT
    why = (
        "is a loop whose length is found while it runs, which no linear map goes back through: "
        "use jax.lax.scan, or a loop of fixed length"
    )
    cause: Cause = site.cause(why)
    return Decision(tuple(fresh(role, number, cause) for number in site.step.outputs))


_CONTROL = {"scan": _scan, "cond": _cond, "while": _while}
