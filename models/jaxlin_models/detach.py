"""What is frozen: the freeze policies, and the four ways a block can come by a nonlinear coefficient.

A block never computes a norm statistic, an attention probability or a gate by itself. It asks
``mode.coefficient(…, compute)``, and the mode decides:

* :class:`Plain` computes it: the ordinary forward pass;
* :class:`Detached` computes it under ``stop_gradient`` where the policy freezes it: same values, and the
  derivative of the pass is the detached Jacobian;
* :class:`Record` does the same and keeps what it computed;
* :class:`Replay` does not compute anything: it reads what was recorded. What remains of the block is a
  linear function of its input.

A fifth, :class:`Cached`, is :class:`Plain` with the keys and values of earlier positions at hand.

Blocks ask ``mode.bias`` likewise before they add a bias on the linear path, because the linear part of an
affine map has none. Source of the decomposition: arXiv:2505.24293, §3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array

from jaxlin_models.dial import Dial
from jaxlin_models.errors import ModelError

#: An array, or a pytree that stands for one (``QueriesKeys``, ``GateInput``).
Coefficient = Any

#: What may be the coefficient in a gated product act(g)·up, the rest being live: act(g), or up·act(g)/g.
FACTORS = ("gate", "gated_up")


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

    def factors(self, kind: str) -> tuple[str, ...]:
        """The coefficients that a gated product of this kind is written with, see :class:`Mode`."""
        return tuple(sorted(self.rules[kind])) or FACTORS[:1]


_NOTHING: frozenset[str] = frozenset()


def _linear(name: str, gated_product: set[str]) -> FreezePolicy:
    """Norm statistics and attention probabilities are constants, and so are these factors of a product."""
    rules = {
        "container": _NOTHING,
        "linear": _NOTHING,
        "rms_norm": frozenset({"inverse_rms"}),
        "softmax_attention": frozenset({"probabilities"}),
        "gated_mlp": frozenset(gated_product),
    }
    return FreezePolicy(name, rules, linear=True)


#: The paper's policy: the activated gate is a constant, the product linear in the up-projection.
DETACHED = _linear("detached", {"gate"})
#: The other factor: act(g) = g·(act(g)/g) with the quotient and the up-projection constant.
DETACHED_GATE = _linear("detached-gate", {"gated_up"})
#: Half of the product by the one, half by the other.
HALF = _linear("half", {"gate", "gated_up"})

#: Nothing is frozen: the ordinary Jacobian.
NONE = FreezePolicy(name="none", rules=dict.fromkeys(DETACHED.rules, _NOTHING), linear=False)

POLICIES: Mapping[str, FreezePolicy] = {
    policy.name: policy for policy in (DETACHED, DETACHED_GATE, HALF, NONE)
}


@runtime_checkable
class Mode(Protocol):
    """How one part of the model (a layer, the final norm) comes by its coefficients and biases."""

    @property
    def dial(self) -> Dial:
        """In what form coefficients are to be computed, where this mode computes them."""

    @property
    def differentiated(self) -> bool:
        """Whether JAX may be asked for a derivative; what has its coefficients is transposed at most."""

    @property
    def kept(self) -> Mapping[str, Coefficient]:
        """The coefficients this mode was asked for and kept; empty unless it records."""

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        """The coefficient ``name`` of the module of this ``kind`` that sits at ``site``."""

    def factors(self, kind: str, site: str) -> tuple[str, ...]:
        """The coefficients (of :data:`FACTORS`) with which to write the gated product at ``site``.

        With several, the product is the mean of as many ways to write it.
        """

    def bias(self, value: Array) -> Array | None:
        """The bias to add on the linear path, or None where there is none to add."""

    def remember(self, site: str, name: str, value: Array) -> Array:
        """Keys or values [..., t, heads, h] of these positions, with those of earlier ones if there are."""


class Plain:
    """Compute every coefficient; derivatives flow through them."""

    @property
    def dial(self) -> Dial:
        return Dial()

    @property
    def differentiated(self) -> bool:
        return True

    @property
    def kept(self) -> Mapping[str, Coefficient]:
        return {}

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        return compute()

    def factors(self, kind: str, site: str) -> tuple[str, ...]:
        return FACTORS[:1]

    def bias(self, value: Array) -> Array | None:
        return value

    def remember(self, site: str, name: str, value: Array) -> Array:
        return value


class Cached(Plain):
    """Compute every coefficient; keys and values are written into a cache, and those in it are read.

    Args:
        cache: ``site.name`` -> keys or values [..., capacity, heads, h].
        start: the number of the first position that is computed now.
    """

    def __init__(self, cache: Mapping[str, Array], start: Array) -> None:
        self._cache = cache
        self._start = start
        self._kept: dict[str, Array] = {}

    @property
    def kept(self) -> Mapping[str, Array]:
        return self._kept

    def remember(self, site: str, name: str, value: Array) -> Array:
        cache = self._cache[f"{site}.{name}"]
        whole = jax.lax.dynamic_update_slice_in_dim(cache, value.astype(cache.dtype), self._start, axis=-3)
        self._kept[f"{site}.{name}"] = whole
        return whole.astype(value.dtype)


@dataclass(frozen=True)
class Detached(Plain):
    """Compute every coefficient, under ``stop_gradient`` where the policy freezes it."""

    policy: FreezePolicy

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        value = compute()
        return jax.lax.stop_gradient(value) if self.policy.freezes(kind, name) else value

    def factors(self, kind: str, site: str) -> tuple[str, ...]:
        return self.policy.factors(kind)


class Record(Plain):
    """Compute every coefficient in the form that the dial asks for, freeze it, keep it as ``site.name``.

    For linear policies, which freeze every coefficient that there is.
    """

    def __init__(self, policy: FreezePolicy, dial: Dial) -> None:
        self._policy = policy
        self._dial = dial
        self._kept: dict[str, Coefficient] = {}

    @property
    def dial(self) -> Dial:
        return self._dial

    @property
    def differentiated(self) -> bool:
        return False

    @property
    def kept(self) -> Mapping[str, Coefficient]:
        return self._kept

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        self._kept[f"{site}.{name}"] = value = jax.lax.stop_gradient(compute())
        return value

    def factors(self, kind: str, site: str) -> tuple[str, ...]:
        return self._policy.factors(kind)


@dataclass(frozen=True)
class Replay(Plain):
    """Read every coefficient; without ``biases`` the part is its own linear part."""

    recorded: Mapping[str, Coefficient]
    biases: bool

    @property
    def differentiated(self) -> bool:
        return False

    def coefficient(self, kind: str, site: str, name: str, compute: Callable[[], Coefficient]) -> Coefficient:
        return self.recorded[f"{site}.{name}"]

    def factors(self, kind: str, site: str) -> tuple[str, ...]:
        return tuple(name for name in FACTORS if f"{site}.{name}" in self.recorded)

    def bias(self, value: Array) -> Array | None:
        return value if self.biases else None
