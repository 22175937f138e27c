"""Arithmetic of a decoder's passes from its config alone: operations of matrix products."""

from __future__ import annotations

from jaxlin_models.config import DecoderConfig
from jaxlin_models.cuts import Cut
from jaxlin_models.detach import DETACHED, FreezePolicy
from jaxlin_models.dial import Dial
from jaxlin_models.modules import GatedMLP


def pass_flops(
    config: DecoderConfig,
    length: int,
    dial: Dial | None = None,
    probes: int = 1,
    policy: FreezePolicy = DETACHED,
) -> int:
    """Floating-point operations of one probe's way through the recorded pass, in either direction.

    That is value, output, up or gate or both, down and P·V. What the dial computes again (scores, factors of
    gated products) is done once for all probes that go together, and each of them is charged its share.

    Args:
        config: sizes.
        length: positions, T.
        dial: what was recorded; ``Dial()`` if None.
        probes: how many go together.
        policy: what is frozen, one of the linear ones.
    """
    dial = Dial() if dial is None else dial
    d, width = config.embed_dim, config.num_heads * config.head_dim
    factors = policy.factors(GatedMLP.kind)
    per_position = d * (config.num_kv_heads * config.head_dim + width + (len(factors) + 1) * config.mlp_dim)
    own = config.num_layers * length * per_position + _attended(config, length, dial) * width
    shared = 0
    if dial.attention == "queries_keys":
        shared += _attended(config, length, dial) * width
    if dial.gate == "recomputed":
        products = 1 if factors == ("gate",) else 2  # the other factor takes the up-projection as well
        shared += config.num_layers * length * d * products * config.mlp_dim
    return 2 * own + 2 * shared // probes


def record_flops(config: DecoderConfig, length: int, dial: Dial | None = None) -> int:
    """Floating-point operations of the ordinary forward pass, in which the coefficients are recorded."""
    dial = Dial() if dial is None else dial
    d, width = config.embed_dim, config.num_heads * config.head_dim
    beside = d * (width + config.num_kv_heads * config.head_dim + config.mlp_dim)
    scores = _attended(config, length, dial) * width
    if dial.attention == "queries_keys":
        scores *= 2  # for the log-sum-exp, and again for P
    plain = Dial("probabilities") if dial.attention == "probabilities" else Dial("queries_keys")
    linear = pass_flops(config, length, plain)
    if dial.attention == "queries_keys":
        linear -= 2 * _attended(config, length, dial) * width
    return linear + 2 * (config.num_layers * length * beside + scores)


def _attended(config: DecoderConfig, length: int, dial: Dial) -> int:
    """Pairs (query, key) multiplied, over all layers: all, or those in blocks with visible ones."""
    if dial.attention == "probabilities":
        return config.num_layers * length**2
    size = Cut.of(length, dial.block).size
    return sum(
        _visible_pairs(length, size, length if kind == "full" else config.sliding_window or length)
        for kind in config.layer_types
    )


def _visible_pairs(length: int, size: int, reach: int) -> int:
    """Pairs in the blocks that :mod:`jaxlin_models.blockwise` goes over."""
    blocks = -(-length // size)
    return size**2 * sum(i + 1 - max(i * size - reach + 1, 0) // size for i in range(blocks))
