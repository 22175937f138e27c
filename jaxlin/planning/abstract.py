"""A job on shapes: the operator and the programs of the real path with nothing behind them.

The functions of :mod:`jaxlin.prompts.operators` and :mod:`jaxlin.linear.operator` themselves, on
``ShapeDtypeStruct`` leaves. No array is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
from flax import nnx
from jaxlin_models.decoder import key_of
from jaxlin_models.divided import check_groups
from jaxlin_models.offload import on_host, to_host
from jaxlin_models.sharding import Layout

from jaxlin.analyses.decoding import ROWS_AT_ONCE, cosines_of
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.memory import Phase, Shape, added_bytes, tree_bytes
from jaxlin.planning.spread import spread_operator, spread_weights
from jaxlin.prompts.operators import OrdinaryPass, ordinary_operator, record, whole_operator
from jaxlin.prompts.readout import score
from jaxlin.runtime.device import has_own_memory
from jaxlin.runtime.offload import check_offload


@dataclass(frozen=True)
class Job:
    """What decides about the memory of a job, apart from the dial and the solver.

    Attributes:
        config: of the decoder.
        length: positions of the prompt, up to the output's.
        dtype, precision: as in :func:`jaxlin.prompts.load`.
        policy: one of :data:`jaxlin_models.POLICIES`.
        span: how many input positions are kept, all if None.
        targets: rows of a target, none if None.
        offload: as in :func:`jaxlin.prompts.load`; where a dial is given, it says it of the coefficients.
        forms: how weights are written that stay quantised; none do if None.
        layout: how it lies on several devices. All bytes are then those of one of them.
        apart: whether it is for a device with memory of its own, in which nothing counts that waits in the
            host's; as the device is that is computed on, if not given.

    Raises:
        JaxlinError: an offload that is none, or not for this policy.
    """

    config: models.DecoderConfig
    length: int
    dtype: str = "float32"
    precision: str | None = None
    policy: str = "detached"
    span: int | None = None
    targets: int | None = None
    offload: str = "none"
    forms: models.Forms | None = None
    layout: Layout | None = None
    apart: bool = field(default_factory=has_own_memory)

    def __post_init__(self) -> None:
        check_offload(self.offload, linear=models.POLICIES[self.policy].linear)


@dataclass(frozen=True, eq=False)
class Abstract:
    """A recorded operator in shapes, and the bytes that are held as long as it is.

    ``weights`` and ``coefficients`` are held where the programs run, ``host`` in the host's memory where that
    is another one. ``preparing`` compiles what runs before a solve, ``reading`` what reads k triplets in
    tokens after it.
    """

    operator: DetachedJacobian
    weights: int
    coefficients: int
    host: int
    preparing: Callable[[], list[Phase]]
    reading: Callable[[int], list[Phase]]


def abstract(job: Job, dial: models.Dial) -> Abstract:
    """The job at this setting of the dial.

    Raises:
        models.ModelError: dtype and precision that do not go together.
    """
    graphdef, weights, precision = _weights(job)
    storage = jnp.dtype(job.dtype)
    x = Shape((job.length, job.config.embed_dim), models.working_dtype(storage, precision))
    linear = models.POLICIES[job.policy].linear
    if linear:
        weights = models.stacks_as_bits(weights)
        biased, roundoff = job.config.has_linear_biases, models.unit_roundoff(precision)

        def make(weights: Any, x: Any) -> DetachedJacobian:
            return whole_operator(graphdef, weights, x, dial, job.policy, biased=biased, roundoff=roundoff)

        whole = shapes_from(make, weights, x)
    else:
        whole = shapes_from(lambda weights, x: ordinary_operator(graphdef, weights, x), weights, x)
    whole = spread_operator(job.layout, whole)
    recorded = whole.state.recorded if linear else {}
    span = None if job.span is None else range(job.span)
    rows = None if job.targets is None else Shape((job.targets, job.config.embed_dim), x.dtype)
    operator = shapes_from(lambda whole, rows: whole.select(span, rows), whole, rows)

    def preparing() -> list[Phase]:
        if not linear:
            return [Phase("forward pass", added_bytes(jax.jit(OrdinaryPass(graphdef)), x, weights))]
        recording = added_bytes(record, graphdef, weights, x, dial, job.policy)
        return [Phase("recording coefficients", recording - device_bytes(recorded, apart=job.apart))]

    def reading(k: int) -> list[Phase]:
        rows = Shape((min(ROWS_AT_ONCE, job.config.vocab_size), job.config.embed_dim), storage)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        places = Shape((k, 12, job.config.embed_dim), wide)
        nearest = Phase("nearest tokens", tree_bytes(rows) + added_bytes(cosines_of, places, rows))
        if job.targets is not None:
            return [nearest]
        hidden = Shape((k, job.config.embed_dim), x.dtype)
        return [nearest, Phase("scoring the vocabulary", added_bytes(score, graphdef, weights, hidden, True))]

    held = device_bytes(weights, apart=job.apart), device_bytes(recorded, apart=job.apart)
    host = tree_bytes((weights, recorded)) - sum(held)
    return Abstract(operator, *held, host, preparing, reading)


def shapes_from(make: Callable[..., Any], *arguments: Any) -> Any:
    """What a function makes of arguments of these shapes, in shapes, each in the memory it would be in.

    ``jax.eval_shape`` tells shapes alone. Where a leaf is, its tracer tells; one that is handed through is
    where it was.
    """
    hosted: list[bool] = []
    through: list[int | None] = []

    def traced(*arguments: Any) -> Any:
        given = {id(leaf): place for place, leaf in enumerate(jax.tree.leaves(arguments))}
        made = make(*arguments)
        hosted[:] = [on_host(leaf) for leaf in jax.tree.leaves(made)]
        through[:] = [given.get(id(leaf)) for leaf in jax.tree.leaves(made)]
        return made

    leaves, tree = jax.tree.flatten(shapes_of(jax.eval_shape(traced, *arguments)))
    before = jax.tree.leaves(arguments)
    return jax.tree.unflatten(
        tree,
        [
            before[place] if place is not None else to_host(a) if there else a
            for a, there, place in zip(leaves, hosted, through, strict=True)
        ],
    )


def device_bytes(tree: Any, *, apart: bool) -> int:
    """Bytes of the shapes that are in the device's memory: of all where that is the host's."""
    return tree_bytes([leaf for leaf in jax.tree.leaves(tree) if not (apart and on_host(leaf))])


def weight_bytes(job: Job) -> int:
    """Bytes of the weights that the device is to hold, from the config alone.

    For this, sizes may be as absurd as they like.

    Raises:
        models.ModelError: dtype and precision that do not go together.
    """
    return device_bytes(_weights(job)[1], apart=job.apart)


def layer_bytes(job: Job) -> int:
    """Bytes of one layer's weights as they are computed with."""
    layers = jax.tree.leaves(_weights(replace(job, forms=None))[1]["layers"])
    return tree_bytes(layers) // max(1, job.config.num_layers)


def _weights(job: Job) -> tuple[Any, Any, str]:
    """The decoder's graph, its weights in shapes, and its precision."""
    precision = models.choose_precision(job.dtype, job.precision)
    graphdef, weights = models.abstract_decoder(job.config, jnp.dtype(job.dtype), precision, job.layout)
    weights = shapes_of(weights)
    if job.forms is not None:
        if job.layout is not None:
            numbers = {key_of(path): leaf.shape for path, leaf in nnx.to_flat_state(weights)}
            check_groups(job.layout, job.forms, numbers, "the model")
        weights = models.packed_shapes(weights, job.forms)
    if job.layout is not None:
        return graphdef, spread_weights(job.layout, weights, offload=job.offload == "all"), precision
    if job.offload == "all":
        weights = nnx.State({**weights, "layers": to_host(weights["layers"])})
    elif models.keeps_apart():
        weights = nnx.State({**weights, "layers": models.apart(weights["layers"])})
    return graphdef, weights, precision


def shapes_of(tree: Any) -> Any:
    """The same pytree with the shapes of its leaves alone, whatever else they carry."""
    return jax.tree.map(lambda leaf: Shape(leaf.shape, leaf.dtype), tree)
