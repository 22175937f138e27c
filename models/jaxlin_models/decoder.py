"""THE decoder, once, for every family.

What is unusual about it:

* the embeddings are its input, not the token ids: the detached Jacobian is taken with respect to them;
* blocks are stacked along a leading layer axis and scanned, so compile time does not grow with depth;
* every nonlinear coefficient is asked of a ``mode`` (see :mod:`jaxlin_models.detach`), so that forward,
  detached forward, record and replay are one piece of code;
* any number of leading axes may stand before the position axis: a batch of prompts when computing, a
  block of probes when replaying.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxlin_models.attention import Attention, Positions
from jaxlin_models.config import LAYER_TYPES, DecoderConfig
from jaxlin_models.detach import DETACHED, Coefficient, FreezePolicy, Mode, Plain, Record
from jaxlin_models.dial import Dial
from jaxlin_models.modules import ACTIVATIONS, GatedMLP, RMSNorm, soft_cap
from jaxlin_models.precision import choose_precision, working_dtype
from jaxlin_models.rope import rotary_table
from jaxlin_models.sharding import (
    WHOLE,
    Layout,
    by_columns,
    filled,
    filled_length,
    laid,
    laid_coefficients,
    whole,
)
from jaxlin_models.stacks import over_layers, to_stack
from jaxlin_models.tables import scores, some_rows

Recorded = Mapping[str, Mapping[str, Coefficient]]

#: Arrays by name, those of a module inside under its name, as ``nnx.split`` gives them.
Weights = nnx.State[str, Any]

#: The meaning of every weight's axes, so that sharding is a table and not a rewrite.
LOGICAL_AXES: Mapping[str, tuple[str, ...]] = {
    "embedding": ("vocab", "embed"),
    "head": ("vocab", "embed"),
    "final_norm.scale": ("embed",),
    "layers.attention_norm.scale": ("layer", "embed"),
    "layers.attention.query.kernel": ("layer", "embed", "heads", "head_dim"),
    "layers.attention.query.bias": ("layer", "heads", "head_dim"),
    "layers.attention.key.kernel": ("layer", "embed", "kv_heads", "head_dim"),
    "layers.attention.key.bias": ("layer", "kv_heads", "head_dim"),
    "layers.attention.value.kernel": ("layer", "embed", "kv_heads", "head_dim"),
    "layers.attention.value.bias": ("layer", "kv_heads", "head_dim"),
    "layers.attention.output.kernel": ("layer", "heads", "head_dim", "embed"),
    "layers.attention.output.bias": ("layer", "embed"),
    "layers.attention.query_norm.scale": ("layer", "head_dim"),
    "layers.attention.key_norm.scale": ("layer", "head_dim"),
    "layers.attention.joint_query_norm.scale": ("layer", "heads", "head_dim"),
    "layers.attention.joint_key_norm.scale": ("layer", "kv_heads", "head_dim"),
    "layers.attention_post_norm.scale": ("layer", "embed"),
    "layers.mlp_norm.scale": ("layer", "embed"),
    "layers.mlp.gate.kernel": ("layer", "embed", "mlp"),
    "layers.mlp.gate.bias": ("layer", "mlp"),
    "layers.mlp.up.kernel": ("layer", "embed", "mlp"),
    "layers.mlp.up.bias": ("layer", "mlp"),
    "layers.mlp.down.kernel": ("layer", "mlp", "embed"),
    "layers.mlp.down.bias": ("layer", "embed"),
    "layers.mlp_post_norm.scale": ("layer", "embed"),
}


#: What a derivative keeps of a layer: the results of products with weights. Probabilities, and what is made
#: element by element, it computes again: it takes no longer, and T² numbers are those of one layer at a time.
KEPT = jax.checkpoint_policies.dots_with_no_batch_dims_saveable


def key_of(path: tuple[Hashable, ...]) -> str:
    """A parameter's name, with points between."""
    return ".".join(str(part) for part in path)


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Gemma norms what both branches put out as well, OLMo 2 that alone.
    """

    kind: ClassVar[str] = "container"

    def __init__(
        self,
        config: DecoderConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
        precision: str,
        layout: Layout | None = None,
    ) -> None:
        self.layout = layout
        norm = partial(RMSNorm, (config.embed_dim,), config, dtype=dtype)
        self.attention_norm = norm(site="attention_norm") if config.pre_norms else None
        self.attention = Attention(
            config, site="attention", rngs=rngs, dtype=dtype, precision=precision, layout=layout
        )
        self.attention_post_norm = norm(site="attention_post_norm") if config.post_norms else None
        self.mlp_norm = norm(site="mlp_norm") if config.pre_norms else None
        self.mlp = GatedMLP(config, site="mlp", rngs=rngs, dtype=dtype, precision=precision, layout=layout)
        self.mlp_post_norm = norm(site="mlp_post_norm") if config.post_norms else None

    def __call__(
        self, x: Float[Array, "... t d"], positions: Positions, mode: Mode
    ) -> Float[Array, "... t d"]:
        x = x + self.attention_branch(x, positions, mode)
        return x + self.mlp_branch(x, mode)

    def attention_branch(
        self, x: Float[Array, "... t d"], positions: Positions, mode: Mode
    ) -> Float[Array, "... t d"]:
        """What attention adds to the residual stream x."""
        return self.attention_added(self.heads(x, positions, mode), mode)

    def heads(
        self, x: Float[Array, "... t d"], positions: Positions, mode: Mode
    ) -> Float[Array, "... t heads h"]:
        """What the heads of attention read from the residual stream x."""
        return self.attention.mixed(
            x if self.attention_norm is None else self.attention_norm(x, mode), positions, mode
        )

    def attention_added(self, heads: Float[Array, "... t heads h"], mode: Mode) -> Float[Array, "... t d"]:
        """What attention adds to the residual stream, from what its heads read."""
        branch = laid(self.layout, self.attention.output(heads, mode), "position", WHOLE)
        return branch if self.attention_post_norm is None else self.attention_post_norm(branch, mode)

    def mlp_branch(self, x: Float[Array, "... t d"], mode: Mode) -> Float[Array, "... t d"]:
        """What the MLP adds to the residual stream x, after attention."""
        branch = x if self.mlp_norm is None else self.mlp_norm(x, mode)
        branch = self.mlp(branch, mode)
        return branch if self.mlp_post_norm is None else self.mlp_post_norm(branch, mode)


class Decoder(nnx.Module):
    """A decoder-only transformer as a function of its embeddings [..., T, d].

    Weights are drawn at random (norms at identity); :mod:`jaxlin_models.weights` fills them from files.

    Args:
        config: sizes and settings.
        rngs: what to draw the weights with.
        dtype: how weights and recorded coefficients are stored: float32, bfloat16 or float64.
        precision: how they are multiplied, see :mod:`jaxlin_models.precision`; as they are stored if None.
        layout: how its arrays are to lie on several devices, if they are.

    Raises:
        ValueError: unknown activation.
        ModelError: unknown dtype or precision, or two that do not go together.
    """

    kind: ClassVar[str] = "container"

    def __init__(
        self,
        config: DecoderConfig,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        precision: str | None = None,
        layout: Layout | None = None,
    ) -> None:
        if config.activation not in ACTIVATIONS:
            raise ValueError(
                f"unknown activation {config.activation!r}: known ones are {sorted(ACTIVATIONS)}"
            )
        self.config = config
        self.layout = layout
        self.precision = precision = choose_precision(dtype, precision)
        rows = (config.vocab_size, config.embed_dim)
        spread = jnp.asarray(config.embed_dim**-0.5, dtype)
        self.embedding = nnx.Param(jax.random.normal(rngs.params(), rows, dtype) * spread)
        self.head = (
            None
            if config.tie_embeddings
            else nnx.Param(jax.random.normal(rngs.params(), rows, dtype) * spread)
        )
        self.final_norm = RMSNorm((config.embed_dim,), config, site="final_norm", dtype=dtype)

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(config, rngs=rngs, dtype=dtype, precision=precision, layout=layout)

        self.layers = stack(rngs)

    def __repr__(self) -> str:
        config = self.config
        sizes = f"{config.num_layers} layers, width {config.embed_dim}"
        return f"{type(self).__name__}({config.family}, {sizes}, {self.dtype})"

    @property
    def dtype(self) -> jnp.dtype:
        """Storage dtype, of the weights and of recorded coefficients."""
        return self.embedding[...].dtype

    @property
    def working_dtype(self) -> jnp.dtype:
        """Dtype of embeddings, hidden states, probes and everything the decoder returns."""
        return working_dtype(self.dtype, self.precision)

    def kinds(self) -> frozenset[str]:
        """The kinds of all modules in this decoder, for a freeze policy to check."""
        classes = {type(module) for _, module in nnx.iter_modules(self)}
        return frozenset(getattr(module, "kind", module.__name__) for module in classes)

    def embed(self, token_ids: Int[Array, "... t"]) -> Float[Array, "... t d"]:
        """The embeddings as they enter layer 0: rows of the table, after Gemma's √d scaling."""
        scale = jnp.asarray(self.config.embed_scale, self.working_dtype)
        return whole(self.layout, self.embedding[...][token_ids].astype(self.working_dtype) * scale)

    def __call__(self, x: Float[Array, "... t d"], mode: Mode | None = None) -> Float[Array, "... t d"]:
        """Hidden states [..., T, d] of all positions, after the final norm.

        Its derivative keeps what :data:`KEPT` says of each layer, which is linear in T.

        Args:
            x: embeddings as they enter layer 0, in the working dtype.
            mode: how coefficients are obtained, ``Plain()`` or ``Detached(policy)``; plain if not given.
        """
        mode = Plain() if mode is None else mode
        return self.run(x, lambda _: mode, kept_on_the_way=KEPT)[0]

    def run(
        self,
        x: Float[Array, "... t d"],
        mode_for: Callable[[Mapping[str, Coefficient]], Mode],
        recorded: Recorded | None = None,
        position: int | Int[Array, ""] | None = None,
        positions_of: Callable[[Int[Array, ""]], Positions] | None = None,
        enter: Callable[[Array, Int[Array, ""]], Array] | None = None,
        *,
        kept_on_the_way: Callable[..., Any] | None = None,
    ) -> tuple[Float[Array, "... d"], Recorded]:
        """The one pass behind forward, detached forward, record and replay.

        Args:
            x: embeddings as they enter layer 0, or probes of them.
            mode_for: makes the mode of one part (a layer, the final norm) from that part's ``recorded``.
            recorded: coefficients of an earlier run, for modes that read them.
            position: the one output position wanted [..., d]; all of them [..., T, d] if None.
            positions_of: what each layer knows about positions; :meth:`positions` of x if None.
            enter: (what enters a layer, the layer's number) -> what is to enter it instead; what leaves the
                last layer goes through it too, with the number of layers.
            kept_on_the_way: which values a derivative of the pass keeps, as ``jax.checkpoint`` is told; all
                that it needs if None.

        Returns:
            the output, and the coefficients kept on the way (stacked over layers).
        """
        recorded = {"layers": {}, "final": {}} if recorded is None else recorded
        graphdef, params = nnx.split(self.layers)
        length = x.shape[-2]
        if positions_of is None:
            x, positions_of = filled(self.layout, x), self.positions(length, x.dtype)
        enter = (lambda x, _: x) if enter is None else enter

        def step(
            x: Array, index: Array, layer: tuple[Weights, Mapping[str, Coefficient]]
        ) -> tuple[Array, Mapping[str, Coefficient]]:
            params, recorded = layer
            mode = mode_for(recorded)
            x = nnx.merge(graphdef, params)(enter(x, index), positions_of(index), mode)
            kept = laid_coefficients(self.layout, mode.kept)
            return x, to_stack(kept, offload=mode.dial.offload)

        if kept_on_the_way is not None:
            step = jax.checkpoint(step, policy=kept_on_the_way)
        x, kept = over_layers(step, x, (params, recorded["layers"]), self.config.num_layers)
        x = enter(x, jnp.asarray(self.config.num_layers))[..., :length, :]
        final = mode_for(recorded["final"])
        y = self.final_norm(x if position is None else x[..., position, :], final)
        return laid(self.layout, y, WHOLE), {"layers": kept, "final": final.kept}

    def head_rows(self, token_ids: Int[Array, " n"]) -> Float[Array, "n d"]:
        """The rows that score these tokens, before any soft-cap."""
        table = self.embedding if self.head is None else self.head
        return whole(self.layout, table[...][token_ids])

    def head_slice(self, start: int, count: int) -> Float[Array, "n d"]:
        """``count`` rows of the head from row ``start`` on, copied as they lie."""
        table = self.embedding if self.head is None else self.head
        return whole(self.layout, some_rows(table[...], start, count))

    def logits(self, hidden: Float[Array, "... d"]) -> Float[Array, "... vocab"]:
        """Scores of the vocabulary from final-normed hidden states, through the soft-cap if any."""
        table = self.embedding if self.head is None else self.head
        logits = whole(self.layout, scores(by_columns(self.layout, hidden), table[...], self.precision))
        return soft_cap(logits, self.config.final_logit_softcap)

    def positions(self, length: int, dtype: DTypeLike) -> Callable[[Int[Array, ""]], Positions]:
        """What each layer needs to know about the positions of a prompt of ``length``, :func:`filled`.

        It is a function of the layer's index.
        """
        config = self.config
        kinds = jnp.asarray([LAYER_TYPES.index(kind) for kind in config.layer_types])
        ropes = {"full": config.rope_full, "sliding": config.rope_sliding}
        places = filled_length(self.layout, length)
        tables = [
            rotary_table(ropes[kind], config.turned_features, length, dtype, places) for kind in LAYER_TYPES
        ]
        cos, sin = (jnp.stack(pair) for pair in zip(*tables, strict=True))
        reach = jnp.asarray([length, config.sliding_window or length])

        def positions_of(layer: Int[Array, ""]) -> Positions:
            kind = kinds[layer]
            return Positions(reach[kind], cos[kind], sin[kind])

        return positions_of


#: A decoder without its weights, as ``nnx.split`` gives it.
Graph = nnx.GraphDef[Decoder]


@lru_cache(maxsize=8)  # planner and loader ask for the same, and tracing takes longer than small jobs
def abstract_decoder(
    config: DecoderConfig, dtype: np.dtype, precision: str | None = None, layout: Layout | None = None
) -> tuple[Graph, Weights]:
    """The graph and the weights of a decoder, in shapes alone: no array is made, whatever the sizes."""

    def make() -> Decoder:
        return Decoder(config, rngs=nnx.Rngs(0), dtype=dtype, precision=precision, layout=layout)

    return nnx.split(nnx.eval_shape(make))


def record(
    decoder: Decoder,
    x: Float[Array, "t d"],
    position: int | Int[Array, ""],
    dial: Dial | None = None,
    policy: FreezePolicy = DETACHED,
) -> tuple[Float[Array, " d"], Recorded]:
    """Output at ``position`` (after the final norm) and all coefficients of the pass, frozen.

    Args:
        decoder: the decoder.
        x: embeddings as they enter layer 0, in the working dtype.
        position: where the output is taken.
        dial: in what form coefficients are kept, ``Dial()`` if None; every one gives the same map.
        policy: what is a coefficient, one of the linear ones.
    """
    chosen = Dial() if dial is None else dial
    return decoder.run(x, lambda _: Record(policy, chosen), position=position)
