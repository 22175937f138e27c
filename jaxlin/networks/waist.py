"""Where a network is narrowest: all that is linear goes through there, and so does its matrix.

With w numbers at the waist, J = T·H has rank w at most. H takes w passes backwards from the waist to the
input, T takes w passes forwards from the waist to the output, whatever the number of outputs is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin.networks.classify import Plan
from jaxlin.networks.decisions import Decision, Form
from jaxlin.networks.evaluate import Values, along_path
from jaxlin.networks.program import Step


@dataclass(frozen=True)
class Waist:
    """A cut through the linear path.

    Attributes:
        before: how many steps come before it.
        values: the values that cross it, by their numbers.
        width: how many numbers those are.
    """

    before: int
    values: tuple[int, ...]
    width: int


def operands_on_path(plan: Plan, step: Step, decision: Decision) -> list[int]:
    """The values on the path that a step takes."""
    if decision.form is Form.QUOTIENT:
        return [decision.root]
    if decision.form in (Form.SCAN, Form.COND):
        return [number for number in step.inputs if plan.linear(number)]
    return [number for number, kept in zip(step.inputs, decision.kept, strict=False) if kept]


def cuts(plan: Plan) -> Iterator[Waist]:
    """Every cut of the path, from the output back to the input."""
    program = plan.program
    needed = {number for number in program.outputs if plan.linear(number)}
    yield _waist(plan, len(program.steps), needed)
    pairs = list(zip(program.steps, plan.decisions, strict=True))
    for before in range(len(pairs) - 1, -1, -1):
        step, decision = pairs[before]
        if needed.isdisjoint(step.outputs):
            continue
        needed = (needed - set(step.outputs)) | set(operands_on_path(plan, step, decision))
        # A complex number counts twice, so that no matrix goes through one.
        if all(jnp.issubdtype(program.types[number].dtype, jnp.floating) for number in needed):
            yield _waist(plan, before, needed)


def _waist(plan: Plan, before: int, needed: set[int]) -> Waist:
    values = tuple(sorted(needed))
    return Waist(before, values, sum(_size(plan, number) for number in values))


def _size(plan: Plan, number: int) -> int:
    return int(math.prod(plan.program.types[number].shape))


def cheapest_waist(plan: Plan) -> Waist:
    """The cut at which the matrix takes the fewest operations: passes of its width, and one product."""
    inputs, outputs = _size(plan, plan.program.inputs[0]), _size(plan, plan.program.outputs[0])
    one_pass = path_operations(plan)
    every = list(cuts(plan))

    def cost(waist: Waist) -> int:
        at_an_end = waist is every[0] or waist.values == (plan.program.inputs[0],)
        return waist.width * one_pass + (0 if at_an_end else 2 * inputs * outputs * waist.width)

    return min(every, key=cost)


def path_operations(plan: Plan) -> int:
    """About how many operations one pass along the path takes."""
    total = 0
    for step in plan.program.steps:
        if any(plan.linear(number) for number in step.outputs):
            size = sum(_size(plan, number) for number in step.outputs)
            total += size * _inner(plan, step)
    return total


def _inner(plan: Plan, step: Step) -> int:
    """Operations for one number of the output."""
    if step.name == "dot_general":
        (contracted, _), _ = step.params["dimension_numbers"]
        shape = plan.program.types[step.inputs[0]].shape
        return 2 * int(math.prod(shape[axis] for axis in contracted))
    if step.name == "conv_general_dilated":
        kernel = plan.program.types[step.inputs[1]].shape
        out_axis: int = step.params["dimension_numbers"].rhs_spec[0]
        return 2 * int(math.prod(kernel)) // int(kernel[out_axis])
    if step.name == "scan":
        body = step.inner[0]
        sizes = (math.prod(body.types[number].shape) for inner in body.steps for number in inner.inputs)
        return max(1, int(sum(sizes)))
    return 1


def jacobian(plan: Plan, waist: Waist, values: Values) -> Float[Array, "m n"]:
    """The matrix at the point whose frozen values these are, [outputs, inputs]."""
    program = plan.program
    first, last = program.inputs[0], program.outputs[0]
    if not waist.values:  # the output does not depend on the input
        return jnp.zeros((_size(plan, last), _size(plan, first)), program.types[last].dtype)
    like = [jax.ShapeDtypeStruct(program.types[n].shape, program.types[n].dtype) for n in waist.values]
    probes = _basis(like)
    parts = []
    if waist.values != (last,):
        _, push = jax.linearize(lambda crossing: _tail(plan, waist, values, crossing), _zeros(like))
        columns = jax.vmap(push)(probes)
        parts.append(columns.reshape(waist.width, -1).T)
    if waist.values != (first,):
        point = values[first]
        _, pull = jax.vjp(lambda z: _head(plan, waist, values, z), jnp.zeros_like(point))
        (rows,) = jax.vmap(pull)(probes)
        parts.append(rows.reshape(waist.width, -1))
    if not parts:  # the network is its input
        return jnp.eye(waist.width, dtype=program.types[last].dtype)
    product: Array = parts[0] if len(parts) == 1 else parts[0] @ parts[1]
    return product


def _head(plan: Plan, waist: Waist, values: Values, z: Any) -> list[Any]:
    start = {plan.program.inputs[0]: z}
    return along_path(plan, values, start, waist.values, slice(0, waist.before))


def _tail(plan: Plan, waist: Waist, values: Values, crossing: list[Any]) -> Any:
    start = dict(zip(waist.values, crossing, strict=True))
    return along_path(plan, values, start, plan.program.outputs, slice(waist.before, None))[0]


def _zeros(like: list[Any]) -> list[Any]:
    return [jnp.zeros(each.shape, each.dtype) for each in like]


def _basis(like: list[Any]) -> list[Any]:
    """The unit vectors of several arrays together, along a new first axis."""
    width = sum(math.prod(each.shape) for each in like)
    made, start = [], 0
    for each in like:
        size = math.prod(each.shape)
        rows = jnp.eye(width, size, -start, dtype=each.dtype)
        made.append(rows.reshape(width, *each.shape))
        start += size
    return made
