"""Where arrays live and programs run: JAX's default device, by the names that people use."""

from __future__ import annotations

import jax

from jaxlin.errors import JaxlinError

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
    there = [f"{jax.default_backend()}:{i}" for i in range(jax.local_device_count())]
    if f"{platform}:{number or 0}" not in there:
        raise JaxlinError(f"there is no device {name!r}: choose {' or '.join(there)}")
    jax.config.update("jax_default_device", jax.local_devices()[int(number or 0)])


def device() -> jax.Device:
    """The device that is computed on."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    return chosen if isinstance(chosen, jax.Device) else jax.local_devices()[0]
