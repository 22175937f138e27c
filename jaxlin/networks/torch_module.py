"""A module of PyTorch as a function of JAX, so that it is frozen by the same rules as any other.

``torch.export`` writes a module down as a graph of the core operations of PyTorch; each has one line in
:data:`jaxlin.networks.torch_operations.OPERATIONS`. So code of any style can be translated (``forward`` in
plain Python, attention by hand), there is one set of rules for what is frozen, and the maps are computed by
JAX on any of its devices. Freezing inside PyTorch would need every rule a second time.
"""

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlin.errors import JaxlinError
from jaxlin.networks.torch_operations import OPERATIONS


class TorchModule:
    """What a module computes, with its weights as they are at each call."""

    def __init__(self, module: Any) -> None:
        """Take a module that is not in training mode.

        Raises:
            JaxlinError: a part of it is random, or uses the statistics of a batch.
        """
        torch = _torch()
        for name, part in module.named_modules():
            # By what they are for, because a subclass of Dropout or BatchNorm is one as well.
            norm = isinstance(part, torch.nn.modules.batchnorm._BatchNorm)
            drops = isinstance(part, torch.nn.modules.dropout._DropoutNd) and part.p > 0
            if part.training and (norm or drops):
                raise JaxlinError(
                    f"{name or 'the module'} ({type(part).__name__}) is in training mode: call `eval()` of "
                    "the module first"
                )
        self._module = module

    def __call__(self, x: Any) -> Any:
        """The output at an array of JAX; the module is exported for its shape and dtype.

        Raises:
            JaxlinError: the module cannot be exported, or has an operation without a translation.
        """
        exported, map_arg = self._exported(x), _torch().fx.node.map_arg
        weights = {**dict(exported.state_dict), **dict(exported.constants)}
        values: dict[str, Any] = {}
        for spec in exported.graph_signature.input_specs:
            values[spec.arg.name] = x if spec.target is None else _as_array(weights[spec.target])
        outputs: list[Any] = []
        for node in exported.graph.nodes:
            if node.op == "call_function":
                given = map_arg((node.args, dict(node.kwargs)), lambda each: values[each.name])
                with jax.named_scope(f"{node.target} of PyTorch{_line_of(node)}".replace("/", "∕")):
                    values[node.name] = _translated(node)(*given[0], **given[1])
            elif node.op == "output":
                outputs = [values[each.name] for each in node.args[0]]
        if len(outputs) != 1:
            raise JaxlinError(
                f"the module returns {len(outputs)} tensors: give one that returns the output alone"
            )
        return outputs[0]

    def itself(self, x: np.ndarray) -> np.ndarray:
        """The output as PyTorch computes it, to compare with."""
        torch = _torch()
        where = next((weight.device for weight in self._module.parameters()), torch.device("cpu"))
        with torch.no_grad():
            output: np.ndarray = self._module(torch.from_numpy(np.array(x)).to(where)).cpu().numpy()
        return output

    def _exported(self, x: Any) -> Any:
        torch = _torch()
        kind = getattr(torch, jnp.dtype(x.dtype).name)
        weights = [weight.dtype for weight in self._module.parameters() if weight.is_floating_point()]
        if weights and weights[0] != kind:
            raise JaxlinError(
                f"the points are {jnp.dtype(x.dtype).name} and the weights of the module are "
                f"{str(weights[0]).removeprefix('torch.')}: give both in one dtype (for float64 set "
                "jax_enable_x64 as well)"
            )
        where = next((weight.device for weight in self._module.parameters()), torch.device("cpu"))
        example = torch.zeros(x.shape, dtype=kind, device=where)
        try:
            with _in_silence(), warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # torch.export warns of its own code
                return torch.export.export(self._module, (example,)).run_decompositions()
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise JaxlinError(
                f"torch.export cannot write the module down for an input of shape {list(x.shape)} "
                f"({reason}): give points of the shape that it takes, with `batched` if it takes many at once"
            ) from error


def _torch() -> Any:
    """PyTorch; whoever gives a module has imported it, and nobody else should wait for it."""
    return import_module("torch")


@contextmanager
def _in_silence() -> Iterator[None]:
    """torch logs what fails while it exports, which is said in one sentence here."""
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _translated(node: Any) -> Callable[..., Any]:
    if node.target is operator.getitem:
        return lambda values, index: values[index]
    # aten.add.Tensor: the overload says only what the operands are.
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    if name not in OPERATIONS:
        raise JaxlinError(
            f"the operation {node.target} of PyTorch{_line_of(node)} has no translation: leave it out, or "
            "write the network in JAX"
        )
    return OPERATIONS[name]


def _line_of(node: Any) -> str:
    """The line of Python that an operation was written in."""
    lines = (node.meta.get("stack_trace") or "").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""


def _as_array(tensor: Any) -> Any:
    """A weight as an array of JAX."""
    held = tensor.detach().cpu()
    if held.dtype == _torch().bfloat16:
        return jnp.asarray(held.float().numpy(), jnp.bfloat16)
    return jax.device_put(np.array(held.numpy()))
