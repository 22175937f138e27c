"""Rules for what is linear once a selection is frozen: sums, parts, rearrangements, maxima, sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax.numpy as jnp

from jaxlin.networks.decisions import Decision, Form, Site
from jaxlin.networks.kinds import Cause, Kind, Role, fresh
from jaxlin.networks.nonlinear_rules import coefficient, undecided, upgraded
from jaxlin.networks.primitives import ELEMENTWISE, MOVED

Rule = Callable[[Site], Decision]


def without_slope(site: Site, number: int) -> Kind:
    """Of whole numbers and truth values, which are frozen."""
    return fresh(Role.COEFFICIENT, number, site.cause("has no derivative"))


def total(site: Site) -> Decision:
    """Everything that is linear in all its floating operands at once: sums, parts, rearrangements."""
    operands = site.operands
    role, mixed, cause = site.joined(operands)
    kept = tuple(kind.role is Role.LINEAR for kind in operands)
    if site.step.name in ELEMENTWISE:
        depending = [kind for kind in operands if kind.depends]
        activated = any(kind.activated for kind in depending)
        kind = site.elementwise(role, activated=activated, mixed=mixed, cause=cause)
        return upgraded(site, kind) or Decision((kind,), kept)
    moved = site.step.name in MOVED and all(kind.activated for kind in operands if kind.depends)
    return Decision(_made(site, role, cause, mixed=mixed, activated=moved), kept)


def _made(
    site: Site, role: Role, cause: Cause | None, *, mixed: bool = False, activated: bool = False
) -> tuple[Kind, ...]:
    """All outputs of one role."""
    return tuple(
        replace(fresh(role, number, cause), mixed=mixed, activated=activated) for number in site.step.outputs
    )


def parts(data: Sequence[int]) -> Rule:
    """The same where only some operands are data, and the others say which part."""

    def rule(site: Site) -> Decision:
        operands = site.operands
        role, mixed, cause = site.joined([operands[i] for i in data])
        kept = tuple(i in data and kind.role is Role.LINEAR for i, kind in enumerate(operands))
        if role is Role.CONSTANT:
            role, cause = Role.COEFFICIENT, site.cause("chooses a part of a constant by the input")
        activated = all(operands[i].activated for i in data if operands[i].depends)
        return Decision(_made(site, role, cause, mixed=mixed, activated=activated), kept)

    return rule


def select(site: Site) -> Decision:
    """One case or another, by a frozen mask."""
    which, *cases = site.operands
    role, mixed, cause = site.joined(cases)
    if role is Role.CONSTANT:
        role, cause = Role.COEFFICIENT, site.cause("chooses between constants by the input")
    activated = which.depends or any(case.activated for case in cases)
    kind = site.elementwise(role, activated=activated, mixed=mixed, cause=cause)
    kept = (False, *(case.role is Role.LINEAR for case in cases))
    return upgraded(site, kind) or Decision((kind,), kept)


def choice(site: Site) -> Decision:
    """The larger or the smaller of two, or what lies between two limits, by a frozen mask."""
    role, mixed, cause = site.joined(site.operands)
    kind = site.elementwise(role, activated=True, mixed=mixed, cause=cause)
    kept = tuple(operand.role is Role.LINEAR for operand in site.operands)
    return upgraded(site, kind) or Decision((kind,), kept, Form.CHOICE)


def sign(site: Site) -> Decision:
    """A frozen sign times the value."""
    operand = site.operands[0]
    if jnp.issubdtype(site.program.types[site.step.inputs[0]].dtype, jnp.complexfloating):
        return coefficient(site)  # a length, which has no sign
    kind = site.elementwise(operand.role, activated=True, mixed=operand.mixed, cause=operand.cause)
    return upgraded(site, kind) or Decision((kind,), (operand.role is Role.LINEAR,), Form.SIGN)


def derivative(site: Site) -> Decision:
    """Maxima over an axis, sorting: a frozen selection."""
    decided = total(site)
    types = site.program.types
    kinds = tuple(
        kind if jnp.issubdtype(types[number].dtype, jnp.inexact) else without_slope(site, number)
        for kind, number in zip(decided.kinds, site.step.outputs, strict=True)
    )
    return replace(decided, kinds=kinds, form=Form.DERIVATIVE)


def in_order(site: Site) -> Decision:
    """Each output is the operand in its place in another order, which the input may decide."""
    moved = any(kind.depends for kind in site.operands)
    kinds = []
    for kind, number in zip(site.operands, site.step.outputs, strict=True):
        role = Role.COEFFICIENT if moved and not kind.depends else kind.role
        cause = kind.cause or site.cause("sorts a constant by the input")
        kinds.append(replace(fresh(role, number, cause), mixed=kind.mixed))
    return Decision(tuple(kinds), tuple(kind.role is Role.LINEAR for kind in site.operands), Form.DERIVATIVE)


def several(site: Site) -> Decision:
    """Each output is the operand in its place."""
    kinds = tuple(site.operands)
    return Decision(kinds, tuple(kind.role is Role.LINEAR for kind in kinds))


def solved(site: Site) -> Decision:
    """A frozen triangular matrix, solved for a linear right-hand side."""
    matrix, right = site.operands
    if matrix.on_path and right.depends:
        return undecided(site)
    role = right.role if right.depends else Role.COEFFICIENT
    cause = right.cause if right.depends else site.cause("solves with a matrix that depends on the input")
    kind = replace(fresh(role, site.output, cause), mixed=right.mixed)
    return Decision((kind,), (False, role is Role.LINEAR))
