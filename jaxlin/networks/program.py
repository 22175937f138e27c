"""A function as a flat list of primitive steps: what freezing looks at, and what it evaluates.

A jaxpr nests what ``jit``, custom derivatives and rematerialisation wrap. None of that matters to a value,
so those are put in line, and only real control flow (``scan``, ``cond``, ``while``) stays nested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import source_info_util
from jax.extend import core

from jaxlin.errors import JaxlinError

#: Primitives that only wrap a program.
_WRAPPERS = (
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call", "composite",
)  # fmt: skip
#: The parameters that hold it, in one version of JAX or another.
_WRAPPED = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")


@dataclass(frozen=True, eq=False)
class Step:
    """One primitive applied to values, which are named by numbers.

    Attributes:
        primitive: of JAX.
        params: its parameters.
        inputs: the values it takes.
        outputs: the values it makes.
        where: file, line and function that it was written in.
        inner: the programs of control flow: the body of a scan, the branches of a cond.
        loop: of a scan, how many of its inputs are the same in every round, and how many are carried.
    """

    primitive: core.Primitive
    params: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    where: str
    inner: tuple[Program, ...] = ()
    loop: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """Of the primitive."""
        return self.primitive.name

    def bind(self, *values: Any) -> list[Any]:
        """Its outputs for these inputs, always as a list."""
        bound = self.primitive.get_bind_params(dict(self.params))
        # Older versions of JAX (0.8) return functions beside the parameters.
        functions, params = bound if isinstance(bound, tuple) else ((), bound)
        made = self.primitive.bind(*functions, *values, **params)
        return list(made) if self.primitive.multiple_results else [made]


@dataclass(frozen=True, eq=False)
class Program:
    """A function as steps.

    Attributes:
        inputs: numbers of its arguments.
        outputs: numbers of its results.
        steps: in the order they are computed.
        constants: numbers of the arrays that it closes over.
        weights: those arrays, in the same order.
        known: numbers that are written in the program, each with its value.
        types: shape and dtype of every value, by its number.
        source: the jaxpr it was made from.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    constants: tuple[int, ...]
    weights: tuple[Any, ...]
    known: Mapping[int, np.ndarray]
    types: Mapping[int, Any]
    source: core.ClosedJaxpr

    def original(self, weights: Sequence[Any], *arguments: Any) -> Any:
        """The function as it was written, with these weights in place of those it closes over."""
        jaxpr = core.ClosedJaxpr(self.source.jaxpr, list(weights[: len(self.source.consts)]))
        return core.jaxpr_as_fun(jaxpr)(*arguments)[0]


def traced(f: Callable[..., Any], *arguments: Any) -> Program:
    """The program of ``f`` for arguments of these shapes.

    Raises:
        JaxlinError: it does not return one array.
    """
    closed, shape = jax.make_jaxpr(f, return_shape=True)(*arguments)
    if not isinstance(shape, jax.ShapeDtypeStruct):
        raise JaxlinError(
            f"the function returns {type(shape).__name__} and not one array: let it return the output alone"
        )
    for what, aval in (("input", closed.in_avals[0]), ("output", closed.out_avals[0])):
        if jnp.issubdtype(aval.dtype, jnp.complexfloating):
            raise JaxlinError(f"the {what} is complex: give a function of real numbers to real numbers")
    if not jnp.issubdtype(closed.in_avals[0].dtype, jnp.floating):
        raise JaxlinError(
            f"the input is {closed.in_avals[0].dtype.name} and a map needs numbers that can change a little: "
            "give floating-point ones, and for indices into a table the rows that they choose"
        )
    return flattened(closed)


def flattened(closed: core.ClosedJaxpr) -> Program:
    """A closed jaxpr with everything but control flow in line."""
    return _Flattening().program(closed)


@dataclass(eq=False)
class _Flattening:
    """The state of one flattening: numbers that were given away, steps and constants that were met."""

    numbers: Any = field(default_factory=count)
    steps: list[Step] = field(default_factory=list)
    weights: dict[int, Any] = field(default_factory=dict)
    known: dict[int, np.ndarray] = field(default_factory=dict)
    types: dict[int, Any] = field(default_factory=dict)

    def program(self, closed: core.ClosedJaxpr) -> Program:
        inputs = [self._new(variable.aval) for variable in closed.jaxpr.invars]
        outputs = self._run(closed.jaxpr, closed.consts, inputs)
        return Program(
            tuple(inputs), tuple(outputs), tuple(self.steps), tuple(self.weights),
            tuple(self.weights.values()), self.known, self.types, closed,
        )  # fmt: skip

    def _new(self, aval: Any) -> int:
        number: int = next(self.numbers)
        self.types[number] = aval
        return number

    def _run(
        self, jaxpr: core.Jaxpr, consts: Sequence[Any], inputs: Sequence[int], within: str = ""
    ) -> list[int]:
        """Append the steps of a jaxpr, which is called ``within`` a place; the numbers of its results."""
        names: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            names[variable] = self._constant(value, variable.aval)

        def number(atom: Any) -> int:
            if isinstance(atom, core.Literal):
                return self._literal(atom)
            return names[atom]

        for equation in jaxpr.eqns:
            given = [number(atom) for atom in equation.invars]
            wrapped = _wrapped(equation)
            # What JAX has written itself has no place of its own.
            where = _place_of(equation.source_info) or within
            if wrapped is not None:
                inner, closed_over = _opened(wrapped)
                made = self._run(inner, closed_over, given, where)
            else:
                made = [self._new(variable.aval) for variable in equation.outvars]
                self.steps.append(_step(equation, given, made, where))
            names.update(zip(equation.outvars, made, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _constant(self, value: Any, aval: Any) -> int:
        number = self._new(aval)
        self.weights[number] = value
        numeric = jnp.issubdtype(aval.dtype, np.number) or aval.dtype == np.bool_
        if aval.shape == () and numeric and not isinstance(value, jax.core.Tracer):
            self.known[number] = np.asarray(value)
        return number

    def _literal(self, literal: core.Literal) -> int:
        aval: Any = literal.aval
        number = self._new(aval)
        self.known[number] = np.asarray(literal.val, aval.dtype)
        return number


def _place_of(info: Any) -> str:
    """File, line and function; or the scope, where that names an operation of PyTorch."""
    scopes = [scope for scope in str(info.name_stack).split("/") if scope.startswith("aten.")]
    return scopes[-1] if scopes else source_info_util.summarize(info)


def _step(equation: Any, inputs: Sequence[int], outputs: Sequence[int], where: str) -> Step:
    params = equation.params
    inner: tuple[Program, ...] = ()
    loop = 0, 0
    if equation.primitive.name == "scan":
        inner = (flattened(params["jaxpr"]),)
        loop = _loop_of(equation)
    elif equation.primitive.name == "cond":
        inner = tuple(map(flattened, params["branches"]))
    return Step(equation.primitive, params, tuple(inputs), tuple(outputs), where, inner, loop)


def _loop_of(scan: Any) -> tuple[int, int]:
    """The counts of :attr:`Step.loop`, by shapes: JAX keeps them under other names in every other version.

    What a scan takes or makes row by row has one dimension more outside of its body.
    """
    body = scan.params["jaxpr"].jaxpr

    def by_rows(outside: Sequence[Any], inside: Sequence[Any]) -> int:
        return sum(a.aval.ndim > b.aval.ndim for a, b in zip(outside, inside, strict=True))

    carried = len(scan.outvars) - by_rows(scan.outvars, body.outvars)
    return len(scan.invars) - carried - by_rows(scan.invars, body.invars), carried


def _wrapped(equation: Any) -> Any:
    """The program that an equation only wraps; None where it does more."""
    if equation.primitive.name not in _WRAPPERS:
        return None
    return next((equation.params[name] for name in _WRAPPED if name in equation.params), None)


def _opened(wrapped: Any) -> tuple[core.Jaxpr, Sequence[Any]]:
    """A jaxpr and what it closes over, whether it is closed or not."""
    if isinstance(wrapped, core.ClosedJaxpr):
        return wrapped.jaxpr, wrapped.consts
    return wrapped, ()
