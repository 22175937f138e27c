"""The Python calls that make a saved result again, for somebody who wants to go on from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Summary = Mapping[str, Any]


def python_of(summary: Summary) -> str:
    """Lines that end in ``result``, with ``prompt`` left open: text or ids, up to the output's position.

    Empty where so few do not: of part of a map (a span, a target's row), and of ``compare`` and ``steer``.
    """
    verb = summary["verb"]
    part = summary.get("span") is not None or (verb == "svd" and summary["target"] is not None)
    if verb not in _CALLS or part:
        return ""
    loading = _given(dtype=(summary["dtype"], "float32"), precision=(summary["precision"], summary["dtype"]))
    model = f"model = jaxlin.load({', '.join([repr(summary['model']), *loading])})"
    return "\n".join(["import jaxlin", "", model, *_CALLS[verb](summary)])


def _given(**options: tuple[Any, Any]) -> list[str]:
    """Those that are not what they are by default, as keywords."""
    return [f"{name}={value!r}" for name, (value, default) in options.items() if value != default]


def _operator(summary: Summary, method: str = "jacobian") -> str:
    arguments = ["prompt", *_given(policy=(summary["policy"], "detached"))]
    return f"model.{method}({', '.join(arguments)})"


def _whole(summary: Summary) -> list[str]:
    seed = _given(seed=(summary["seed"], 0))
    how = [f"method={summary['method']!r}", f"tolerance={summary['tolerance']!r}", *seed]
    call = ", ".join(["operator", str(summary["k"]), *how])
    return [f"operator = {_operator(summary)}", f"result = jaxlin.{summary['verb']}({call})"]


def _layers(summary: Summary) -> list[str]:
    options = _given(seed=(summary["seed"], 0), normed=(summary["normed"], True))
    call = ["recording", str(summary["k"]), f"parts={tuple(summary['parts'])!r}", f"at={summary['layers']!r}"]
    return [
        f"recording = {_operator(summary, 'record')}",
        f"result = jaxlin.layers({', '.join([*call, *options])})",
    ]


def _attribute(summary: Summary) -> list[str]:
    k = len(summary.get("per_direction", ()))
    directions = f", jaxlin.svd(operator, {k})" if k else ""
    return [
        "from jaxlin.target import parse_target",
        "",
        f"recording = {_operator(summary, 'record')}",
        "operator = recording.stretch(0, recording.num_layers - 1)",
        f"row = model.logit_row(operator.y, parse_target({summary['target']!r}))",
        f"result = jaxlin.attribute(operator, recording, row{directions})",
    ]


_CALLS: Mapping[str, Callable[[Summary], list[str]]] = {
    "svd": _whole,
    "tokens": _whole,
    "layers": _layers,
    "attribute": _attribute,
}
