"""Where JAX keeps compiled programs from one command to the next: of use, and never worth a failure."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import jax

from jaxlin.runtime.stderr import tell

#: What the default folder may take; JAX leaves out what was not used for longest.
_MOST_BYTES = 2 * 2**30
#: Seconds of compiling from which a program is worth a file.
_WORTH = 0.1


def check_compilation_cache() -> None:
    """Keep compiled programs: where ``JAX_COMPILATION_CACHE_DIR`` says, else in the user's cache folder.

    A folder that was named and cannot be written is done without, and that is said; JAX itself warns at every
    program. A place with a scheme (``gs://…``) is left to JAX. ``JAX_ENABLE_COMPILATION_CACHE=0`` turns
    it off.
    """
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache", UserWarning)
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
        return
    asked = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not asked:
        _use_own()
        return
    if "://" in asked:
        return
    try:
        _check(Path(asked))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        tell(f"JAX_COMPILATION_CACHE_DIR ({asked}) cannot be used ({reason}): programs are compiled anew")
        jax.config.update("jax_compilation_cache_dir", None)


def own_folder() -> Path:
    """The folder of this user for programs of this processor.

    Programs are compiled for the processor they were made on, and home folders are shared.
    """
    if sys.platform == "darwin":
        place = Path.home() / "Library" / "Caches"
    else:
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return place / "jaxlin" / f"compiled-{_processor()}"


def _use_own() -> None:
    with suppress(OSError, ValueError, RuntimeError):  # no home, or nothing can be written there
        folder = own_folder()
        _check(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        if "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ:
            jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH)


def _check(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(13, "Permission denied")


def _processor() -> str:
    """A short name for what the processor can do."""
    known = [platform.machine()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        known += [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]
