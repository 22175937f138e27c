"""Where arrays live and programs run: JAX's default device, by the names that people use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import jax

from jaxlin.errors import JaxlinError, shortened
from jaxlin.runtime.stderr import tell

#: Other names of a platform.
_ALIASES = {"cuda": "gpu", "rocm": "gpu"}


def use_device(name: str) -> None:
    """Compute on this device from now on: ``cpu``, ``gpu`` or ``tpu``, with a number behind a colon.

    To be called before anything else is done with JAX: it chooses its platform once for a process.

    Raises:
        JaxlinError: there is no such device here.
    """
    platform, _, number = name.partition(":")
    platform = _ALIASES.get(platform, platform)
    if platform == "cpu":  # else JAX would take hold of a GPU only to leave it idle
        jax.config.update("jax_platforms", "cpu")
    start()
    there = [f"{jax.default_backend()}:{i}" for i in range(jax.local_device_count())]
    if f"{platform}:{number or 0}" not in there:
        raise JaxlinError(f"there is no device {shortened(name)!r}: choose {' or '.join(there)}")
    jax.config.update("jax_default_device", jax.local_devices()[int(number or 0)])


def start() -> None:
    """Let JAX take hold of its device now, where it can still be said in words that it cannot.

    Raises:
        JaxlinError: there is no such platform as ``JAX_PLATFORMS`` asks for, or it cannot be used.
    """
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(". ") or "no such device is here"
        asked = os.environ.get("JAX_PLATFORMS")
        hint = "choose another `device`" if not asked else f"JAX_PLATFORMS is {asked!r}: unset or mend it"
        raise JaxlinError(f"JAX cannot start ({reason}); {hint}") from error


def device() -> jax.Device:
    """The device that is computed on."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return chosen if isinstance(chosen, jax.Device) else jax.local_devices()[0]


def has_own_memory() -> bool:
    """Whether the device's memory is another one than the host's: everywhere but on a CPU."""
    return bool(jax.default_backend() != "cpu")


def driver_is_loaded(folder: Path = Path("/proc/driver/nvidia")) -> bool:
    """Whether the kernel has NVIDIA's driver."""
    return folder.exists()


def smi_lists_gpu() -> bool:
    """Whether there is an ``nvidia-smi`` and it lists a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return False
    try:
        listing = subprocess.run([command, "-L"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # it is broken, and JAX could not use the GPU either
        return False
    return listing.returncode == 0 and "GPU" in listing.stdout


def gpu_is_idle(probes: Sequence[Callable[[], bool]] = (driver_is_loaded, smi_lists_gpu)) -> bool:
    """Whether JAX computes on the CPU beside an NVIDIA GPU, and nobody chose that.

    The CPU is chosen by :func:`use_device`, ``JAX_PLATFORMS``, or a ``CUDA_VISIBLE_DEVICES`` that hides all.

    Args:
        probes: each says whether it sees an NVIDIA GPU.
    """
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    chosen = bool(platforms) or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not chosen and jax.default_backend() == "cpu" and any(probe() for probe in probes)


@cache
def tell_of_idle_gpu() -> None:
    """One line on stderr, once in a process, where :func:`gpu_is_idle`. Call it after :func:`use_device`."""
    if gpu_is_idle():
        tell('there is an NVIDIA GPU here and JAX runs on the CPU: pip install "jaxlin[cuda12]"')
