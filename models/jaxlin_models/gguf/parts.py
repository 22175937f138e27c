"""A model in one GGUF file, or in several whose names end in ``-00001-of-0000N.gguf``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlin_models.errors import ModelError
from jaxlin_models.gguf.header import Header, Place, read_header
from jaxlin_models.regular import kind_of

ENDING = ".gguf"
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
#: Parts of the largest models.
_MOST_PARTS = 1000


@dataclass(frozen=True, repr=False)
class GgufFiles:
    """All files of a model: the metadata of the first, the tensors of all.

    Attributes:
        paths: in the order of their numbers.
        metadata: by key.
        tensors: by the names that the files have.
    """

    paths: tuple[Path, ...]
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Place]

    @property
    def named(self) -> Path:
        """The first file, by which messages call them all."""
        return self.paths[0]


def is_gguf(name: str) -> bool:
    """Whether a model's name is that of a GGUF file."""
    return name.casefold().endswith(ENDING)


def open_gguf(path: Path) -> GgufFiles:
    """The headers of a model's files; ``path`` is the only one, or any part.

    Raises:
        ModelError: as :func:`read_header`; a part that is missing, or parts that do not belong together.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        header = read_header(path)
        if _integer(header, "split.count", 1) > 1:
            raise ModelError(
                f"{path} is one of {header.metadata['split.count']} parts of a model, and its name does "
                f"not end in -00001-of-{header.metadata['split.count']:05d}.gguf; put all parts side by side "
                f"under such names"
            )
        return GgufFiles((path,), header.metadata, header.tensors)
    count = int(match["count"])
    if not 1 <= count <= _MOST_PARTS or not 1 <= int(match["number"]) <= count:
        raise ModelError(f"{path} cannot be a part of {count}, by its name; give it the name that it had")
    suffix = path.name[-len(ENDING) :]
    paths = [
        path.with_name(f"{match['stem']}-{i:05d}-of-{match['count']}{suffix}") for i in range(1, count + 1)
    ]
    for part in paths:
        if kind_of(part) is None:
            raise ModelError(f"there is no file {part}, a part of this model; fetch all {count} of them")
    return _joined([read_header(part) for part in paths])


def _joined(headers: list[Header]) -> GgufFiles:
    tensors: dict[str, Place] = {}
    for number, header in enumerate(headers):
        stated = (_integer(header, "split.no", number), _integer(header, "split.count", len(headers)))
        if stated != (number, len(headers)):
            raise ModelError(
                f"{header.path} says that it is part {stated[0] + 1} of {stated[1]}, and its name says "
                f"otherwise; fetch the parts again"
            )
        for name, place in header.tensors.items():
            if name in tensors:
                raise ModelError(
                    f"tensor {name} is in two parts, {tensors[name].path} and {header.path}; fetch them again"
                )
            tensors[name] = place
    first = headers[0]
    total = _integer(first, "split.tensors.count", len(tensors))
    if total != len(tensors):
        raise ModelError(
            f"{first.path} says that its parts have {total} tensors, and they have {len(tensors)}; "
            f"fetch them again"
        )
    return GgufFiles(tuple(header.path for header in headers), first.metadata, tensors)


def _integer(header: Header, key: str, default: int) -> int:
    found = header.metadata.get(key, default)
    if not isinstance(found, int):
        raise ModelError(f"{header.path} says that {key} is no number; fetch it again")
    return found
