"""The detached Jacobian as an operator: applied forwards and backwards, never built unless asked for.

The engine sees a model through this class alone. It is a pytree, so a jitted solver takes it as an argument:
the weights and coefficients inside ``state`` are passed by reference, never baked into a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree, Shaped

from jaxlin.errors import JaxlinError
from jaxlin.linear.linear_map import LinearMap
from jaxlin.linear.selection import (
    SpanBackward,
    SpanForward,
    TargetBackward,
    TargetForward,
    outputs_of,
    positions_in,
)
from jaxlin.runtime.progress import Progress, silent

#: An array, or whatever JAX puts in its place while it rebuilds a pytree.
Leaf = Array | Any

#: Probes that one pass carries when many are needed anyway: most of the matrix rate, little memory.
PROBES_PER_PASS = 8
#: Input positions a block of probes reaches for: beyond it more probes at once add memory, not speed.
POSITIONS_PER_PASS = 4096


def solver_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Factorisations and orthogonalisation are done in float32 or better."""
    return jnp.promote_types(dtype, jnp.float32)


def beside(x: Any, arrays: PyTree) -> PyTree:
    """Arrays as whole ones on all devices of x, so that programs find them where they will be put."""
    sharding = getattr(x, "sharding", None)
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((x, arrays)))
    if traced or not isinstance(sharding, NamedSharding) or not isinstance(sharding.mesh, Mesh):
        return arrays
    whole = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.tree.map(lambda a: _put(a, whole), arrays)


def _put(a: Array, whole: NamedSharding) -> Array:
    if whole.is_fully_addressable or not a.is_fully_addressable:
        placed: Array = jax.device_put(a, whole)
        return placed
    own = np.asarray(a)  # every process has the same, and puts it on its own devices
    return jax.make_array_from_callback(own.shape, whole, lambda index: own[index])


def probes_at(positions: int) -> int:
    """How many probes of so many input positions to send together when many are needed."""
    return max(1, min(PROBES_PER_PASS, POSITIONS_PER_PASS // positions))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DetachedJacobian(LinearMap):
    """The linear map J of y = J·x + c, from inputs of ``input_shape`` to outputs of ``output_shape``.

    ``J @ x``, ``J.T`` and scipy's view of it are those of :class:`jaxlin.linear.linear_map.LinearMap`.

    Attributes:
        state: whatever ``forward`` and ``backward`` read (weights on the linear path, coefficients).
        x: the input it was taken at; for a decoder the embeddings [T, d] as they enter layer 0.
        y: the output at ``x``; for a decoder the last hidden state [d] after the final norm.
        offset: c, of the output's shape; zero unless there are biases on the linear path.
        forward: (state, V [b, *input_shape]) -> J·V [b, *output_shape].
        backward: (state, U [b, *output_shape]) -> Jᵀ·U [b, *input_shape].
        offset_independent: whether c was computed without y; only then does y = J·x + c test anything.
        roundoff: unit roundoff of the products inside a pass; that of the dtype if None.
        labels: what is known about the input (for a prompt its tokens); kept, but never used by the engine.
    """

    state: PyTree
    x: Leaf
    y: Leaf
    offset: Leaf
    forward: Callable[[Any, Array], Array] = field(metadata={"static": True})
    backward: Callable[[Any, Array], Array] = field(metadata={"static": True})
    offset_independent: bool = field(metadata={"static": True})
    roundoff: float | None = field(default=None, metadata={"static": True})
    labels: Any = field(default=None, metadata={"static": True})

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"DetachedJacobian({rows} × {columns}, inputs {list(self.input_shape)}, {self.dtype})"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, [T, d] for a decoder."""
        return self.x.shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output, [d] for a decoder."""
        return self.y.shape

    @property
    def dtype(self) -> jnp.dtype:
        """Dtype of inputs, outputs and the passes between them."""
        return self.y.dtype

    @property
    def unit_roundoff(self) -> float:
        """Unit roundoff of a pass: of its products, or of the dtype that carries them if that is coarser."""
        carried = float(jnp.finfo(self.dtype).eps) / 2
        return carried if self.roundoff is None else max(self.roundoff, carried)

    @property
    def bare(self) -> DetachedJacobian:
        """The same map without its labels, so that programs are compiled once for all prompts of a length."""
        return self if self.labels is None else replace(self, labels=None)

    @property
    def probes_per_pass(self) -> int:
        """How many probes to send together when many are needed: 8, and one at long prompts."""
        return probes_at(self.input_shape[0] if len(self.input_shape) > 1 else 1)

    def blocks(self, probes: Shaped[Array | np.ndarray, "b ..."]) -> Iterator[Shaped[Array, "c ..."]]:
        """Probes in blocks of as many as go through a pass together."""
        step = self.probes_per_pass
        for start in range(0, len(probes), step):
            yield jnp.asarray(probes[start : start + step])

    def matmat(self, v: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
        """J·V for b probes at once: [b, *input_shape] -> [b, *output_shape]. b passes."""
        images: Array = _run_forward(self.bare, self._probes(v, self.input_shape))
        return images

    def rmatmat(self, u: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
        """Jᵀ·U for b probes at once: [b, *output_shape] -> [b, *input_shape]. b passes."""
        pulled: Array = _run_backward(self.bare, self._probes(u, self.output_shape))
        return pulled

    def rows(
        self,
        u: Float[Array | np.ndarray, "r m"],
        progress: Progress = silent,
        stage: str = "pulling back rows",
    ) -> Iterator[tuple[slice, Float[Array, "b ..."]]]:
        """Jᵀ·U in chunks, of r flat left vectors: (which of them, rows [b, *input_shape]). r passes."""
        for start in range(0, len(u), self.probes_per_pass):
            chunk = slice(start, min(start + self.probes_per_pass, len(u)))
            progress(stage, start, len(u), "rows")
            yield chunk, self.rmatmat(u[chunk].reshape(-1, *self.output_shape))
        progress(stage, len(u), len(u), "rows")

    def dense(self, progress: Progress = silent) -> Float[Array, "m ..."]:
        """The matrix itself, [m, *input_shape], row by row from m passes. For small m·n.

        Also within ``jax.jit`` and ``jax.vmap``.
        """
        rows, _ = self.shape
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(self)):
            probes = jnp.eye(rows, dtype=self.dtype).reshape(rows, *self.output_shape)
            traced: Array = jax.lax.map(self.rmatvec, probes, batch_size=self.probes_per_pass)
            return traced
        matrix = np.empty((rows, *self.input_shape), self.dtype)
        for chunk, values in self.rows(np.eye(rows, dtype=self.dtype), progress, "building the matrix"):
            matrix[chunk] = values
        return jnp.asarray(matrix)

    def select(
        self,
        span: Sequence[int] | Int[np.ndarray, " s"] | None = None,
        target: Float[Array, "r ..."] | None = None,
    ) -> DetachedJacobian:
        """The map from some input positions to some linear functions of the output.

        Args:
            span: positions on the first input axis, rising, S of them; all if not given. What the others
                contribute joins the offset, c' = c + J·(x elsewhere), which takes one pass.
            target: r rows of the output's shape; the output becomes ⟨row, y⟩ of each, shape [r].

        Raises:
            JaxlinError: an empty span, positions outside or not rising, rows of another shape.
        """
        chosen = self
        if span is not None:
            where = jnp.asarray(positions_in(span, self.input_shape[0]))
            chosen = replace(
                chosen,
                state=(self.state, where),
                x=self.x[where],
                offset=self.offset + self.matvec(self.x.at[where].set(0)),
                forward=SpanForward(self.forward, self.input_shape[0]),
                backward=SpanBackward(self.backward),
                labels=None if self.labels is None else self.labels.take(where.tolist()),
            )
        if target is not None:
            rows = jnp.asarray(target, self.dtype)
            if len(rows) == 0 or rows.shape[1:] != self.output_shape:
                raise JaxlinError(
                    f"each row of a target needs the output's shape {list(self.output_shape)}, "
                    f"and this target is {list(rows.shape)}"
                )
            chosen = replace(
                chosen,
                state=(chosen.state, rows),
                y=outputs_of(rows, chosen.y[None])[0],
                offset=outputs_of(rows, chosen.offset[None])[0],
                forward=TargetForward(chosen.forward),
                backward=TargetBackward(chosen.backward),
                labels=None if chosen.labels is None else chosen.labels.of_numbers(),
            )
        return chosen

    def _probes(self, probes: Array | np.ndarray, shape: tuple[int, ...]) -> Array:
        placed: Array = beside(self.x, jnp.asarray(probes, self.dtype))
        if placed.shape[1:] != shape:
            raise JaxlinError(
                f"a probe has shape {list(placed.shape[1:])} where the operator takes {list(shape)}"
            )
        return placed


@jax.jit
def _run_forward(operator: DetachedJacobian, v: Array) -> Array:
    return operator.forward(operator.state, v)


@jax.jit
def _run_backward(operator: DetachedJacobian, u: Array) -> Array:
    return operator.backward(operator.state, u)
