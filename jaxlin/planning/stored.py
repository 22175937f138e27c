"""How a plan's models are held: as numbers, or quantised, by files that are here or as others are."""

from __future__ import annotations

from dataclasses import dataclass

import jaxlin_models as models

UNPACKED, PACKED = "unpacked", "packed"


@dataclass(frozen=True)
class Stored:
    """What is known of a model's weights before they are read.

    Attributes:
        forms: how they are written that may stay quantised; None where nothing is.
        name: what results call it if they do.
        at_once: whether they are to in any case, and not only where they do not fit otherwise.
    """

    forms: models.Forms | None = None
    name: str = UNPACKED
    at_once: bool = False


def stored(name: str, config: models.DecoderConfig, weights: str) -> Stored:
    """How the model that ``name`` calls may be held.

    Args:
        name: what :func:`jaxlin_models.find_config` takes.
        config: of it.
        weights: one of :data:`jaxlin.runtime.weights.WEIGHTS`; ``packed`` takes what is no file, but a config
            by name, as if it were a file of llama.cpp's mixture Q4_K_M.

    Raises:
        models.ModelError: ``packed``, and nothing is quantised.
    """
    if weights == UNPACKED:
        return Stored()
    packed = weights == PACKED
    if models.is_config_alone(name):
        if not packed:
            return Stored()
        return Stored(models.assumed_forms(config), f"{PACKED} as {models.ASSUMED}", True)
    forms = models.packed_forms(models.find(name, weights=False)) if models.is_gguf(name) else {}
    if packed and not forms:
        models.refuse_unquantised(name)
    return Stored(forms, PACKED, packed) if forms else Stored()
