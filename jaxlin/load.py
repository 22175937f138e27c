"""Where a model and the engine meet: checkpoint in, detached Jacobian out."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxlin.errors import JaxlinError
from jaxlin.offload import check_offload
from jaxlin.progress import Progress, silent

if TYPE_CHECKING:
    from jaxlin.model import Model

_MODELS = Path(__file__).parents[1] / "models" / "__init__.py"
DTYPES = ("float32", "float64", "bfloat16")


def load(
    name: str,
    *,
    dtype: str = "float32",
    precision: str | None = None,
    offload: str = "none",
    progress: Progress = silent,
) -> Model:
    """Load a checkpoint.

    Args:
        name: a directory, a hub id ``org/name@revision``, or ``demo-llama``, ``demo-gemma``, ``demo-qwen``.
        dtype: ``float32``, ``float64`` (switches JAX's ``jax_enable_x64`` on for this process) or
            ``bfloat16``: how weights and coefficients are stored.
        precision: how products are computed: ``float32``, ``tf32``, ``bf16x3``, ``bfloat16`` or ``float64``
            (see :mod:`models.precision`); the dtype's own if not given.
        offload: what waits in the host's memory and is fetched to the device layer by layer in every pass:
            ``none``, ``coefficients`` (what is recorded of the layers, where no dial says otherwise) or
            ``all`` (the layers' weights as well).
        progress: told which parameter is being loaded.

    Raises:
        JaxlinError: unknown dtype or offload, or another package called ``models`` hides this project's.
        models.ModelError: the checkpoint cannot be found, read or used.
    """
    if dtype not in DTYPES:
        raise JaxlinError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    check_offload(offload)
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    models = import_models()
    from jaxlin.model import Model

    checkpoint = models.find(name)
    decoder = models.load_decoder(
        checkpoint, jnp.dtype(dtype), precision=precision, offload=offload == "all", progress=progress
    )
    return Model(checkpoint, decoder, offload)


def import_models() -> ModuleType:
    """This project's ``models`` package; :class:`JaxlinError` if another one stands in its way."""
    spec = find_spec("models")
    if spec is None:
        raise JaxlinError("jaxlin's package 'models' is missing: install jaxlin with pip")
    if spec.origin is None or not Path(spec.origin).samefile(_MODELS):  # nor is a stranger's code run
        place = spec.origin or next(iter(spec.submodule_search_locations or ()))
        raise JaxlinError(
            f"another package named 'models' ({place}) hides jaxlin's: run from another directory, or "
            f"take that one off PYTHONPATH"
        )
    return import_module("models")
