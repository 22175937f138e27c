"""What a result was made with: versions, device, arithmetic, memory."""

from __future__ import annotations

import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from jaxlin.runtime.device import device

_PACKAGES = ("jaxlin", "jax", "jaxlib", "flax", "matfree", "transformers", "numpy")
_PROC = Path("/proc/self/status")


def environment(algorithm: str | None = None) -> dict[str, Any]:
    """Device, the matmul algorithm if it is known, and package versions, for the summary of a result."""
    chosen = device()
    return {
        "device": f"{chosen.platform}: {chosen.device_kind}",
        **({} if algorithm is None else {"matmul_algorithm": algorithm}),
        "versions": {"python": sys.version.split()[0]} | {name: version(name) for name in _PACKAGES},
    }


def peak_bytes() -> int:
    """Most memory held so far: of the accelerator, or of this process where the CPU is the device."""
    stats = device().memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    if _PROC.exists():  # ru_maxrss would be at least what the parent of this process held when it started us
        (line,) = (line for line in _PROC.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def held_bytes() -> int:
    """Memory held now, measured like :func:`peak_bytes`."""
    stats = device().memory_stats()
    if stats and "bytes_in_use" in stats:
        return int(stats["bytes_in_use"])
    return psutil.Process().memory_info().rss
