"""What is frozen: the freeze policies, and the four ways a block can come by a nonlinear coefficient.

A block never computes a norm statistic, an attention probability or a gate by itself. It asks
``mode.coefficient(…, compute)``, and the mode decides:

* :class:`Plain` computes it: the ordinary forward pass;
* :class:`Detached` computes it under ``stop_gradient`` where the policy freezes it: same values, and the
  derivative of the pass is the detached Jacobian;
* :class:`Record` does the same and keeps what it computed;
* :class:`Replay` does not compute anything: it reads what was recorded. What remains of the block is a
  linear function of its input.

Blocks ask ``mode.bias`` likewise before they add a bias on the linear path, because the linear part of an
affine map has none. Source of the decomposition: arXiv:2505.24293, §3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array

from models.dial import Dial
from models.errors import ModelError

#: An array, or a pytree that stands for one (``QueriesKeys``, ``GateInput``).
Coefficient = Any


class UnknownModuleKind(ModelError):
    """The freeze policy has no rule for a kind of module that the model contains."""


@dataclass(frozen=True)
class FreezePolicy:
    """Which coefficients are frozen, for each kind of module.

    ``rules`` maps a module kind to the names of the coefficients of it that are frozen; a kind that is
    missing is unknown, which is an error and not "nothing frozen".
    """

    name: str
    rules: Mapping[str, frozenset[str]]
    #: Whether everything nonlinear is frozen, so that the map can be recorded once and replayed.
    linear: bool

    def check(self, kinds: Iterable[str]) -> None:
        """Raise :class:`UnknownModuleKind` if any of ``kinds`` has no rule."""
        unknown = sorted(set(kinds) - set(self.rules))
        if unknown:
            raise UnknownModuleKind(
                f"freeze policy {self.name!r} has no rule for module kind {', '.join(unknown)}: "
                f"say in models/detach.py what it freezes there"
            )

    def freezes(self, kind: str, name: str) -> bool:
        """Whether coefficient ``name`` of a module of this kind is frozen."""
        return name in self.rules[kind]


_NOTHING: frozenset[str] = frozenset()

#: The paper's policy: norm statistics, attention probabilities and gate activations are constants.
DETACHED = FreezePolicy(
    name="detached",
    rules={
        "container": _NOTHING,
        "linear": _NOTHING,
        "rms_norm": frozenset({"inverse_rms"}),
        "softmax_attention": frozenset({"probabilities"}),
        "gated_mlp": frozenset({"gate"}),
    },
    linear=True,
)

#: Nothing is frozen: the ordinary Jacobian.
NONE = FreezePolicy(name="none", rules=dict.fromkeys(DETACHED.rules, _NOTHING), linear=False)

POLICIES: Mapping[str, FreezePolicy] = {policy.name: policy for policy in (DETACHED, NONE)}


@runtime_checkable
class Mode(Protocol):
    """How one part of the model (a layer, the final norm) comes by its coefficients and biases."""

    @property
    def dial(self) -> Dial:
        """In what form coefficients are to be computed, where this mode computes them."""

    @property
    def kept(self) -> Mapping[str, Coefficient]:
        """The coefficients this mode was asked for and kept; empty unless it records."""

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        """The coefficient ``name`` of the module of this ``kind`` that sits at ``site``."""

    def bias(self, value: Array) -> Array | None:
        """The bias to add on the linear path, or None where there is none to add."""


class Plain:
    """Compute every coefficient; derivatives flow through them."""

    @property
    def dial(self) -> Dial:
        return Dial()

    @property
    def kept(self) -> Mapping[str, Coefficient]:
        return {}

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        return compute()

    def bias(self, value: Array) -> Array | None:
        return value


@dataclass(frozen=True)
class Detached(Plain):
    """Compute every coefficient, under ``stop_gradient`` where the policy freezes it."""

    policy: FreezePolicy

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        value = compute()
        return jax.lax.stop_gradient(value) if self.policy.freezes(kind, name) else value


class Record(Plain):
    """Compute every coefficient in the form that the dial asks for, freeze it, keep it as ``site.name``."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._kept: dict[str, Coefficient] = {}

    @property
    def dial(self) -> Dial:
        return self._dial

    @property
    def kept(self) -> Mapping[str, Coefficient]:
        return self._kept

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        self._kept[f"{site}.{name}"] = value = jax.lax.stop_gradient(compute())
        return value


@dataclass(frozen=True)
class Replay(Plain):
    """Read every coefficient; without ``biases`` the part is its own linear part."""

    recorded: Mapping[str, Coefficient]
    biases: bool

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        return self.recorded[f"{site}.{name}"]

    def bias(self, value: Array) -> Array | None:
        return value if self.biases else None
