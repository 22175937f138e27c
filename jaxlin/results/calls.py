"""The Python calls that make a saved result again, for somebody who wants to go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What verbs have in common, by their names in a summary, with their defaults.
_SHARED: Mapping[str, Any] = {
    "policy": "detached",
    "span": None,
    "seed": 0,
    "chat": False,
    "no_special_tokens": False,
}


def python_calls(
    summary: Mapping[str, Any], options: Mapping[str, Any], function: str = "", *first: str
) -> str:
    """Lines that end in ``result``, with ``prompt`` left open.

    Args:
        summary: of the result; without a model in it there are no lines.
        options: what the verb is asked for, beside what all verbs have in common.
        function: what is called; the model's own method if not given.
        first: arguments before the prompt.
    """
    if "model" not in summary:
        return ""
    shared = given(summary, **{name: default for name, default in _SHARED.items() if name not in options})
    function = function or f"model.{summary['verb']}"
    call = f"result = {function}({arguments(*first, 'prompt', **{**options, **shared})})"
    return "\n".join(["import jaxlin", "", f"model = {loading(summary)}", call])


def loading(summary: Mapping[str, Any]) -> str:
    """``jaxlin.load`` of the model that a summary names."""
    defaults: dict[str, Any] = {
        "dtype": "float32",
        "precision": summary.get("dtype"),
        "weights": "unpacked",
        "offload": "none",
        "mesh": None,
    }
    return f"jaxlin.load({arguments(repr(summary['model']), **given(summary, **defaults))})"


def arguments(*positions: str, **names: Any) -> str:
    """What stands between the parentheses: Python as it is, then keywords with their values."""
    return ", ".join([*positions, *(f"{name}={value!r}" for name, value in names.items())])


def given(summary: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Options that a summary records and that are not what they are by default."""
    return {
        name: summary[name]
        for name, default in defaults.items()
        if summary.get(name) is not None and summary[name] != default
    }
