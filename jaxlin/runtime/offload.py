"""What of a model can wait in the host's memory, by name; how it does is in :mod:`jaxlin_models.offload`."""

from __future__ import annotations

import jax

from jaxlin.errors import JaxlinError, shortened

#: The oldest JAX whose programs keep arrays in the host's memory where they are put.
_OLDEST_JAX = (0, 10, 2)
#: Nothing; what is recorded of the layers; that and the layers' weights.
OFFLOADS = ("none", "coefficients", "all")


def check_offload(offload: str, *, linear: bool = True) -> None:
    """Check an ``offload`` setting.

    Args:
        offload: what is offloaded.
        linear: whether it is for a policy that freezes everything nonlinear. The transpose of the ordinary
            Jacobian keeps what every layer was linearised with, the fetched weights among it.

    Raises:
        JaxlinError: none of :data:`OFFLOADS`, a JAX that is too old for the others, or ``all`` where all
            weights would be on the device again.
    """
    if offload not in OFFLOADS:
        raise JaxlinError(f"unknown offload {shortened(offload)!r}: choose one of {', '.join(OFFLOADS)}")
    if offload != "none" and jax.__version_info__[:3] < _OLDEST_JAX:
        oldest = ".".join(map(str, _OLDEST_JAX))
        raise JaxlinError(
            f"offload {offload!r} needs JAX {oldest} or newer and this is {jax.__version__}: choose offload "
            "none, or pip install --upgrade jax"
        )
    if offload == "all" and not linear:
        raise JaxlinError(
            "the ordinary Jacobian needs the weights of all layers on the device at once: choose "
            "offload none, or a policy that freezes"
        )
