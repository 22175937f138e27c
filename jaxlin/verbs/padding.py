"""Prompts of several lengths in one shape, so that they share a compilation.

What stands behind the output's position cannot act on it: J is 0 there, and a padded map is the same map.
"""

from __future__ import annotations

from jaxlin_models import POLICIES, DecoderConfig


def bucket(length: int, config: DecoderConfig, policy: str) -> int:
    """To how many positions a prompt is padded: 2^n or 1.5·2^n, where padding changes nothing."""
    padded = min(rounded_up(length), config.max_positions)
    able = POLICIES[policy].linear and not config.rope_full.differs_between(length, padded)
    return padded if able else length


def rounded_up(count: int) -> int:
    """The least of 16, 24, 32, 48, 64, 96 … that is not less."""
    size = 16
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size
