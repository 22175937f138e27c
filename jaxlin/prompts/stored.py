"""Whether a checkpoint's weights stay quantised."""

from __future__ import annotations

import jax
import jaxlin_models as models
from jax.typing import DTypeLike


def chosen_forms(
    checkpoint: models.Checkpoint, weights: str, dtype: DTypeLike, memory: int, *, offload: bool = False
) -> models.Forms | None:
    """How the weights are written that stay quantised; None where all are unpacked.

    Args:
        checkpoint: whose weights.
        weights: one of :data:`jaxlin.runtime.weights.WEIGHTS`; ``auto`` is packed for a GGUF file with
            quantised layers whose weights alone take more than the memory otherwise.
        dtype: of the numbers.
        memory: bytes that may be used where programs run.
        offload: whether the weights of the layers are in the host's memory.

    Raises:
        models.ModelError: ``packed``, and nothing is quantised.
    """
    fits = weights == "auto" and unpacked_bytes(checkpoint.config, dtype, offload=offload) <= memory
    if weights == "unpacked" or fits:
        return None
    forms = models.packed_forms(checkpoint)
    if weights == "packed" and not forms:
        models.refuse_unquantised(checkpoint.name)
    return forms or None


def unpacked_bytes(config: models.DecoderConfig, dtype: DTypeLike, *, offload: bool = False) -> int:
    """Bytes of the weights as numbers, where programs run."""
    _, weights = models.abstract_decoder(config, jax.numpy.dtype(dtype))
    apart = offload and jax.default_backend() != "cpu"
    held = [part for name, part in weights.items() if not (apart and name == "layers")]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(held))
