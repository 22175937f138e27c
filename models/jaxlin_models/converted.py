"""A checkpoint as Orbax stores it: every parameter as the decoder holds it, restored straight onto any mesh.

    DIR/config.json, tokenizer files    copied from the source
    DIR/weights/                        Orbax's own files, one array a parameter, stacked over layers
    DIR/converted.json                  the source and its hash, the dtype, and the hash of all of the above

Safetensors are transposed and stacked each time they are read. Here nothing is: each device reads the pieces
of what it is to hold. What was changed since is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import SingleDeviceSharding

from jaxlin_models.config import DecoderConfig
from jaxlin_models.decoder import LOGICAL_AXES, Decoder, abstract_decoder, key_of
from jaxlin_models.errors import ModelError
from jaxlin_models.regular import kind_of, read_json
from jaxlin_models.sharding import Layout
from jaxlin_models.stacks import Apart, keeps_apart

if TYPE_CHECKING:
    from types import ModuleType

MANIFEST, WEIGHTS, CONFIG = "converted.json", "weights", "config.json"
#: What of a source is copied beside its weights; its own weights and their index are not.
_COPIED = ("*.json", "*.model", "*.jinja", "*.txt")
#: Bytes of a piece, the least that is read of an array.
_PIECE = 16 * 2**20


@dataclass(frozen=True)
class Converted:
    """What a converted checkpoint says of itself.

    Attributes:
        source: the name of what it was made of.
        revision: the source's commit on the hub, if it has one.
        source_sha256: of the source's weight files, as :func:`jaxlin_models.weights_hash` has it.
        dtype: how the weights are stored.
        tie_embeddings: whether the head is the embeddings.
        sha256: over the names and contents of all other files in the folder.
    """

    source: str
    revision: str | None
    source_sha256: str
    dtype: str
    tie_embeddings: bool
    sha256: str


def read_manifest(directory: Path) -> Converted | None:
    """What a folder's manifest says; None where there is none.

    Raises:
        ModelError: one that is damaged.
    """
    path = directory / MANIFEST
    if kind_of(path) is None:
        return None
    found = read_json(path, "a manifest of a converted checkpoint")
    names = {field.name for field in fields(Converted)}
    if not isinstance(found, dict) or set(found) != names:
        raise ModelError(f"{path} is not a manifest of a converted checkpoint; convert it again")
    return Converted(**found)


def save(
    decoder: Decoder, source: Path, folder: Path, *, name: str, revision: str | None, sha256: str
) -> Converted:
    """Write a decoder, and the small files of its source, into an empty folder.

    Args:
        decoder: whose weights are in stacks, as on a CPU.
        source: the folder with its config and its tokenizer.
        folder: where to write.
        name, revision, sha256: of the source.

    Raises:
        ModelError: Orbax is not installed.
    """
    ocp = _orbax()
    for pattern in _COPIED:
        for file in sorted(source.glob(pattern)):
            if not file.name.endswith(".safetensors.index.json"):
                shutil.copyfile(file, folder / file.name)
    arrays = {key_of(path): variable[...] for path, variable in nnx.to_flat_state(nnx.state(decoder))}
    context = ocp.Context()
    context.array.saving.storage_options.chunk_byte_size = _PIECE
    with context:
        ocp.save((folder / WEIGHTS).absolute(), arrays)  # Orbax takes no others
    made = Converted(
        name, revision, sha256, str(decoder.dtype), decoder.config.tie_embeddings, files_hash(folder)
    )
    (folder / MANIFEST).write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")
    return made


def restore(
    directory: Path,
    converted: Converted,
    config: DecoderConfig,
    dtype: np.dtype,
    *,
    precision: str | None = None,
    offload: bool = False,
    layout: Layout | None = None,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> Decoder:
    """The decoder of a converted checkpoint, each parameter put where it is to be.

    Args:
        directory: the checkpoint's.
        converted: what it says of itself.
        config: of the decoder.
        dtype, precision, offload, layout, progress: as in :func:`jaxlin_models.load_decoder`.

    Raises:
        ModelError: another dtype than it was converted to; files that are not those that were written; Orbax
            is not installed.
    """
    if dtype.name != converted.dtype:
        raise ModelError(
            f"{directory} was converted to {converted.dtype}: choose `dtype` {converted.dtype}, or convert "
            f"{converted.source} again with `dtype` {dtype.name}"
        )
    check(directory, converted)
    ocp = _orbax()
    graphdef, state = abstract_decoder(tied(config, converted), dtype, precision, layout)
    flat = nnx.to_flat_state(state)
    left_out: dict[str, Any] = {key_of(path): ... for path, _ in flat}
    filled = []
    for done, (path, variable) in enumerate(flat):
        key = key_of(path)
        if progress is not None:
            progress("loading weights", done, len(flat), key)
        sharding = _place(layout, key, offload=offload)
        wanted = jax.ShapeDtypeStruct(variable.shape, dtype, sharding=sharding)
        value = ocp.load((directory / WEIGHTS).absolute(), left_out | {key: wanted})[key]
        if LOGICAL_AXES[key][0] == "layer" and keeps_apart() and not offload:
            value = _taken_apart(value, layout, key)
        filled.append((path, variable.replace(value)))
    if progress is not None:
        progress("loading weights", len(flat), len(flat), "parameters")
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def tied(config: DecoderConfig, converted: Converted) -> DecoderConfig:
    """The config with the head that the source's tensors had, whatever its config.json says."""
    return replace(config, tie_embeddings=converted.tie_embeddings)


@cache
def check(directory: Path, converted: Converted) -> None:
    """:class:`ModelError` where the files are not those that were written; reads them once in a process."""
    if files_hash(directory) != converted.sha256:
        raise ModelError(
            f"{directory} does not match its source {converted.source} any more: its files were changed "
            f"after they were converted; convert it again"
        )


def files_hash(directory: Path) -> str:
    """sha256 over the names and contents of all files but the manifest, as hex."""
    total = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        if path != directory / MANIFEST:
            total.update(str(path.relative_to(directory)).encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _place(layout: Layout | None, key: str, *, offload: bool) -> jax.sharding.Sharding:
    axes = LOGICAL_AXES[key]
    kind = "pinned_host" if offload and axes[0] == "layer" else None
    if layout is not None:
        return layout.sharding(axes, memory_kind=kind)
    (device,) = jax.numpy.zeros(()).devices()
    return SingleDeviceSharding(device, memory_kind=kind)


def _taken_apart(stack: Any, layout: Layout | None, key: str) -> Apart:
    layers = (stack[i] for i in range(stack.shape[0]))
    if layout is None:
        return Apart(layers)
    return Apart(jax.device_put(layer, layout.sharding(LOGICAL_AXES[key][1:])) for layer in layers)


def _orbax() -> ModuleType:
    try:
        from orbax.checkpoint import v1
    except ImportError as error:
        raise ModelError('converted checkpoints need Orbax: pip install "jaxlin[orbax]"') from error
    module: ModuleType = v1
    return module
