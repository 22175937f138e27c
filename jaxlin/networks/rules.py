"""What is linear, what is frozen: one rule for each kind of primitive, in one table.

A primitive without a rule is no error by itself. Its output is undecided, and that is refused, by name,
where it reaches the output of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax.numpy as jnp

from jaxlin.errors import JaxlinError
from jaxlin.networks.decisions import Decision, Form, Site
from jaxlin.networks.kinds import CONSTANT, Kind, Role, fresh
from jaxlin.networks.scalar_functions import is_scalar_function

Rule = Callable[[Site], Decision]

_PRODUCT = (
    "multiplies two linear functions of the input, and it is not known which is the coefficient: "
    "put jax.lax.stop_gradient around that one"
)


def decide(site: Site) -> Decision:
    """What is linear and what is frozen in this step."""
    operands, types = site.operands, site.program.types
    outputs = site.step.outputs
    if not outputs:  # something to be printed
        return Decision(())
    if not any(kind.depends for kind in operands):
        return Decision(_constants(site))
    if not any(jnp.issubdtype(types[number].dtype, jnp.inexact) for number in outputs):
        kind = site.elementwise(Role.COEFFICIENT, cause=site.cause("has no derivative"))
        return Decision(tuple(kind if number == site.output else _frozen(site, number) for number in outputs))
    name = site.step.name
    rule = RULES.get(name) or (_scalar_function if is_scalar_function(name) else None)
    rule = rule or GIVEN.get(site.rules.get(name, ""))
    return _without_rule(site) if rule is None else rule(site)


def checked_rules(rules: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Rules that somebody gives for primitives without one.

    Raises:
        JaxlinError: a primitive that has a rule, or no such rule.
    """
    for name, rule in rules.items():
        if name in RULES or is_scalar_function(name):
            raise JaxlinError(f"the primitive {name!r} has a rule of its own: leave it out")
        if rule not in GIVEN:
            raise JaxlinError(f"unknown rule {rule!r} for {name!r}: choose one of {', '.join(GIVEN)}")
    return tuple(rules.items())


def _constants(site: Site) -> tuple[Kind, ...]:
    if site.step.name in _RESHAPED and len(site.operands) == 1:
        return (Kind(Role.CONSTANT, germ=site.operands[0].germ),)
    if len(site.step.outputs) == 1:
        return (site.elementwise(Role.CONSTANT),)
    return tuple(CONSTANT for _ in site.step.outputs)


def _frozen(site: Site, number: int) -> Kind:
    return fresh(Role.COEFFICIENT, number, site.cause("has no derivative"))


def _without_rule(site: Site) -> Decision:
    """Frozen where all it takes is frozen; otherwise nobody knows."""
    linear = any(kind.on_path for kind in site.operands)
    role = Role.UNDECIDED if linear else Role.COEFFICIENT
    why = (
        "has no rule by which it could be made linear: put jax.lax.stop_gradient around it if it is a "
        f"coefficient, or give freeze the rule {{{site.step.name!r}: 'linear'}} if it is linear"
    )
    return Decision(tuple(fresh(role, number, site.cause(why)) for number in site.step.outputs))


def _nonlinear(site: Site) -> Kind:
    """The kind of a function of one value that is nothing but nonlinear: a coefficient."""
    why = "is not zero where its argument is zero, so that it is no coefficient times its argument"
    return site.elementwise(Role.COEFFICIENT, cause=site.cause(why))


def _coefficient(site: Site) -> Decision:
    """A function of several values, or one without a slope."""
    return Decision((_nonlinear(site),))


def _scalar_function(site: Site) -> Decision:
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


def _sum(site: Site) -> Decision:
    """Everything that is linear in all its floating operands at once: sums, parts, rearrangements."""
    operands = site.operands
    role, mixed, cause = site.joined(operands)
    kept = tuple(kind.role is Role.LINEAR for kind in operands)
    if site.step.name in _ELEMENTWISE:
        depending = [kind for kind in operands if kind.depends]
        activated = any(kind.activated for kind in depending)
        kind = site.elementwise(role, activated=activated, mixed=mixed, cause=cause)
        return upgraded(site, kind) or Decision((kind,), kept)
    made = (replace(fresh(role, number, cause), mixed=mixed) for number in site.step.outputs)
    return Decision(tuple(made), kept)


def _parts(data: Sequence[int]) -> Rule:
    """The same where only some operands are data, and the others say which part."""

    def rule(site: Site) -> Decision:
        operands = site.operands
        role, mixed, cause = site.joined([operands[i] for i in data])
        kept = tuple(i in data and kind.role is Role.LINEAR for i, kind in enumerate(operands))
        if role is Role.CONSTANT:
            role, cause = Role.COEFFICIENT, site.cause("chooses a part of a constant by the input")
        made = (replace(fresh(role, number, cause), mixed=mixed) for number in site.step.outputs)
        return Decision(tuple(made), kept)

    return rule


def _select(site: Site) -> Decision:
    """One case or another, by a frozen mask."""
    which, *cases = site.operands
    role, mixed, cause = site.joined(cases)
    if role is Role.CONSTANT:
        role, cause = Role.COEFFICIENT, site.cause("chooses between constants by the input")
    activated = which.depends or any(case.activated for case in cases)
    kind = site.elementwise(role, activated=activated, mixed=mixed, cause=cause)
    kept = (False, *(case.role is Role.LINEAR for case in cases))
    return upgraded(site, kind) or Decision((kind,), kept)


def _choice(site: Site) -> Decision:
    """The larger or the smaller of two, or what lies between two limits, by a frozen mask."""
    role, mixed, cause = site.joined(site.operands)
    kind = site.elementwise(role, activated=True, mixed=mixed, cause=cause)
    kept = tuple(operand.role is Role.LINEAR for operand in site.operands)
    return upgraded(site, kind) or Decision((kind,), kept, Form.CHOICE)


def _sign(site: Site) -> Decision:
    operand = site.operands[0]
    if jnp.issubdtype(site.program.types[site.step.inputs[0]].dtype, jnp.complexfloating):
        return _coefficient(site)  # a length, which has no sign
    kind = site.elementwise(operand.role, activated=True, mixed=operand.mixed, cause=operand.cause)
    return upgraded(site, kind) or Decision((kind,), (operand.role is Role.LINEAR,), Form.SIGN)


def _derivative(site: Site) -> Decision:
    """Maxima over an axis, sorting: a frozen selection."""
    decided = _sum(site)
    types = site.program.types
    kinds = tuple(
        kind if jnp.issubdtype(types[number].dtype, jnp.inexact) else _frozen(site, number)
        for kind, number in zip(decided.kinds, site.step.outputs, strict=True)
    )
    return replace(decided, kinds=kinds, form=Form.DERIVATIVE)


def _sorted(site: Site) -> Decision:
    """Each output is the operand in its place in another order, which the input may decide."""
    moved = any(kind.depends for kind in site.operands)
    kinds = []
    for kind, number in zip(site.operands, site.step.outputs, strict=True):
        role = Role.COEFFICIENT if moved and not kind.depends else kind.role
        cause = kind.cause or site.cause("sorts a constant by the input")
        kinds.append(replace(fresh(role, number, cause), mixed=kind.mixed))
    return Decision(tuple(kinds), tuple(kind.role is Role.LINEAR for kind in site.operands), Form.DERIVATIVE)


def _solved(site: Site) -> Decision:
    """A frozen triangular matrix, solved for a linear right-hand side."""
    matrix, right = site.operands
    if matrix.on_path and right.depends:
        return _undecided(site)
    role = right.role if right.depends else Role.COEFFICIENT
    cause = right.cause if right.depends else site.cause("solves with a matrix that depends on the input")
    kind = replace(fresh(role, site.output, cause), mixed=right.mixed)
    return Decision((kind,), (False, role is Role.LINEAR))


def _product(site: Site) -> Decision:
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
    return _undecided(site)


def _coefficient_of(site: Site, a: Kind, b: Kind) -> int | None:
    """Which of two factors is frozen: one that is an activation of the other, or the only activation."""
    first, second = site.step.inputs
    if b.activated and (first in b.within or first == second):
        return 1
    if a.activated and second in a.within:
        return 0
    return None if a.activated == b.activated else 0 if a.activated else 1


def _undecided(site: Site) -> Decision:
    cause = site.cause(_PRODUCT)
    if site.step.name in _ELEMENTWISE:
        return Decision((site.elementwise(Role.UNDECIDED, cause=cause),))
    return Decision((fresh(Role.UNDECIDED, site.output, cause),))


def _quotient(site: Site) -> Decision:
    """A frozen denominator."""
    above, below = site.operands
    kept = (above.role is Role.LINEAR, False)
    if not above.on_path:
        decided = _nonlinear(site) if below.depends else site.elementwise(above.role, cause=above.cause)
    else:
        activated = above.activated or below.depends
        decided = site.elementwise(above.role, activated=activated, mixed=above.mixed, cause=above.cause)
    return upgraded(site, decided) or Decision((decided,), kept)


def _power(site: Site) -> Decision:
    """A whole power: of an activation all factors but one are frozen."""
    operand = site.operands[0]
    power = 2 if site.step.name == "square" else site.step.params["y"]
    if power == 1:
        return _sum(site)
    if not operand.on_path or power < 1:
        kind = _nonlinear(site)
        return upgraded(site, kind) or Decision((kind,))
    if not operand.activated:
        return _undecided(site)
    kind = site.elementwise(operand.role, activated=True, cause=operand.cause)
    return Decision((kind,), (operand.role is Role.LINEAR,), Form.POWER)


def _stopped(site: Site) -> Decision:
    cause = site.cause("is frozen by whoever wrote it, and nothing linear is left beside it")
    return Decision((site.elementwise(Role.COEFFICIENT, cause=cause, germ=None),))


def _several(site: Site) -> Decision:
    """Each output is the operand in its place."""
    kinds = tuple(site.operands)
    return Decision(kinds, tuple(kind.role is Role.LINEAR for kind in kinds))


#: Rearrangements of one operand.
_RESHAPED = ("reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "rev", "slice", "copy", "copy_p",
             "convert_element_type", "reduce_precision")  # fmt: skip
#: Element by element, so that what comes out is still a function of the same value.
_ELEMENTWISE = ("add", "add_any", "sub", "neg", "convert_element_type", "reduce_precision", "copy", "copy_p", "mul",
                "integer_pow", "square", "real", "imag", "conj", "complex", "device_put",
                "sharding_constraint", "layout_constraint", "name")  # fmt: skip

#: What can be said of a primitive without a rule.
GIVEN: Mapping[str, Rule] = {"linear": _sum, "coefficient": _coefficient}

#: Primitive -> its rule.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys((*_RESHAPED, "add", "add_any", "sub", "neg", "concatenate", "pad", "reduce_sum", "cumsum",
                     "reduce_window_sum", "real", "imag", "conj", "complex", "fft", "split", "tile", "stack", "unstack", "psum",
                     "device_put", "sharding_constraint", "layout_constraint", "name"), _sum),
    **dict.fromkeys(("gather", "dynamic_slice"), _parts((0,))),
    "dynamic_update_slice": _parts((0, 1)),
    **dict.fromkeys(("scatter", "scatter-add", "scatter-sub"), _parts((0, 2))),
    "select_n": _select,
    **dict.fromkeys(("max", "min", "clamp"), _choice),
    "abs": _sign,
    **dict.fromkeys(("reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "cummax", "cummin",
                     "top_k"), _derivative),
    **dict.fromkeys(("mul", "dot_general", "conv_general_dilated"), _product),
    "div": _quotient,
    **dict.fromkeys(("integer_pow", "square"), _power),
    "stop_gradient": _stopped,
    "sort": _sorted,
    "triangular_solve": _solved,
    **dict.fromkeys(("pow", "atan2", "rem", "sign", "floor", "ceil", "round", "nextafter", "erf_inv", "lgamma",
                     "digamma", "igamma", "igammac", "polygamma", "bessel_i0e", "bessel_i1e",
                     "regularized_incomplete_beta"), _coefficient),
    "optimization_barrier": _several,
}  # fmt: skip
