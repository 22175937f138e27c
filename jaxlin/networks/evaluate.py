"""A planned program, computed twice at once: its values at the point, and its linear path at any input.

The values are frozen: no derivative goes through them. The path is a linear function, plus constants, whose
coefficients are those values. At the point itself both give the same output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlin.networks.classify import Plan
from jaxlin.networks.decisions import Decision, Form
from jaxlin.networks.program import Step

Values = dict[int, Any]


def values_of(plan: Plan, arguments: Sequence[Any], weights: Sequence[Any] | None = None) -> Values:
    """Every value at the point, frozen.

    Args:
        plan: the program.
        arguments: the point, and parameters.
        weights: in place of the arrays that the program closes over.
    """
    program = plan.program
    values: Values = dict(zip(program.inputs, map(_frozen, arguments[:1]), strict=False))
    values |= zip(program.inputs[1:], arguments[1:], strict=True)
    return _filled(plan, values, weights)


def _filled(plan: Plan, values: Values, weights: Sequence[Any] | None = None) -> Values:
    program = plan.program
    values |= program.known
    values |= zip(program.constants, program.weights if weights is None else weights, strict=True)
    for step in program.steps:
        made = step.bind(*(values[number] for number in step.inputs))
        values |= zip(step.outputs, made, strict=True)
    return values


def along_path(
    plan: Plan,
    values: Mapping[int, Any],
    start: Mapping[int, Any],
    wanted: Sequence[int],
    steps: slice = slice(None),
) -> list[Any]:
    """The linear path from some of its values to others, with coefficients from ``values``.

    Args:
        plan: the program.
        values: those at the point, of :func:`values_of`.
        start: values of the path by number.
        wanted: numbers of the values to return; those that are not on the path are frozen.
        steps: the steps between.
    """
    path: Values = dict(start)
    for step, decision in list(zip(plan.program.steps, plan.decisions, strict=True))[steps]:
        if any(plan.linear(number) for number in step.outputs):
            made = _path_of(step, decision, values, path)
            path |= {n: value for n, value in zip(step.outputs, made, strict=True) if plan.linear(n)}
    return [path[number] if number in path else values[number] for number in wanted]


def _path_of(step: Step, decision: Decision, values: Mapping[int, Any], path: Values) -> list[Any]:
    """The outputs of one step on the path."""
    at = [values[number] for number in step.inputs]
    if decision.form is Form.SCAN:
        return _scanned(step, decision.inner[0], at, path)
    if decision.form is Form.COND:
        return _branched(step, decision.inner, at, path)
    if decision.form is Form.QUOTIENT:
        root, value = values[decision.root], values[step.outputs[0]]
        return [_slope_to(root, value, decision.slope) * path[decision.root]]
    along = [
        path[number] if kept else value
        for number, kept, value in zip(step.inputs, decision.kept, at, strict=True)
    ]
    if decision.form is Form.ITSELF:
        return step.bind(*along)
    if decision.form is Form.SIGN:
        return [jnp.sign(at[0]) * along[0]]
    if decision.form is Form.POWER:
        power = 2 if step.name == "square" else step.params["y"]
        return [at[0] ** (power - 1) * along[0]]
    if decision.form is Form.CHOICE:
        return [_CHOSEN[step.name](at, along)]
    return _derived(step, decision, at, along)


def _derived(step: Step, decision: Decision, at: list[Any], along: list[Any]) -> list[Any]:
    """The derivative at the point in the direction of the path."""
    kept = [i for i, on_path in enumerate(decision.kept) if on_path]
    # What a mask has made infinite is not chosen, and must not be multiplied by 0.
    along = [
        jnp.where(jnp.isfinite(a), b, 0) if i in kept else b
        for i, (a, b) in enumerate(zip(at, along, strict=True))
    ]

    def of_kept(operands: list[Any]) -> list[Any]:
        return step.bind(*(operands[kept.index(i)] if i in kept else value for i, value in enumerate(at)))

    tangents: list[Any] = jax.jvp(of_kept, ([at[i] for i in kept],), ([along[i] for i in kept],))[1]
    return tangents


def _larger(at: list[Any], along: list[Any]) -> Any:
    first, second = at
    # NaN wins, as it does in the maximum itself.
    return jnp.where((first > second) | jnp.isnan(first), along[0], along[1])


def _smaller(at: list[Any], along: list[Any]) -> Any:
    first, second = at
    return jnp.where((first < second) | jnp.isnan(first), along[0], along[1])


def _between(at: list[Any], along: list[Any]) -> Any:
    low, value, high = at
    return jnp.where(value <= low, along[0], jnp.where(value >= high, along[2], along[1]))


_CHOSEN = {"max": _larger, "min": _smaller, "clamp": _between}


def _slope_to(root: Any, value: Any, at_zero: float) -> Any:
    """value / root; near 0, where that is rounding alone, its limit."""
    small = jnp.abs(root) < jnp.finfo(root.dtype).eps ** 0.5
    return jnp.where(small, jnp.asarray(at_zero, root.dtype), value / jnp.where(small, 1, root))


def _scanned(step: Step, plan: Plan, at: list[Any], path: Values) -> list[Any]:
    """One scan over both: the frozen values, and the path beside them."""
    fixed, carried = step.loop
    body = plan.program
    linear = [plan.linear(number) for number in body.inputs]
    along = [
        path.get(number, value) if on else value
        for number, value, on in zip(step.inputs, at, linear, strict=True)
    ]
    ends = fixed, fixed + carried
    first = (at[ends[0] : ends[1]], along[ends[0] : ends[1]])
    rows = (at[ends[1] :], along[ends[1] :])

    def one(carry: Any, row: Any) -> Any:
        given = [*at[:fixed], *carry[0], *row[0]]
        values = _filled(plan, dict(zip(body.inputs, given, strict=True)))
        start = [*along[:fixed], *carry[1], *row[1]]
        beginning = {n: v for n, v, on in zip(body.inputs, start, linear, strict=True) if on}
        frozen = [values[number] for number in body.outputs]
        moved = along_path(plan, values, beginning, body.outputs)
        return (frozen[:carried], moved[:carried]), moved[carried:]

    options = {name: step.params[name] for name in ("length", "reverse", "unroll")}
    last, made = jax.lax.scan(one, first, rows, **options)
    return [*last[1], *made]


def _branched(step: Step, plans: Sequence[Plan], at: list[Any], path: Values) -> list[Any]:
    index, *operands = at
    along = [path.get(number, value) for number, value in zip(step.inputs[1:], operands, strict=True)]

    def branch(plan: Plan) -> Any:
        def run(operands: list[Any], along: list[Any]) -> list[Any]:
            program = plan.program
            values = _filled(plan, dict(zip(program.inputs, operands, strict=True)))
            pairs = zip(program.inputs, along, strict=True)
            beginning = {number: value for number, value in pairs if plan.linear(number)}
            return along_path(plan, values, beginning, program.outputs)

        return run

    made: list[Any] = jax.lax.switch(index, [branch(plan) for plan in plans], operands, along)
    return made


def _frozen(value: Any) -> Any:
    return jax.lax.stop_gradient(value)
