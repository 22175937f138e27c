"""Results on disk: tensors any framework reads, a JSON anyone reads, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from safetensors.numpy import save_file

from jaxlin.errors import JaxlinError
from jaxlin.operator import DetachedJacobian
from jaxlin.svd.result import SVDResult

TENSORS, SUMMARY = "result.safetensors", "result.json"


@contextmanager
def staged(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside ``out`` to write into, which becomes ``out`` at the end and only if all went well.

    Enter it before the work starts, so that a place that cannot be written to costs nobody an hour.

    Raises:
        JaxlinError: ``out`` holds something already, or cannot be written.
    """
    _check_free(out, overwrite)
    made = [parent for parent in out.parents if not parent.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise JaxlinError(f"cannot write to {out.parent} ({error.strerror}): choose another --out") from error
    try:
        yield staging
        _publish(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in made:  # innermost first
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()
        raise


def write(
    folder: Path,
    result: SVDResult,
    operator: DetachedJacobian,
    token_ids: Sequence[int],
    summary: Mapping[str, Any],
    jacobian: Float[Array, "d t d"] | None = None,
) -> None:
    """Put a result's two files into ``folder``."""
    tensors = {
        "token_ids": np.asarray(token_ids, np.int64),
        "embeddings": operator.x,
        "output": operator.y,
        "offset": operator.offset,
        "U": result.U,
        "s": result.s,
        "V": result.V,
        "residuals": result.residuals,
    }
    if jacobian is not None:
        tensors["jacobian"] = jacobian
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / TENSORS)
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def _check_free(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise JaxlinError(f"{out} is a file: choose another --out")
    held = sorted(path.name for path in out.iterdir())
    if not held:
        return
    if not set(held) <= {TENSORS, SUMMARY}:
        raise JaxlinError(f"{out} holds other files ({held[0]}): choose an empty or new folder as --out")
    if not overwrite:
        raise JaxlinError(f"{out} already holds a result: choose another --out, or add --overwrite")


def _publish(staging: Path, out: Path) -> None:
    mask = _umask()  # mkdtemp and safetensors write for their owner alone
    staging.chmod(0o777 & ~mask)
    for file in staging.iterdir():
        file.chmod(0o666 & ~mask)
    if out.exists():
        retired = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
        os.replace(out, retired)
        os.replace(staging, out)
        shutil.rmtree(retired)
    else:
        os.replace(staging, out)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
