"""Modules of other libraries as plain functions of the input, with their weights as they are at each call.

Only libraries that are imported already are looked at: a module of one that is not cannot have been given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from jaxlin.errors import JaxlinError


def as_function(f: Any) -> Callable[..., Any]:
    """A module of Flax NNX, Equinox or PyTorch as a function of arrays; any other function as it is.

    Raises:
        JaxlinError: a module in training mode, or nothing that can be called.
    """
    nnx = _loaded("flax.nnx")
    if nnx is not None and isinstance(f, nnx.Module):
        return _Nnx(f)
    torch = _loaded("torch")
    if torch is not None and isinstance(f, torch.nn.Module):
        from jaxlin.networks.torch_module import TorchModule  # with torch, which few need

        return TorchModule(f)
    if _loaded("equinox") is not None:
        _check_equinox(f)
    if not callable(f):
        raise JaxlinError(f"a {type(f).__name__} cannot be called: give a function, or a module")
    return f  # type: ignore[no-any-return]


def _loaded(name: str) -> Any:
    return sys.modules.get(name)


class _Nnx:
    """A module of Flax NNX. What it notes while it runs is noted in a copy."""

    def __init__(self, module: Any) -> None:
        for path, part in _loaded("flax.nnx").iter_modules(module):
            reason = _training(part)
            if reason:
                name = ".".join(map(str, path)) or type(part).__name__
                raise JaxlinError(
                    f"{name} ({type(part).__name__}) is in training mode ({reason}), so that the output is "
                    "no function of the input: call `eval()` of the module first"
                )
        self._module = module

    def __call__(self, x: Any, *parameters: Any) -> Any:
        nnx = _loaded("flax.nnx")
        structure, state = nnx.split(self._module)
        return nnx.merge(structure, state)(x, *parameters)


def _training(part: Any) -> str:
    """Why a part is random, or depends on other points; empty where it does not."""
    rates = [getattr(part, name, 0.0) for name in ("rate", "dropout_rate")]
    drops = any(isinstance(rate, int | float) and rate > 0 for rate in rates)
    if drops and getattr(part, "deterministic", None) is False:
        return "dropout is on"
    if getattr(part, "use_running_average", None) is False:
        return "it uses the statistics of a batch"
    return ""


def _check_equinox(f: Any) -> None:
    """:class:`JaxlinError` if a part of an Equinox module is in training mode."""
    for part in _parts(f, 0):
        name = type(part).__name__
        drops = name == "Dropout" and getattr(part, "p", 0) > 0
        if (drops or name == "BatchNorm") and getattr(part, "inference", True) is False:
            raise JaxlinError(
                f"a {name} of the module is in training mode: give equinox.nn.inference_mode(module)"
            )


def _parts(node: Any, depth: int) -> Iterator[Any]:
    """A module and all modules in it."""
    if depth > 64:
        return
    if is_dataclass(node) and not isinstance(node, type):
        yield node
        inner: Sequence[Any] = [getattr(node, field.name, None) for field in fields(node)]
    elif isinstance(node, list | tuple):
        inner = node
    elif isinstance(node, Mapping):
        inner = list(node.values())
    else:
        return
    for each in inner:
        yield from _parts(each, depth + 1)
