"""A mesh of devices as people write it, like ``data=2,tensor=4``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from jaxlin.errors import JaxlinError, shortened

#: What devices may divide between them: the probes of a pass, the positions of a prompt, the weights.
DATA, SEQUENCE, TENSOR = "data", "sequence", "tensor"
AXES = (DATA, SEQUENCE, TENSOR)
#: The flag of XLA that makes a CPU several devices.
_FORCED = "xla_force_host_platform_device_count"
_PART = re.compile(r"(?P<name>\w+)=(?P<size>[0-9]{1,6})")


@dataclass(frozen=True)
class MeshSize:
    """How many devices a mesh has along each axis."""

    data: int = 1
    sequence: int = 1
    tensor: int = 1

    def __str__(self) -> str:
        return (
            ",".join(f"{name}={getattr(self, name)}" for name in AXES if getattr(self, name) > 1)
            or "tensor=1"
        )

    @property
    def count(self) -> int:
        """Of all devices."""
        return self.data * self.sequence * self.tensor


def parse_mesh(text: str) -> MeshSize:
    """The sizes that a text like ``tensor=4`` or ``data=2,tensor=4`` says.

    Raises:
        JaxlinError: another form, an unknown axis, one that is named twice, or a size of 0.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise JaxlinError(f"{shortened(text)!r} is no mesh: write it like tensor=4 or data=2,tensor=4")
        name, size = match["name"], int(match["size"])
        if name not in AXES:
            raise JaxlinError(
                f"a `mesh` has no axis {shortened(name)!r}: "
                "choose data (probes), sequence (positions) and tensor (weights)"
            )
        if name in sizes or size < 1:
            wrong = f"names {name} twice" if name in sizes else f"has 0 devices along {name}"
            raise JaxlinError(f"the `mesh` {shortened(text)!r} {wrong}: write it like data=2,tensor=4")
        sizes[name] = size
    return MeshSize(**sizes)


def devices_for(size: MeshSize) -> Sequence[jax.Device]:
    """The devices of a mesh, the first that there are.

    Raises:
        JaxlinError: there are fewer; or more, and they belong to several processes.
    """
    there = jax.devices()
    several = jax.process_count() > 1
    if size.count > len(there) or (several and size.count < len(there)):
        here = (
            f"{len(there)} ({there[0].platform}{f', of {jax.process_count()} processes' if several else ''})"
        )
        hint = "choose a smaller one" if size.count > len(there) else "use all of them"
        if there[0].platform == "cpu" and not several:
            hint += f", or set XLA_FLAGS=--{_FORCED}={size.count} to try it on a CPU"
        raise JaxlinError(f"the `mesh` {size} takes {size.count} devices and there are {here}: {hint}")
    return there[: size.count]


def make_room(count: int) -> None:
    """Let JAX have so many devices on a CPU, for programs that are compiled and never run.

    Only before JAX has begun; later there are as many as there are, which :func:`devices_for` says.
    """
    if count == 1 or _FORCED in os.environ.get("XLA_FLAGS", ""):
        return
    with suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def sharing_memory(mesh: Mesh | None) -> int:
    """How many devices of a mesh have one memory between them: on a CPU those of this process."""
    return 1 if mesh is None or jax.default_backend() != "cpu" else len(mesh.local_devices)
