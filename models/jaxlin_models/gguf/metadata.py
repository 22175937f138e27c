"""The metadata of one architecture: every key is asked for, known to change nothing, or refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxlin_models.errors import ModelError
from jaxlin_models.families.keys import shown
from jaxlin_models.families.values import MOST

#: Keys of an architecture that no prediction depends on.
_HARMLESS = frozenset({"rope.scaling.finetuned", "tensor_data_layout"})
#: Beginnings of keys about the file and not about the forward pass; the tokenizer looks at its own.
_ABOUT = ("general.", "split.", "tokenizer.", "quantize.")
_REQUIRED: Any = object()


@dataclass(eq=False)
class Metadata:
    """The keys of an architecture, without its name before them.

    Attributes:
        path: the file, for messages.
        architecture: ``general.architecture``.
        values: of all keys of the file.
    """

    path: Path
    architecture: str
    values: Mapping[str, Any]
    _asked: set[str] = field(default_factory=set)

    def count(self, key: str, default: Any = _REQUIRED, *, least: int = 1) -> int:
        """A whole number; of a list with one for each layer, the one that all have."""
        found = self._get(key, default)
        if isinstance(found, list) and found and all(value == found[0] for value in found):
            found = found[0]
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= MOST:
            raise self._wrong(key, found, f"and a whole number from {least} to {MOST:,} is needed")
        return found

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """A finite number."""
        found = self._get(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise self._wrong(key, found, "and a finite number is needed")
        return float(found)

    def name(self, key: str, default: str) -> str:
        """A word."""
        found = self._get(key, default)
        if not isinstance(found, str):
            raise self._wrong(key, found, "which is no name")
        return found

    def flags(self, key: str) -> list[bool] | int | None:
        """A list of yes and no for each layer, or the length of their pattern; None without the key."""
        found = self._get(key, None)
        if isinstance(found, list) and all(value in (0, 1) for value in found):
            return [bool(value) for value in found]
        return None if found is None else self.count(key, least=0)

    def only(self, key: str, expected: Any, why: str) -> None:
        """Refuse the key at any other value than ``expected``, or none."""
        found = self._get(key, expected)
        if isinstance(expected, float) and isinstance(found, int | float) and not isinstance(found, bool):
            if math.isclose(found, expected, rel_tol=1e-6):
                return
        elif found == expected:
            return
        raise self._wrong(key, found, why)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return f"{self.architecture}.{key}" in self.values

    def finish(self) -> tuple[str, ...]:
        """Refuse keys of the architecture that nobody asked for; returns those of nobody."""
        unknown = []
        for key, value in self.values.items():
            if not key.startswith(f"{self.architecture}."):
                if not key.startswith(_ABOUT):
                    unknown.append(key)
                continue
            short = key.removeprefix(f"{self.architecture}.")
            if short not in self._asked and short not in _HARMLESS and not _off(value):
                raise self._wrong(short, value, "which is not supported; load another model")
        return tuple(unknown)

    def _get(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        if default is _REQUIRED and not self.has(key):
            raise ModelError(
                f"{self.path} lacks the key {self.architecture}.{key}, without which its model is not known; "
                f"convert the model again"
            )
        return self.values.get(f"{self.architecture}.{key}", default)

    def _wrong(self, key: str, value: Any, why: str) -> ModelError:
        value = f"a list of {len(value)}" if isinstance(value, list) and len(value) > 8 else shown(value)
        return ModelError(f"{self.path} sets {self.architecture}.{key} to {value}, {why}")


def _off(value: Any) -> bool:
    """Whether a setting is not set."""
    return not value
