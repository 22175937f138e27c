"""Rules for what is nonlinear: functions of one value, products, quotients, powers. Most of it is frozen."""

from __future__ import annotations

from dataclasses import replace

from jaxlin.networks.decisions import Decision, Form, Site
from jaxlin.networks.kinds import Kind, Role, fresh
from jaxlin.networks.primitives import ELEMENTWISE

_PRODUCT = (
    "multiplies two linear functions of the input, and it is not known which is the coefficient: "
    "put jax.lax.stop_gradient around that one"
)


def _nonlinear(site: Site) -> Kind:
    """The kind of a function of one value that is nothing but nonlinear: a coefficient."""
    why = "is not zero where its argument is zero, so that it is no coefficient times its argument"
    return site.elementwise(Role.COEFFICIENT, cause=site.cause(why))


def coefficient(site: Site) -> Decision:
    """A function of several values, or of several outputs, or one without a slope."""
    first = _nonlinear(site)
    others = (fresh(Role.COEFFICIENT, number, first.cause) for number in site.step.outputs[1:])
    return Decision((first, *others))


def scalar_function(site: Site) -> Decision:
    """An activation, where it is 0 at 0; a coefficient elsewhere."""
    operand = site.operands[0]
    kind = _nonlinear(site)
    found = upgraded(site, kind)
    if operand.mixed:  # what is wrong with it comes first
        kind = replace(kind, cause=operand.cause)
    if found is not None or not operand.on_path or operand.mixed:
        return found or Decision((kind,))
    # Of a sum with a constant in it: the function of that sum as a whole.
    whole = replace(site, known={**site.known, site.step.inputs[0]: _itself(site, operand)})
    return upgraded(whole, replace(_nonlinear(whole), base=kind.base)) or Decision((kind,))


def _itself(site: Site, operand: Kind) -> Kind:
    """The operand as a root of its own."""
    return replace(fresh(operand.role, site.step.inputs[0]), base=operand.base, within=operand.within)


def upgraded(site: Site, kind: Kind) -> Decision | None:
    """The activation that an output is, if it is 0 where its root is: (act(x) / x)·x; else None."""
    eligible = kind.role is Role.COEFFICIENT or kind.mixed
    if not eligible or kind.root is None or not site.is_zero(kind.germ) or kind.germ is None:
        return None
    root = site.known[kind.root]
    activation = replace(kind, role=root.role, activated=True, mixed=False, cause=root.cause)
    if root.role is Role.UNDECIDED:
        return Decision((activation,))
    return Decision((activation,), form=Form.QUOTIENT, root=kind.root, slope=kind.germ.slope)


def product(site: Site) -> Decision:
    """Of a coefficient and a linear value; of two linear ones the activated one is frozen."""
    a, b = site.operands
    elementwise = site.step.name == "mul"
    on_path = [kind.on_path for kind in (a, b)]

    def made(
        role: Role, kept: tuple[bool, bool], *, activated: bool = False, source: Kind | None = None
    ) -> Decision:
        cause = None if source is None else source.cause
        mixed = source is not None and source.mixed
        if elementwise:
            kind = site.elementwise(role, activated=activated, mixed=mixed, cause=cause)
            return upgraded(site, kind) or Decision((kind,), kept)
        return Decision((fresh(role, site.output, cause),), kept)

    if not any(on_path):
        return made(Role.COEFFICIENT, (False, False), source=a if a.depends else b)
    if not all(on_path):
        path, other = (a, b) if on_path[0] else (b, a)
        kept = (on_path[0] and path.role is Role.LINEAR, on_path[1] and path.role is Role.LINEAR)
        return made(path.role, kept, activated=path.activated or other.depends, source=path)
    coefficient = _coefficient_of(site, a, b)
    if coefficient is not None:
        path, first = (b, False) if coefficient == 0 else (a, True)
        linear = path.role is Role.LINEAR
        return made(path.role, (first and linear, not first and linear), activated=True, source=path)
    return undecided(site)


def _coefficient_of(site: Site, a: Kind, b: Kind) -> int | None:
    """Which of two factors is frozen: one that is an activation of the other, or the only activation."""
    first, second = site.step.inputs
    if b.activated and (first in b.within or first == second):
        return 1
    if a.activated and second in a.within:
        return 0
    return None if a.activated == b.activated else 0 if a.activated else 1


def undecided(site: Site) -> Decision:
    """A product of two values that are linear, or may be."""
    cause = site.cause(_PRODUCT)
    if site.step.name in ELEMENTWISE:
        return Decision((site.elementwise(Role.UNDECIDED, cause=cause),))
    return Decision((fresh(Role.UNDECIDED, site.output, cause),))


def quotient(site: Site) -> Decision:
    """A frozen denominator."""
    above, below = site.operands
    kept = (above.role is Role.LINEAR, False)
    if not above.on_path:
        decided = _nonlinear(site) if below.depends else site.elementwise(above.role, cause=above.cause)
    else:
        activated = above.activated or below.depends
        decided = site.elementwise(above.role, activated=activated, mixed=above.mixed, cause=above.cause)
    return upgraded(site, decided) or Decision((decided,), kept)


def power(site: Site) -> Decision:
    """A whole power: of an activation all factors but one are frozen."""
    operand = site.operands[0]
    exponent = 2 if site.step.name == "square" else site.step.params["y"]
    if exponent == 1:
        return Decision(
            (site.elementwise(operand.role, activated=operand.activated, cause=operand.cause),),
            (operand.role is Role.LINEAR,),
        )
    if not operand.on_path or exponent < 1:
        kind = _nonlinear(site)
        return upgraded(site, kind) or Decision((kind,))
    if not operand.activated:
        return undecided(site)
    kind = site.elementwise(operand.role, activated=True, cause=operand.cause)
    return Decision((kind,), (operand.role is Role.LINEAR,), Form.POWER)


def stopped(site: Site) -> Decision:
    """What somebody has frozen by hand."""
    cause = site.cause("is frozen by whoever wrote it, and nothing linear is left beside it")
    return Decision((site.elementwise(Role.COEFFICIENT, cause=cause),))
