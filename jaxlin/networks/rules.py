"""What is linear, what is frozen: one rule for each kind of primitive, in one table.

A primitive without a rule is no error by itself. Its output is undecided, and that is refused, by name,
where it reaches the output of the network.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from jaxlin.errors import JaxlinError
from jaxlin.networks.decisions import Decision, Site
from jaxlin.networks.kinds import CONSTANT, Kind, Role, fresh
from jaxlin.networks.linear_rules import (
    Rule,
    choice,
    derivative,
    in_order,
    parts,
    select,
    several,
    sign,
    solved,
    total,
    without_slope,
)  # fmt: skip
from jaxlin.networks.nonlinear_rules import coefficient, power, product, quotient, scalar_function, stopped
from jaxlin.networks.primitives import PASSED, RESHAPED
from jaxlin.networks.scalar_functions import is_scalar_function


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
        return Decision(
            tuple(kind if number == site.output else without_slope(site, number) for number in outputs)
        )
    name = site.step.name
    rule = RULES.get(name) or (scalar_function if is_scalar_function(name) else None)
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
    if site.step.name in RESHAPED and len(site.operands) == 1:
        return (Kind(Role.CONSTANT, germ=site.operands[0].germ),)
    if len(site.step.outputs) == 1:
        return (site.elementwise(Role.CONSTANT),)
    return tuple(CONSTANT for _ in site.step.outputs)


def _without_rule(site: Site) -> Decision:
    """Frozen where all it takes is frozen; otherwise nobody knows."""
    linear = any(kind.on_path for kind in site.operands)
    role = Role.UNDECIDED if linear else Role.COEFFICIENT
    why = (
        "has no rule by which it could be made linear: put jax.lax.stop_gradient around it if it is a "
        f"coefficient, or give freeze the rule {{{site.step.name!r}: 'linear'}} if it is linear"
    )
    return Decision(tuple(fresh(role, number, site.cause(why)) for number in site.step.outputs))


#: What can be said of a primitive without a rule.
GIVEN: Mapping[str, Rule] = {"linear": total, "coefficient": coefficient}

#: Primitive -> its rule.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            *RESHAPED, *PASSED, "add", "add_any", "sub", "neg", "concatenate", "pad", "reduce_sum", "cumsum",
            "reduce_window_sum", "real", "imag", "conj", "complex", "fft", "split", "tile", "stack",
            "unstack", "psum",
        ),
        total,
    ),
    **dict.fromkeys(("gather", "dynamic_slice"), parts((0,))),
    "dynamic_update_slice": parts((0, 1)),
    **dict.fromkeys(("scatter", "scatter-add", "scatter-sub"), parts((0, 2))),
    "select_n": select,
    **dict.fromkeys(("max", "min", "clamp"), choice),
    "abs": sign,
    **dict.fromkeys(
        (
            "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min", "cummax", "cummin", "top_k",
        ),
        derivative,
    ),
    **dict.fromkeys(("mul", "dot_general", "conv_general_dilated"), product),
    "div": quotient,
    **dict.fromkeys(("integer_pow", "square"), power),
    "stop_gradient": stopped,
    "optimization_barrier": several,
    "sort": in_order,
    "triangular_solve": solved,
    **dict.fromkeys(
        (
            "pow", "atan2", "rem", "sign", "floor", "ceil", "round", "nextafter", "erf_inv", "lgamma",
            "digamma", "igamma", "igammac", "polygamma", "bessel_i0e", "bessel_i1e",
            "regularized_incomplete_beta",
        ),
        coefficient,
    ),
}  # fmt: skip
