"""The one result type of every SVD method."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxlin.certificate import Certificate
from jaxlin.operator import Leaf


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class SVDResult:
    """The k largest singular triplets of an operator, J·V[i] = s[i]·U[i], and what they cost.

    Attributes:
        U: left vectors [k, *output_shape], orthonormal; signs such that ⟨u, y⟩ ≥ 0.
        s: singular values [k], falling, in float32 or better.
        V: right vectors [k, *input_shape], orthonormal.
        residuals: √(‖Jv − σu‖² + ‖Jᵀu − σv‖²) of each triplet [k], absolute, from fresh passes.
        method: the method that was used, ``dense`` or ``matfree``.
        passes: passes of the whole network that were spent, those of the certificate included.
        seconds: wall time.
        seed: seed of every random vector that was drawn.
        certificate: fresh checks of the result.
    """

    U: Leaf
    s: Leaf
    V: Leaf
    residuals: Leaf
    method: str = field(metadata={"static": True})
    passes: int = field(metadata={"static": True})
    seconds: float = field(metadata={"static": True})
    seed: int = field(metadata={"static": True})
    certificate: Certificate = field(metadata={"static": True})

    @property
    def converged(self) -> Bool[Array, " k"]:
        """Which triplets meet the certificate's tolerance."""
        return self.residuals <= self.certificate.tolerance * self.s[0]


@dataclass(frozen=True, eq=False)
class Triplets:
    """What a method hands over: flat vectors, falling values, and the passes they cost."""

    u: Float[Array, "k m"]
    s: Float[Array, " k"]
    v: Float[Array, "k n"]
    passes: int


def solver_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Factorisations and orthogonalisation are done in float32 or better."""
    return jnp.promote_types(dtype, jnp.float32)
