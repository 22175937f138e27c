"""A model: tokens in, its detached Jacobian out.

Knows both :mod:`jaxlin_models` and the engine.
"""

from __future__ import annotations

import weakref
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
from flax import nnx
from jaxlin_models.decoder import Graph, Weights
from jaxlin_models.offload import on_host
from jaxlin_models.sharding import held_by_one
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.prompts.head import HeadAt
from jaxlin.prompts.operators import ordinary_operator, record, whole_operator
from jaxlin.prompts.prediction import prediction_check
from jaxlin.prompts.readout import Readout
from jaxlin.prompts.recording import Recording
from jaxlin.prompts.text import Prompt, up_to
from jaxlin.results.labels import Labels
from jaxlin.runtime.device import has_own_memory
from jaxlin.runtime.offload import check_offload


@dataclass(frozen=True, eq=False, repr=False)
class Model(Readout):
    """A decoder and its tokenizer.

    Its weights are read when they are first needed; config and tokenizer are there before.

    Attributes:
        offload: what is offloaded to the host's memory, as in :func:`jaxlin.load`. Recordings for which
            no dial is given go by it.
        asked_precision: what was asked for when it was loaded; None where the dtype's own was left to apply.
    """

    offload: str = "none"
    asked_precision: str | None = None

    def __repr__(self) -> str:
        config, source = self.config, self.source
        sizes = f"{config.num_layers} layers, width {config.embed_dim}"
        return f"Model({source.name}, {config.family}, {sizes}, {source.dtype})"

    @property
    def name(self) -> str:
        """What was asked for when it was loaded; of a model in memory its own name, or its class."""
        return self.source.name

    @property
    def dtype_name(self) -> str:
        """How weights and coefficients are stored: ``float32``, ``float64`` or ``bfloat16``."""
        return self.source.dtype

    @property
    def precision(self) -> str:
        """How they are multiplied, see :mod:`jaxlin_models.precision`."""
        return self.source.precision

    @property
    def checkpoint(self) -> models.Checkpoint | None:
        """The files it is loaded from; None where it was handed over in memory."""
        return self.source.checkpoint

    @property
    def weights_sha256(self) -> str | None:
        """sha256 over the names and contents of the weights, as hex; None of a decoder in memory.

        Of a torch model in memory it is that of the tensors as they were read.
        """
        return self.source.weights_sha256()

    @property
    def held_bytes(self) -> int:
        """Bytes of a device's memory that the weights hold: 0 as long as they are not read."""
        if "decoder" not in self.__dict__:
            return 0
        apart = has_own_memory()
        leaves = jax.tree.leaves(nnx.state(self.decoder))
        return sum(held_by_one(leaf) for leaf in leaves if not (apart and on_host(leaf)))

    def facts(self) -> dict[str, Any]:
        """Which model it is and how it computes, by the names of result.json."""
        source, checkpoint = self.source, self.checkpoint
        return {
            "model": source.name,
            "family": self.config.family,
            "revision": None if checkpoint is None else checkpoint.revision,
            "weights_sha256": self.weights_sha256,
            "dtype": source.dtype,
            "precision": source.precision,
            "weights": "unpacked" if source.forms() is None else "packed",
            "offload": self.offload,
            **self._mesh(),
            "matmul_algorithm": models.algorithm(source.precision, jax.default_backend()),
        }

    def jacobian(
        self,
        prompt: Prompt,
        *,
        policy: str = "detached",
        position: int | None = None,
        dial: models.Dial | None = None,
        length: int | None = None,
    ) -> DetachedJacobian:
        """The map from the prompt's embeddings [T, d] to a hidden state [d], after the final norm.

        Args:
            prompt: text, or token ids, which are used as they are.
            policy: ``detached``, ``detached-gate`` or ``half`` (recorded once, then replayed; they differ in
                which factor of a gated MLP stays live), or ``none`` (the ordinary Jacobian).
            position: whose hidden state, counted from 0, or from the end if negative; the last if not
                given. What comes after it cannot act on it, so the map is of the prompt up to there.
            dial: what is stored of each layer and what computed again in every pass; see
                :mod:`jaxlin_models.dial`; by the prompt's length, with memory linear in it, if not given.
                Has no meaning under policy ``none``.
            length: pad the input to so many positions, so that prompts of other lengths up to there share
                one compilation. What stands behind the output cannot act on it: J is 0 there, and the labels
                are those of the prompt's own tokens.

        Raises:
            JaxlinError: a prompt that cannot be used or padded, a position outside it, an unknown policy, or
                ``none`` where the layers' weights are offloaded.
            models.UnknownModuleKind: the policy has no rule for a module of this model.
        """
        linear = _policy(policy).linear
        check_offload(self.offload, linear=linear)
        ids = up_to(self.tokenize(prompt), position, self.config)
        padding = 0 if length is None else self._padding(len(ids), length, policy)
        x = self._embed(ids, policy, padding)
        labels = self._labels(ids, policy, self._dial(dial, len(x)) if linear else None)
        if linear:
            operator = whole_operator(
                *self._split(),
                x,
                self._dial(dial, len(x)),
                policy,
                None if length is None else jnp.asarray(len(ids) - 1),
                **self._arithmetic(),
                labels=labels,
            )
        else:
            operator = ordinary_operator(*nnx.split(self.decoder), x, labels)
        self._check(operator.y)
        return replace(operator, labels=self._predicting(labels, ids, operator.y))

    def record(
        self,
        prompt: Prompt,
        *,
        policy: str = "detached",
        position: int | None = None,
        dial: models.Dial | None = None,
    ) -> Recording:
        """The prompt's coefficients, for maps of single layers and modules; arguments as in :meth:`jacobian`.

        Raises:
            JaxlinError: as there, and a policy that is not linear: nothing can be recorded then.
        """
        if not _policy(policy).linear:
            raise JaxlinError(f"policy {policy!r} leaves nothing to record: choose one that freezes")
        ids = up_to(self.tokenize(prompt), position, self.config)
        x = self._embed(ids, policy)
        dial = self._dial(dial, len(x))
        graphdef, weights = self._split()
        y, recorded = record(graphdef, weights, x, dial, policy)
        self._check(y)
        labels = self._labels(ids, policy, dial)
        return Recording(
            graphdef,
            weights,
            recorded,
            x,
            y,
            self.config.num_layers,
            **self._arithmetic(),
            labels=self._predicting(labels, ids, y),
        )

    def generate(
        self,
        prompt: Prompt,
        count: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        addition: models.Addition | None = None,
    ) -> list[int]:
        """Continue a prompt by ``count`` tokens and return their ids; see :func:`jaxlin_models.generate`.

        Raises:
            JaxlinError: a prompt that cannot be used.
            models.ModelError: more tokens than positions, or a temperature below 0.
        """
        ids = jnp.asarray([self.tokenize(prompt)])
        tokens, _ = models.generate(
            self.decoder,
            ids,
            count,
            key=jax.random.key(seed),
            temperature=temperature,
            addition=addition,
        )
        return [int(token) for token in tokens[0]]

    def _dial(self, dial: models.Dial | None, length: int) -> models.Dial:
        return models.Dial.for_length(length, offload=self.offload != "none") if dial is None else dial

    def _split(self) -> tuple[Graph, Weights]:
        """The decoder in two halves; the same arrays for as long as somebody holds those of the last call."""
        graphdef, weights = nnx.split(self.decoder)
        now = jax.tree.leaves(weights)
        before, made, kind = self.__dict__.get("_halves", ((), (), None))
        same = len(before) == len(now) and all(old() is new for old, new in zip(before, now, strict=True))
        leaves = [each() for each in made]
        if same and leaves and None not in leaves:
            return graphdef, jax.tree.unflatten(kind, leaves)
        stored = models.stacks_as_bits(weights)
        refs = [tuple(map(weakref.ref, jax.tree.leaves(tree))) for tree in (weights, stored)]
        self.__dict__["_halves"] = (*refs, jax.tree.structure(stored))
        return graphdef, stored

    def _mesh(self) -> dict[str, str]:
        """Over how many devices it is spread, if it is."""
        layout = self.source.spread
        return {} if layout is None else {"mesh": str(layout)}

    def _arithmetic(self) -> dict[str, Any]:
        """What the certificate's limits need to know."""
        roundoff = models.unit_roundoff(self.source.precision)
        return {"biased": self.config.has_linear_biases, "roundoff": roundoff}

    def _embed(self, ids: list[int], policy: str, padding: int = 0) -> Float[Array, "t d"]:
        """What enters layer 0, once the policy is known to have a rule for every module of this decoder."""
        _policy(policy).check(self.decoder.kinds())
        return self.decoder.embed(jnp.asarray([*ids, *ids[-1:] * padding]))

    def _padding(self, count: int, length: int, policy: str) -> int:
        """By how many positions so many tokens are padded."""
        most = self.config.max_positions
        if not _policy(policy).linear or not count <= length <= most:
            raise JaxlinError(
                f"{count} tokens cannot be padded to {length} under policy {policy!r}: choose a length "
                f"from there to {most}, and a policy that freezes"
            )
        if self.config.rope_full.differs_between(count, length):
            raise JaxlinError(
                f"this model turns positions by other angles in longer prompts (longrope): do not pad "
                f"{count} tokens to {length}"
            )
        return length - count

    def _labels(self, ids: list[int], policy: str, dial: models.Dial | None) -> Labels:
        facts = {"policy": policy, "dial": None if dial is None else asdict(dial), "span": None}
        texts = tuple(self.token_text(token) for token in ids)
        return Labels(tuple(ids), texts, tuple(range(len(ids))), len(ids) - 1, facts, self)

    def _predicting(self, labels: Labels, ids: list[int], y: Float[Array, " d"]) -> Labels:
        """The labels of a map whose output is what the model predicts from."""
        head = HeadAt(self, y)
        return replace(
            labels,
            prediction=prediction_check(self, ids, y),
            predicted=lambda: head.prediction,
            scoring=lambda: head.rows,
        )

    def _check(self, y: Float[Array, " d"]) -> None:
        wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
        if not bool(jnp.isfinite(jnp.vdot(wide, wide))):  # lengths are the least that is computed of it
            raise JaxlinError(
                f"the model's output at this prompt is not finite in {self.source.dtype}, or its length is "
                f"not: choose a wider `dtype`, or another checkpoint if it is float64 already"
            )


def _policy(name: str) -> models.FreezePolicy:
    if name not in models.POLICIES:
        raise JaxlinError(
            f"unknown policy {shortened(name)!r}: choose one of {', '.join(sorted(models.POLICIES))}"
        )
    return models.POLICIES[name]
