"""The values of config.json that a family uses: of what form they are, and how large they may be.

Checked before transformers sees them and before anything is built, because a list of layers takes as much
memory as the number of layers says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxlin_models.errors import ModelError
from jaxlin_models.families.keys import shown

#: More layers than any decoder has, and more of anything else than fits any machine.
MOST_LAYERS, MOST = 10**6, 10**12
_LAYERS = ("num_hidden_layers", "max_window_layers", "sliding_window_pattern")
_SCALARS = (bool, int, float, str, type(None))
_ROPES = ("rope_parameters", "rope_scaling")


def check_values(config: Mapping[str, Any], used: frozenset[str]) -> None:
    """:class:`ModelError` at a value of another form or size than any that can be used."""
    for key, value in config.items():
        if key not in used or key == "text_config":
            continue
        if key in _ROPES:
            if not (value is None or _is_rope(value)):
                raise _wrong(key, value, "which are no settings of a rotary embedding")
        elif key == "layer_types":
            if not (value is None or is_names(value)):
                raise _wrong(key, value, "which is no list of names")
        elif not isinstance(value, _SCALARS):
            raise _wrong(key, value, "which is no single value")
        _check_size(key, value)


def is_names(value: Any) -> bool:
    """Whether this is a list of names."""
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _check_size(key: str, value: Any) -> None:
    most = MOST_LAYERS if key in _LAYERS else MOST
    if isinstance(value, int) and value > most:
        raise _wrong(key, value, f"more than the {most:,} that are possible")


def _is_rope(value: Any) -> bool:
    """A mapping of numbers, names and lists of numbers; one level deeper for single layer types."""
    if not isinstance(value, Mapping):
        return False
    for key, entry in value.items():
        if key in ("full_attention", "sliding_attention") and isinstance(entry, Mapping):
            if any(isinstance(inner, Mapping) for inner in entry.values()) or not _is_rope(entry):
                return False
        elif isinstance(entry, list | tuple):
            if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in entry):
                return False
        elif not isinstance(entry, _SCALARS) or (isinstance(entry, int) and entry > MOST):
            return False
    return True


def _wrong(key: str, value: Any, why: str) -> ModelError:
    return ModelError(f"config.json says that {key} is {shown(value)}, {why}; fetch it anew")
