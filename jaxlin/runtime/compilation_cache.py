"""Where JAX keeps compiled programs, if somebody told it to: of use, and never worth a failure."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import jax

from jaxlin.runtime.stderr import tell


def check_compilation_cache() -> None:
    """Do without the folder that ``JAX_COMPILATION_CACHE_DIR`` names where it cannot be written, and say so.

    JAX itself warns at every program. A place with a scheme (``gs://…``) is left to JAX.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    asked = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not asked or "://" in asked:
        return
    try:
        folder = Path(asked)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        tell(f"JAX_COMPILATION_CACHE_DIR ({asked}) cannot be used ({reason}): programs are compiled anew")
        jax.config.update("jax_compilation_cache_dir", None)
