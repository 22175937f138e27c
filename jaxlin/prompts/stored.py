"""Whether a checkpoint's weights stay quantised."""

from __future__ import annotations

import jax
import jaxlin_models as models
from flax import nnx
from jax.typing import DTypeLike
from jaxlin_models.decoder import LOGICAL_AXES, key_of
from jaxlin_models.sharding import Layout, held_by_one

from jaxlin.runtime.device import has_own_memory


def chosen_forms(
    checkpoint: models.Checkpoint,
    weights: str,
    dtype: DTypeLike,
    memory: int,
    *,
    offload: bool = False,
    layout: Layout | None = None,
) -> models.Forms | None:
    """How the weights are written that stay quantised; None where all are unpacked.

    Args:
        checkpoint: whose weights.
        weights: one of :data:`jaxlin.runtime.weights.WEIGHTS`; ``auto`` is packed for a GGUF file with
            quantised layers whose weights alone take more than the memory otherwise.
        dtype: of the numbers.
        memory: bytes that may be used where programs run, of one device.
        offload: whether the weights of the layers are in the host's memory.
        layout: the devices that they are spread over.

    Raises:
        models.ModelError: ``packed``, and nothing is quantised.
    """
    if weights == "unpacked":
        return None
    taken = unpacked_bytes(checkpoint.config, dtype, offload=offload, layout=layout)
    if weights == "auto" and taken <= memory:
        return None
    forms = models.packed_forms(checkpoint)
    if weights == "packed" and not forms:
        models.refuse_unquantised(checkpoint.name)
    return forms or None


def unpacked_bytes(
    config: models.DecoderConfig, dtype: DTypeLike, *, offload: bool = False, layout: Layout | None = None
) -> int:
    """Bytes of the weights as numbers, where programs run, that one device has."""
    _, weights = models.abstract_decoder(config, jax.numpy.dtype(dtype))
    apart = offload and has_own_memory()
    held = 0
    for path, leaf in nnx.to_flat_state(weights):
        if not (apart and path[0] == "layers"):
            place = None if layout is None else layout.sharding(LOGICAL_AXES[key_of(path)])
            held += held_by_one(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place))
    return held
