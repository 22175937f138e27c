"""A check of the certificate: the prediction of a recorded prompt, from its ids by another path."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxlin_models.decoder import Graph, Weights
from jaxtyping import Array, Float, Int

from jaxlin.linear.certificate import Check

if TYPE_CHECKING:
    from jaxlin.prompts.model import Model

#: Units of roundoff by which two ways through a whole network, activations and all, may part; at coarse
#: arithmetic, a fraction. A wrong head or a tensor left out makes differences of its own size.
_ROUNDINGS, _AT_MOST = 1e4, 0.2
#: Multiplications and additions that NumPy is asked for where JAX computes on something faster.
_SMALL = 2e12


def prediction_checks(
    model: Model, prompts: Sequence[Sequence[int]], ys: Sequence[Float[Array, " d"]]
) -> list[Callable[[], Check]]:
    """The checks of several prompts; the first that is asked for recomputes all of their predictions."""

    @cache
    def others() -> list[tuple[np.ndarray, str]]:
        return _another_path(model, prompts)

    def another(place: int) -> Callable[[], tuple[np.ndarray, str]]:
        return lambda: others()[place]

    return [
        prediction_check(model, ids, y, another(place))
        for place, (ids, y) in enumerate(zip(prompts, ys, strict=True))
    ]


def prediction_check(
    model: Model,
    ids: Sequence[int],
    y: Float[Array, " d"],
    another: Callable[[], tuple[np.ndarray, str]] | None = None,
) -> Callable[[], Check]:
    """The check, made when it is first asked for: logits at ``y`` against those of another path from ``ids``.

    Args:
        model: whose head reads y.
        ids: of the prompt, up to the output's position.
        y: the recorded output, after the final norm.
        another: the logits by another path, and by what path, where somebody computes them.
    """

    @cache
    def check() -> Check:
        ours = np.asarray(model.logits(y), np.float64)
        ((theirs, path),) = _another_path(model, [ids]) if another is None else (another(),)
        scale = np.linalg.norm(theirs)
        carried = float(jnp.finfo(y.dtype).eps) / 2
        roundoff = max(models.unit_roundoff(model.precision), carried)
        return Check(
            "prediction",
            float(np.linalg.norm(ours - theirs) / (scale if scale > 0 else 1)),
            min(_ROUNDINGS * roundoff, _AT_MOST),
            f"‖logits − logits'‖ / ‖logits'‖: the prediction is that of {path}",
        )

    return check


def _another_path(model: Model, prompts: Sequence[Sequence[int]]) -> list[tuple[np.ndarray, str]]:
    """Logits [vocab] after the tokens of each prompt, and by what path."""
    decoder = model.decoder
    weights = sum(math.prod(leaf[...].shape) for _, leaf in nnx.to_flat_state(nnx.state(decoder.layers)))
    if jax.default_backend() == "cpu" or 2 * weights * sum(map(len, prompts)) <= _SMALL:
        recomputed = model.source.recomputed(prompts)
        if recomputed is not None:
            path = "NumPy, from the tokens and the checkpoint's tensors"
            return [(np.asarray(logits, np.float64), path) for logits in recomputed]
    graphdef, state = nnx.split(decoder)
    return [
        (
            np.asarray(_ordinary(graphdef, state, jnp.asarray(ids)), np.float64),
            "the ordinary forward pass from the tokens",
        )
        for ids in prompts
    ]


@partial(jax.jit, static_argnums=0)
def _ordinary(graphdef: Graph, state: Weights, ids: Int[Array, " t"]) -> Float[Array, " vocab"]:
    decoder = nnx.merge(graphdef, state)
    logits: Array = decoder.logits(decoder(decoder.embed(ids))[-1])
    return logits
