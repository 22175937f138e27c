"""The memory of the GPU at hand, asked of NVIDIA's own tool: JAX would take hold of the GPU to say it."""

from __future__ import annotations

import shutil
import subprocess


def memory_of_gpu() -> int | None:
    """Bytes of the first GPU, or None where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    asked = [command, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    listing = subprocess.run(asked, capture_output=True, text=True, check=False)
    lines = listing.stdout.split()
    return int(lines[0]) * 2**20 if listing.returncode == 0 and lines and lines[0].isdigit() else None


def fraction_of(size: float, memory: int) -> str:
    """``XLA_CLIENT_MEM_FRACTION`` with which JAX takes no more than ``size`` bytes of so much memory."""
    return f"{min(0.95, size / memory):.4f}"
