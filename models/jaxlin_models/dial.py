"""The memory dial: what a recording keeps of each layer, and what a replay computes again.

=========== =============== ================================== ====================================
coefficient setting         kept of a layer                    computed again in every pass
=========== =============== ================================== ====================================
attention   probabilities   P: heads · T²                      nothing
            queries_keys    q, k, log-sum-exp: linear in T     P (:mod:`jaxlin_models.blockwise`)
gate        stored          act(gate): T · mlp                 nothing
            recomputed      the MLP's input: T · embed         act(gate), one matrix product
=========== =============== ================================== ====================================

Every setting is the same linear map, to rounding. A replay needs no dial: what was recorded tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from jaxlin_models.errors import ModelError
from jaxlin_models.spelling import shortened

#: What a setting may be.
AttentionSetting = Literal["probabilities", "queries_keys"]
GateSetting = Literal["stored", "recomputed"]
#: Positions up to which whole probability matrices are as fast as blocks of them.
SHORT = 512


@dataclass(frozen=True)
class Dial:
    """What a recording stores per layer.

    Attributes:
        attention: ``probabilities``, the fast one for short prompts, or ``queries_keys``, whose memory grows
            linearly with the prompt: nothing of T × T is made, whether recording or replaying.
        gate: ``stored`` or ``recomputed``.
        block: positions in a block of the blockwise attention, at most; at least 1.
        offload: whether what is kept of the layers waits in the host's memory; see
            :mod:`jaxlin_models.offload`.

    Raises:
        ModelError: an unknown setting, or a block of no positions.
    """

    attention: AttentionSetting = "probabilities"
    gate: GateSetting = "stored"
    block: int = 256
    offload: bool = False

    @classmethod
    def for_length(cls, length: int, *, offload: bool = False) -> Dial:
        """The fastest setting whose memory does not grow with T²: probabilities for short prompts alone."""
        return cls("probabilities" if length <= SHORT else "queries_keys", offload=offload)

    def __post_init__(self) -> None:
        for name, known in (("attention", get_args(AttentionSetting)), ("gate", get_args(GateSetting))):
            if getattr(self, name) not in known:
                raise ModelError(
                    f"unknown {name} setting {shortened(getattr(self, name))!r}: choose {' or '.join(known)}"
                )
        if self.block < 1:
            raise ModelError(f"a block of {self.block} positions is none: choose 1 or more")
