"""Memory that XLA takes over on CPUs."""

from __future__ import annotations

import math

import numpy as np
from jax.typing import DTypeLike

#: Bytes; XLA's own for CPU buffers.
_ALIGNMENT = 64


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An uninitialised array that XLA takes over on CPUs as it is; it would copy one from ``np.empty``."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)
