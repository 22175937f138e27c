"""Which files of a checkpoint hold its weights, as stock transformers chooses among several sets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from jaxlin_models.errors import ModelError
from jaxlin_models.regular import kind_of, read_json, require_regular

_SINGLE = "model.safetensors"
_INDEX_ENDING = ".safetensors.index.json"
_INDEX = f"model{_INDEX_ENDING}"
_ADAPTER = "adapter_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
#: How the names of pickles begin that hold weights; trainers leave others.
_PICKLED_WEIGHTS = ("pytorch_model", "model", "consolidated")


@dataclass(frozen=True)
class WeightFiles:
    """The files that are read, in name order, and the names of weights beside them that are not.

    ``chosen`` is the file that decides: the weights themselves, or the index of several.
    """

    chosen: Path
    paths: tuple[Path, ...]
    aside: tuple[str, ...]


def weight_files(directory: Path, named: Any = None) -> WeightFiles:
    """The safetensors files of a checkpoint.

    As in stock transformers (``_get_resolved_checkpoint_files`` in its ``modeling_utils.py``): the file that
    config.json names, else ``model.safetensors``, else the files of its index.

    Args:
        directory: the checkpoint's.
        named: ``transformers_weights`` of config.json.

    Raises:
        ModelError: a file that is missing, pickled, no regular one, or outside the folder; an adapter beside
            the weights.
    """
    if kind_of(directory / _ADAPTER) is not None:
        raise ModelError(
            f"{directory} has an adapter beside its weights ({_ADAPTER}), which is not applied; merge it "
            f"into the weights, or move it away"
        )
    chosen = _chosen(directory) if named is None else _named(directory, named)
    paths = _shards(directory, chosen) if chosen.name.endswith(_INDEX_ENDING) else [chosen]
    for path in paths:
        require_regular(path)
    return WeightFiles(chosen, tuple(paths), tuple(_others(directory, {chosen, *paths})))


def _chosen(directory: Path) -> Path:
    for name in (_SINGLE, _INDEX):
        if kind_of(directory / name) is not None:
            return directory / name
    names = _names(directory)
    if pickles := [name for name in names if name.endswith(_PICKLES)]:
        raise ModelError(
            f"{directory} has only pickled weights ({pickles[0]}), which can run code when loaded; "
            f"convert them to safetensors"
        )
    others = [name for name in names if name.endswith((".safetensors", _INDEX_ENDING))]
    found = f" but {others[0]}" if others else ""
    raise ModelError(
        f"{directory} has no {_SINGLE} or {_INDEX}{found}; fetch the whole checkpoint, or one that has "
        f"safetensors"
    )


def _named(directory: Path, named: Any) -> Path:
    name = named if isinstance(named, str) else ""
    if not name.endswith((".safetensors", _INDEX_ENDING)) or not _is_inside(name):
        raise ModelError(
            f"config.json names {named!r} as its weights (transformers_weights), which is no safetensors "
            f"file in the checkpoint's folder; name one, or remove the key"
        )
    return directory / name


def _shards(directory: Path, index: Path) -> list[Path]:
    content = read_json(index, "a safetensors index")
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    names = set(weight_map.values()) if _is_table(weight_map) else set()
    if not names:
        raise ModelError(f"{index} is not a safetensors index; fetch it anew")
    for name in sorted(names):
        if not name.endswith(".safetensors") or not _is_inside(name):
            raise ModelError(
                f"{index} is not a safetensors index: it names {name[:80]!r}, which is no safetensors file "
                f"in its folder; fetch it anew"
            )
    paths = [directory / name for name in sorted(names)]
    for path in paths:
        if kind_of(path) is None:
            raise ModelError(f"{path} is missing although {index.name} names it; fetch it again")
    return paths


def _is_table(weight_map: Any) -> TypeGuard[dict[str, str]]:
    return isinstance(weight_map, dict) and all(isinstance(name, str) for name in weight_map.values())


def _is_inside(name: str) -> bool:
    """Whether a file of this name can be, and is in the folder or below it."""
    parts = PurePosixPath(name).parts
    fits = all(len(part.encode(errors="replace")) <= 255 for part in parts)
    return fits and "\0" not in name and not name.startswith("/") and ".." not in parts


def _others(directory: Path, used: Iterable[Path]) -> list[str]:
    """Names of other weights in the folder, indexes first; folders below it are not looked into."""
    read = {path.name for path in used}
    others = [
        name
        for name in _names(directory)
        if name not in read
        and (
            name.endswith((".safetensors", _INDEX_ENDING))
            or (name.startswith(_PICKLED_WEIGHTS) and name.endswith(_PICKLES))
        )
    ]
    return sorted(others, key=lambda name: not name.endswith(_INDEX_ENDING))


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(directory))
