"""Tensors of a checkpoint that its config has no place for: harmless ones, and all others."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jaxlin_models.errors import ModelError

#: What is no part of a text decoder's forward pass, and why.
_HARMLESS = tuple(
    re.compile(pattern)
    for pattern in (
        # Tables of the rotary embedding, which follow from config.json; stock transformers ignores them too.
        r"(.*\.)?rotary_emb(_local)?\.(inv_freq|cos_cached|sin_cached)",
        # What images are read with.
        r"(model\.)?(vision_tower|vision_model|multi_modal_projector)\..*",
        # Scales of a quantised cache of keys and values; nothing is cached here.
        r"(.*\.)?self_attn\.((attn|kv_cache|k_proj|v_proj)\.)?(k|v|kv)(_cache)?_scale",
    )
)
_LAYER = re.compile(r"(?:.*\.)?layers\.(\d+)\.")


def refuse_leftover(names: Iterable[str], used: set[str], layers: int, owner: str) -> None:
    """Refuse tensors that would be left out of the model although they may belong to it.

    Args:
        names: of all tensors.
        used: those that the decoder takes, and those that are equal to one of these.
        layers: how many the config has.
        owner: whose they are, for the message.

    Raises:
        ModelError: a tensor that is neither used nor known to be harmless.
    """
    left = sorted(name for name in names if name not in used and not _is_harmless(name))
    if not left:
        return
    others = f" and {len(left) - 1} more" if len(left) > 1 else ""
    number = _LAYER.match(left[0])
    if number is not None and int(number[1]) >= layers:
        why = f"its config has {layers} layers"
    else:
        why = "its config has no place for it"
    raise ModelError(
        f"{owner} has the tensor {left[0]}{others}, and {why}; give the config that belongs to these "
        f"weights, or a checkpoint without what it does not use"
    )


def _is_harmless(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in _HARMLESS)
