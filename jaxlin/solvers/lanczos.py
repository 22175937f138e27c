"""Golub-Kahan-Lanczos bidiagonalisation, started and kept on the left.

J is short and very fat, so only its left Krylov vectors are kept and reorthogonalised (one-sided: Simon &
Zha, SIAM J. Sci. Comput. 21, 2000); the recurrence needs no right block but the last. Memory is O(steps·m)
whatever the prompt's length. The wanted right vectors are what the passes of the certificate make of the left
ones (:mod:`jaxlin.solvers.examine`).

In blocks of b (Golub, Luk & Overton, ACM TOMS 7, 1981):

    Jᵀ·U_j = V_{j-1}·C_jᵀ + V_j·D_jᵀ          J·V_j = U_j·D_j + U_{j+1}·C_{j+1}

so that J·V = U·L + U_{p+1}·C_{p+1}·E_pᵀ with L block lower bidiagonal (D on its diagonal, C below). A
singular triplet (x, σ, z) of L gives u = U·x, for which Jᵀu = σv and ‖Jv − σu‖ = ‖C_{p+1}·z_p‖.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.batch import Axes, axes_of
from jaxlin.linear.operator import DetachedJacobian, Leaf, beside, solver_dtype
from jaxlin.solvers.convergence import Outlook, Ritz
from jaxlin.solvers.recover import refuse_nonfinite
from jaxlin.solvers.result import Request, Triplets

#: Blocks that memory is set aside for at a time.
ROOM = 64
#: What is left of a right vector below this many roundings is noise, and so would be what J makes of it:
#: going on with it is what gives other implementations their ghost values. A left one may be noise.
_NOISE_RIGHT, _NOISE_LEFT = 200.0, 20.0
#: Estimates are asked to be this much better than the tolerance, which fresh residuals are held to; if
#: those do not hold, ten times better still.
MARGIN, _HARDER = 0.7, 0.1

_Shape = jax.ShapeDtypeStruct


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LanczosState:
    """Where the recurrence stands after p steps; a few megabytes but for the right block.

    Attributes:
        basis: left vectors [room, b, m], orthonormal; zero after the first p + 1 blocks.
        right: the last right block V_p [b, n].
        diagonal: D_1 … D_p [room, b, b].
        below: 0, C_2 … C_{p+1} [room, b, b].
        steps: p, an integer array.
        restarted: the last step that had to begin with a random vector, an integer array.
    """

    basis: Leaf
    right: Leaf
    diagonal: Leaf
    below: Leaf
    steps: Leaf
    restarted: Leaf


def lanczos_svd(operator: DetachedJacobian, request: Request) -> Iterator[Triplets]:
    """The top k triplets once they should meet the tolerance; better ones for as long as they are asked for.

    Raises:
        JaxlinError: the passes return NaN or infinity, or the stored state is of another map.
    """
    b, k, m = request.block, request.k, operator.shape[0]
    state = _restored(operator, request) or start(operator, b, request.seed)
    most = min(math.ceil(m / b), max(request.max_passes // (2 * b), math.ceil(k / b)))
    aim = MARGIN * request.tolerance
    outlook = Outlook(request, passes_a_step=2 * b)
    while True:
        ritz = _ritz(state, request, operator)
        while not (ritz.meets(aim) or ritz.steps >= most):
            state = step(operator, with_room(state), request.seed)
            steps = int(state.steps)
            refuse_nonfinite(np.asarray(state.diagonal)[steps - 1])
            if request.store is not None:
                request.store.save(steps, vars(state))
            if steps >= most or steps % ritz.every == 0:
                ritz = _ritz(state, request, operator)
            outlook.tell(ritz, steps, aim)
        q = combine(state.basis, ritz.left)
        yield Triplets(q, ritz.s, None, 2 * b * ritz.steps, moved=ritz.moved)
        aim *= _HARDER
        if ritz.steps >= most or aim < ritz.floor:
            return


def _ritz(state: LanczosState, request: Request, operator: DetachedJacobian) -> Ritz:
    steps = int(state.steps)
    # Cut on the host: on the device every length would be a program of its own.
    return Ritz.of(
        np.asarray(state.diagonal)[:steps].astype(np.float64),
        np.asarray(state.below)[: steps + 1].astype(np.float64),
        wanted=request.k,
        outputs=operator.shape[0],
        since_restart=steps - int(state.restarted),
        unit_roundoff=operator.unit_roundoff,
    )


def start(operator: DetachedJacobian, b: int, seed: int) -> LanczosState:
    """The state before the first step, at b random orthonormal left vectors."""
    state: LanczosState = beside(operator.x, _start(*operator.shape, b, solver_dtype(operator.dtype), seed))
    return state


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _start(m: int, n: int, b: int, precision: jnp.dtype, seed: int | Array) -> LanczosState:
    like = shapes(m, n, b, ROOM, precision)
    state: LanczosState = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    first, _ = _fresh_left(jnp.zeros((b, m), precision), jnp.zeros(b, bool), state.basis, seed, 0)
    return replace(state, basis=state.basis.at[0].set(first))


def shapes(m: int, n: int, b: int, room: int, precision: jnp.dtype) -> LanczosState:
    """What a state is made of, for memory to be planned and a stored one to be read."""
    blocks, count = _Shape((room, b, b), precision), _Shape((), jnp.int32)
    return LanczosState(
        _Shape((room, b, m), precision), _Shape((b, n), precision), blocks, blocks, count, count
    )


def with_room(state: LanczosState) -> LanczosState:
    """The same state, with room for one more step."""
    return state if int(state.steps) + 2 <= len(state.basis) else lengthened(state, ROOM)


def lengthened(state: LanczosState, more: int, axis: int = 0) -> LanczosState:
    """The same state, or states, with zeros for so many more blocks, which lie along this axis."""

    def pad(blocks: Array) -> Array:
        padded: Array = jnp.pad(blocks, [(0, more if i == axis else 0) for i in range(blocks.ndim)])
        return padded

    return replace(state, basis=pad(state.basis), diagonal=pad(state.diagonal), below=pad(state.below))


def step(operator: DetachedJacobian, state: LanczosState, seed: int | Array) -> LanczosState:
    """One block step: a backward pass, a forward pass, and the orthogonalisation of what came out."""
    following: LanczosState = _step(operator, state, seed, keep_rows=False)[0]
    return following


@partial(jax.jit, static_argnames="axes")
def step_together(maps: DetachedJacobian, state: LanczosState, seed: int | Array, axes: Axes) -> LanczosState:
    """The same step of every map of an :class:`jaxlin.linear.batch.OperatorBatch`.

    The states are one whose arrays have an axis for the maps in front; each is at a step of its own.
    """

    def one(operator: DetachedJacobian, state: LanczosState) -> LanczosState:
        following: LanczosState = _step(operator, state, seed, keep_rows=False)[0]
        return following

    stepped: LanczosState = jax.vmap(one, (axes_of(maps, axes), 0))(maps, state)
    return stepped


def step_with_rows(
    operator: DetachedJacobian, state: LanczosState, seed: int | Array
) -> tuple[LanczosState, Float[Array, "b n"]]:
    """The same, and the rows Jᵀ·U of the left block that the step set out from."""
    state, rows = _step(operator, state, seed, keep_rows=True)
    assert rows is not None
    return state, rows


@partial(jax.jit, static_argnames="keep_rows")
def _step(
    operator: DetachedJacobian, state: LanczosState, seed: int | Array, *, keep_rows: bool
) -> tuple[LanczosState, Float[Array, "b n"] | None]:
    b, m = state.basis.shape[1:]
    precision = state.basis.dtype
    j = state.steps
    u, c = state.basis[j], state.below[j]

    def backward(u: Array) -> Array:
        probes = u.astype(operator.dtype).reshape(b, *operator.output_shape)
        return operator.backward(operator.state, probes).astype(precision).reshape(b, -1)

    def forward(v: Array) -> Array:
        probes = v.astype(operator.dtype).reshape(b, *operator.input_shape)
        return operator.forward(operator.state, probes).astype(precision).reshape(b, m)

    with jax.default_matmul_precision("highest"):
        rows = backward(u)
        w = rows - c @ state.right
        known = jnp.maximum(jnp.abs(state.diagonal).max(), jnp.abs(state.below).max())
        d, v, _ = _orthonormal(w, _NOISE_RIGHT * operator.unit_roundoff * known)
        z = _project_out(forward(v) - d.T @ u, state.basis)
        known = jnp.maximum(known, jnp.abs(d).max())
        e, following, sound = _orthonormal(z, _NOISE_LEFT * operator.unit_roundoff * known)
        following, restarted = _fresh_left(following, sound, state.basis, seed, j + 1)
    following_state = LanczosState(
        basis=state.basis.at[j + 1].set(following),
        right=v,
        diagonal=state.diagonal.at[j].set(d),
        below=state.below.at[j + 1].set(e.T),
        steps=j + 1,
        restarted=jnp.where(restarted, j + 1, state.restarted),
    )
    return following_state, rows if keep_rows else None


def _orthonormal(
    rows: Float[Array, "b n"], noise: Float[Array, ""]
) -> tuple[Float[Array, "b b"], Float[Array, "b n"], Array]:
    """rows = F·q with orthonormal q; directions not above ``noise`` are zero in both, and not sound."""
    q, r = _qr(rows)
    if len(rows) == 1:
        sound = r[0] > noise
        return jnp.where(sound, r, 0), jnp.where(sound, q, 0), sound
    x, s, y = jnp.linalg.svd(r.T)
    sound = s > noise
    return x * jnp.where(sound, s, 0), jnp.where(sound[:, None], y @ q, 0), sound


def _qr(rows: Float[Array, "b n"]) -> tuple[Float[Array, "b n"], Float[Array, "b b"]]:
    """rows = rᵀ·q with orthonormal rows q. Of one row, without a GPU's calls of a library: its length."""
    if len(rows) > 1:
        q, r = jnp.linalg.qr(rows.T)
        return q.T, r
    most = jnp.abs(rows).max()  # so that no square is too large or too small
    scaled = rows / jnp.where(most > 0, most, 1)
    length = jnp.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / jnp.where(length > 0, length, 1), most * length


def _project_out(rows: Float[Array, "b m"], basis: Float[Array, "room b m"]) -> Float[Array, "b m"]:
    """Rows less their parts in the basis; twice, because once leaves rounding (Kahan and Parlett)."""
    flat = basis.reshape(-1, basis.shape[-1])
    for _ in range(2):
        rows = rows - (rows @ flat.T) @ flat
    return rows


def _fresh_left(
    rows: Float[Array, "b m"],
    sound: Array,
    basis: Float[Array, "room b m"],
    seed: int | Array,
    step: int | Array,
) -> tuple[Float[Array, "b m"], Array]:
    """Random vectors in the place of rows that are not sound, where the Krylov space has closed.

    Orthogonal to everything before, and zero once there is no direction left. Says whether any was put.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    drawn = jax.random.normal(key, rows.shape, rows.dtype)
    drawn = _project_out(drawn / jnp.linalg.norm(drawn, axis=1, keepdims=True), basis)
    mixed = _project_out(jnp.where(sound[:, None], rows, drawn), basis)
    q, r = _qr(mixed)  # sound rows come first and are orthonormal: they stay, up to a sign
    r = jnp.diagonal(r)
    exists = jnp.abs(r) > math.sqrt(float(jnp.finfo(rows.dtype).eps))
    sign = jnp.where(r < 0, -1, 1)
    fresh = jnp.where(exists[:, None], q * sign[:, None], 0)
    return jnp.where(sound[:, None], rows, fresh), ~jnp.all(sound)


def combine(basis: Float[Array, "room b m"], left: Float[np.ndarray, "p k"]) -> Float[np.ndarray, "k m"]:
    """The left vectors U·x, on the host, where a new number of steps needs no new program."""
    flat = np.asarray(basis).reshape(-1, basis.shape[-1])[: len(left)]
    combined: np.ndarray = left.T.astype(flat.dtype) @ flat
    return combined


def _restored(operator: DetachedJacobian, request: Request) -> LanczosState | None:
    if request.store is None:
        return None
    m, n = operator.shape
    other = JaxlinError("`store` holds the state of another map or block: give an empty one")

    def wanted(room: int) -> dict[str, jax.ShapeDtypeStruct]:
        return vars(shapes(m, n, request.block, room, solver_dtype(operator.dtype)))

    def check(stored: Mapping[str, tuple[int, ...]]) -> None:
        (room, *_) = stored.get("basis") or (ROOM,)
        most = math.ceil(m / request.block) + 2 + ROOM  # beyond all steps that there can be
        if room > most or stored != {name: shape.shape for name, shape in wanted(room).items()}:
            raise other

    arrays = request.store.restore(check)
    if arrays is None:
        return None
    room = len(arrays["basis"])
    if {name: a.dtype for name, a in arrays.items()} != {name: a.dtype for name, a in wanted(room).items()}:
        raise other
    return LanczosState(**{name: jnp.asarray(a) for name, a in arrays.items()})
