"""What a method of the per-position decomposition gets and hands over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxlin.runtime.progress import Progress, silent


@dataclass(frozen=True)
class TokenRequest:
    """What a method is asked for; see :func:`jaxlin.per_token.tokens`."""

    k: int
    tolerance: float
    seed: int
    progress: Progress = silent
    scratch: Path | None = None


@dataclass(frozen=True, eq=False)
class TokenTriplets:
    """What a method hands over, in the host's memory."""

    u: Float[np.ndarray, "t k m"]
    s: Float[np.ndarray, "t k"]
    v: Float[np.ndarray, "t k d"]
    errors: Float[np.ndarray, "t k"]
    norms: Float[np.ndarray, " t"]
    rank: int
    passes: int
    confidence: float
