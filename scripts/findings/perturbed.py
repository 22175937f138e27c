"""One prompt whose embeddings are changed: what the network does then, and what its maps say that it does.

The network is the ordinary forward pass, nothing in it is frozen. Two maps tell in advance what a change δ
of the embeddings will do to the logits: the detached one, W·J·δ with its final norm and soft-cap frozen,
and the ordinary Jacobian (policy ``none``), which is the derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxlin_models.decoder import Graph, Weights
from jaxtyping import Array, Float
from matrices import without_check_of_prediction

import jaxlin
from jaxlin import DetachedJacobian, Model
from jaxlin.analyses.weighing import images_of, weighed
from jaxlin.prompts.head import HeadAt
from jaxlin.prompts.text import Prompt

#: The maps by the names of their policies.
MAPS = ("detached", "none")

#: Residual of singular triplets, as a multiple of σ₁: what is removed need not be nearer.
TOLERANCE = 1e-3

Vectors = Float[np.ndarray, "k t d"]
Logits = Float[np.ndarray, "n vocab"]


@dataclass(frozen=True, eq=False)
class Perturbed:
    """A prompt of a model."""

    model: Model
    prompt: Prompt

    @cached_property
    def maps(self) -> dict[str, DetachedJacobian]:
        """The detached map and the ordinary one, from the embeddings to the last hidden state."""
        made = {policy: self.model.jacobian(self.prompt, policy=policy) for policy in MAPS}
        return {policy: without_check_of_prediction(operator) for policy, operator in made.items()}

    @property
    def detached(self) -> DetachedJacobian:
        """The detached one."""
        return self.maps["detached"]

    @cached_property
    def x(self) -> Float[np.ndarray, "t d"]:
        """The embeddings as they are."""
        return np.asarray(self.detached.x, np.float64)

    @cached_property
    def head(self) -> HeadAt:
        """The head at the output as it is."""
        return HeadAt(self.model, self.detached.y)

    @cached_property
    def logits(self) -> Float[np.ndarray, " vocab"]:
        """Those of the prompt as it is, by the same program as all others."""
        logits: np.ndarray = self.logits_at(np.zeros((1, *self.x.shape)))[0]
        return logits

    def logits_at(self, changes: Float[np.ndarray, "n t d"]) -> Logits:
        """The network's logits where its embeddings are x + δ, of every δ."""
        graphdef, weights = nnx.split(self.model.decoder)
        step, found = self.detached.probes_per_pass, []
        for start in range(0, len(changes), step):
            some = changes[start : start + step]
            filled = np.zeros((step, *self.x.shape))  # so that one program serves all
            filled[: len(some)] = some
            entering = jnp.asarray(self.x + filled, self.detached.dtype)
            found.append(np.asarray(_logits(graphdef, weights, entering))[: len(some)])
        return np.concatenate(found).astype(np.float64)

    def told(self, changes: Float[np.ndarray, "n t d"], policy: str) -> Logits:
        """The changes of the logits that a map predicts for every δ."""
        hidden = images_of(self.maps[policy], changes).astype(np.float64)
        return self.head.changes(hidden, frozen=policy == "detached")

    def directions(self, k: int, seed: int) -> tuple[dict[str, Vectors], bool]:
        """k orthonormal right vectors of every kind, and whether the certificates of the singular ones hold.

        ``hidden`` and ``fisher`` are the first singular directions of the detached map in these metrics.
        ``row space`` are random in the row space of the map, ``isotropic`` anywhere. Of ``gradient × input``
        each is the gradient of the predicted token's centred logit in one token's embedding, the tokens with
        the largest |gradient · embedding| first; there are no more than tokens.
        """
        operator, rows = self.detached, self.head.metric("fisher")
        k = min(k, *operator.shape)
        solve = partial(jaxlin.svd, seed=seed, tolerance=TOLERANCE)
        hidden = solve(operator, k)
        fisher = solve(weighed(operator, rows, "fisher"), min(k, len(rows)))
        random = np.random.default_rng(seed)
        pulled = _pulled(operator, random.standard_normal((k, operator.shape[0])))
        found = {
            "hidden": np.asarray(hidden.V, np.float64),
            "fisher": np.asarray(fisher.V, np.float64),
            "row space": _orthonormal(pulled),
            "isotropic": _orthonormal(random.standard_normal((k, *self.x.shape))),
            "gradient × input": self._of_gradient(k),
        }
        return found, hidden.certificate.holds and fisher.certificate.holds

    def _of_gradient(self, k: int) -> Vectors:
        gradient = _pulled(self.maps["none"], self.head.rows[:1])[0]
        order = np.argsort(-np.abs((gradient * self.x).sum(-1)), kind="stable")[:k]
        found = np.zeros((len(order), *self.x.shape))
        for number, t in enumerate(order):
            length = float(np.linalg.norm(gradient[t]))
            found[number, t] = gradient[t] / length if length > 0 else 0
        return found


def removal(v: Vectors, x: Float[np.ndarray, "t d"]) -> Float[np.ndarray, "t d"]:
    """δ = −Σ v⟨v, x⟩: x + δ has nothing left along these directions."""
    flat = v.reshape(len(v), -1)
    removed: np.ndarray = -(flat.T @ (flat @ x.ravel())).reshape(x.shape)
    return removed


def compared(
    logits: Float[np.ndarray, " vocab"], real: Float[np.ndarray, " vocab"], told: Float[np.ndarray, " vocab"]
) -> dict[str, float]:
    """How the change that a map told of compares with the one that happened, both without their means.

    ``logit`` is the change of the centred logit of the token that was predicted, ``correlation`` that of both
    changes over the vocabulary, ``error`` ‖told − real‖ / ‖real‖, and ``kl`` the divergence of the prediction
    before from that after, in nats, as the map has it.
    """
    best = int(np.argmax(logits))
    one, other = told - told.mean(), real - real.mean()
    lengths = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    both = lengths[0] * lengths[1]
    return {
        "logit": float(one[best]),
        "correlation": float(one @ other) / both if both else 0.0,
        "error": float(np.linalg.norm(one - other)) / lengths[1] if lengths[1] else 0.0,
        "kl": divergence(logits, logits + told),
    }


def divergence(before: Float[np.ndarray, " vocab"], after: Float[np.ndarray, " vocab"]) -> float:
    """KL of the predictions that two rows of logits make, in nats."""
    first, second = (logits - np.logaddexp.reduce(logits) for logits in (before, after))
    return float(np.exp(first) @ (first - second))


def _pulled(operator: DetachedJacobian, rows: Float[np.ndarray, "r m"]) -> Vectors:
    chunks = [np.asarray(pulled, np.float64) for _, pulled in operator.rows(rows)]
    return np.concatenate(chunks)


def _orthonormal(vectors: Vectors) -> Vectors:
    found: np.ndarray = np.linalg.qr(vectors.reshape(len(vectors), -1).T)[0].T.reshape(vectors.shape)
    return found


@partial(jax.jit, static_argnums=0)
def _logits(graphdef: Graph, weights: Weights, x: Float[Array, "n t d"]) -> Float[Array, "n vocab"]:
    decoder = nnx.merge(graphdef, weights)
    logits: Array = decoder.logits(decoder.run(x, lambda _: models.Plain(), position=-1)[0])
    return logits
