"""A loaded model: tokens in, its detached Jacobian out.

Knows both :mod:`jaxlin_models` and the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int
from transformers import PreTrainedTokenizerBase

from jaxlin.errors import JaxlinError
from jaxlin.linear.linearize import linearize
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.prompts.recording import Recording
from jaxlin.prompts.target import LogitTarget
from jaxlin.runtime.offload import check_offload

#: The output is the last token's hidden state.
_LAST = -1


@dataclass(frozen=True)
class Model:
    """A decoder, and what is needed to speak with it in tokens.

    Attributes:
        checkpoint: where it was loaded from; None where it was handed over as it is.
        decoder: the network.
        own_tokenizer: one to use instead of the checkpoint's.
        offload: what was asked to wait in the host's memory, as in :func:`jaxlin.load`. Recordings for which
            no dial is given go by it.
    """

    checkpoint: models.Checkpoint | None
    decoder: models.Decoder
    own_tokenizer: PreTrainedTokenizerBase | None = None
    offload: str = "none"

    @property
    def has_tokenizer(self) -> bool:
        """Whether prompts may be text, and tokens are spelled."""
        brought = self.checkpoint is not None and models.has_tokenizer(self.checkpoint)
        return brought or self.own_tokenizer is not None

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, the checkpoint's own if none was given.

        Raises:
            JaxlinError: a decoder that came without one.
            models.ModelError: a checkpoint that has none, or none that can be read.
        """
        if self.own_tokenizer is not None:
            return self.own_tokenizer
        if self.checkpoint is None:
            raise JaxlinError("this decoder has no tokenizer: give one to jaxlin.load, or prompts as ids")
        return models.load_tokenizer(self.checkpoint)

    @cached_property
    def weights_sha256(self) -> str | None:
        """sha256 over the names and contents of the weight files, as hex; None where there are no files."""
        return None if self.checkpoint is None else models.weights_hash(self.checkpoint)

    def tokenize(self, prompt: str | Sequence[int]) -> list[int]:
        """Token ids of a prompt, with the tokenizer's own special tokens; ids are only checked.

        Raises:
            JaxlinError: nothing to work on, an id out of range, or more tokens than positions.
        """
        return _token_ids(self.decoder.config, prompt, lambda: self.tokenizer)

    def token_text(self, token: int) -> str:
        """The text of one token as its tokenizer spells it, or ``#id`` where there is no tokenizer."""
        if not self.has_tokenizer:
            return f"#{token}"
        return str(self.tokenizer.decode([token]))

    def jacobian(
        self,
        prompt: str | Sequence[int],
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
                :mod:`jaxlin_models.dial`; ``Dial()``, offloaded if the model was loaded so, if not given.
                Has no meaning under policy ``none``.
            length: pad the input to so many positions, so that prompts of other lengths up to there share
                one compilation. What stands behind the output cannot act on it: J is 0 there.

        Raises:
            JaxlinError: a prompt that cannot be used or padded, a position outside it, an unknown policy, or
                ``none`` where the layers' weights are offloaded.
            models.UnknownModuleKind: the policy has no rule for a module of this model.
        """
        chosen = self._policy(policy)
        check_offload(self.offload, linear=chosen.linear)
        if length is not None:
            return self._padded(prompt, policy, position, dial, length)
        x = self._embedded(prompt, position)
        if not chosen.linear:
            graphdef, weights = nnx.split(self.decoder)
            operator = linearize(_Output(graphdef), x, weights)
            self._check(operator.y)
            return operator
        y, recording = self._record(x, policy, dial)
        graphdef, state = recording.graphdef, recording.state
        offset = jnp.zeros_like(y)
        if recording.biased:
            offset = jax.jit(_Replay(graphdef, biases=True))(state, jnp.zeros_like(x))
        replay, transpose = _Replay(graphdef), _Transpose(graphdef, len(x))
        return DetachedJacobian(state, x, y, offset, replay, transpose, True, recording.roundoff)

    def _padded(
        self,
        prompt: str | Sequence[int],
        policy: str,
        position: int | None,
        dial: models.Dial | None,
        length: int,
    ) -> DetachedJacobian:
        config = self.decoder.config
        ids = up_to(self.tokenize(prompt), position, config)
        if not self._policy(policy).linear or not len(ids) <= length <= config.max_positions:
            raise JaxlinError(
                f"{len(ids)} tokens cannot be padded to {length} under policy {policy!r}: choose a length "
                f"from there to {config.max_positions}, and a policy that freezes"
            )
        if config.rope_full.differs_between(len(ids), length):
            raise JaxlinError(
                f"this model turns positions by other angles in longer prompts (longrope): do not pad "
                f"{len(ids)} tokens to {length}"
            )
        at = jnp.asarray(len(ids) - 1)
        x = self.decoder.embed(jnp.asarray([*ids, *ids[-1:] * (length - len(ids))]))
        y, recording = self._record(x, policy, dial, at)
        graphdef, state = recording.graphdef, (*recording.state, at)
        offset = jnp.zeros_like(y)
        if recording.biased:
            offset = jax.jit(_Replay(graphdef, biases=True))(state, jnp.zeros_like(x))
        replay, transpose = _Replay(graphdef), _Transpose(graphdef, length)
        return DetachedJacobian(state, x, y, offset, replay, transpose, True, recording.roundoff)

    def record(
        self,
        prompt: str | Sequence[int],
        *,
        policy: str = "detached",
        position: int | None = None,
        dial: models.Dial | None = None,
    ) -> Recording:
        """The prompt's coefficients, for maps of single layers and modules; arguments as in :meth:`jacobian`.

        Raises:
            JaxlinError: as there, and a policy that is not linear: nothing can be recorded then.
        """
        if not self._policy(policy).linear:
            raise JaxlinError(f"policy {policy!r} leaves nothing to record: choose one that freezes")
        return self._record(self._embedded(prompt, position), policy, dial)[1]

    def _record(
        self,
        x: Float[Array, "t d"],
        policy: str,
        dial: models.Dial | None,
        at: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, " d"], Recording]:
        graphdef, weights = nnx.split(self.decoder)
        weights = models.stacks_as_bits(weights)
        dial = models.Dial(offload=self.offload != "none") if dial is None else dial
        y, recorded = _record(graphdef, weights, x, dial, policy, at)
        self._check(y)
        config, roundoff = self.decoder.config, models.unit_roundoff(self.decoder.precision)
        recording = Recording(
            graphdef, (weights, recorded), x, config.num_layers, config.has_linear_biases, roundoff
        )
        return y, recording

    def _policy(self, name: str) -> models.FreezePolicy:
        if name not in models.POLICIES:
            raise JaxlinError(f"unknown policy {name!r}: choose one of {', '.join(sorted(models.POLICIES))}")
        policy = models.POLICIES[name]
        policy.check(self.decoder.kinds())
        return policy

    def _embedded(self, prompt: str | Sequence[int], position: int | None) -> Float[Array, "t d"]:
        ids = up_to(self.tokenize(prompt), position, self.decoder.config)
        return self.decoder.embed(jnp.asarray(ids))

    def _check(self, y: Float[Array, " d"]) -> None:
        if not bool(jnp.isfinite(y).all()):
            raise JaxlinError(
                f"the model's output at this prompt is not finite in {self.decoder.dtype}: choose a wider "
                f"--dtype, or another checkpoint if it is float64 already"
            )

    def generate(
        self,
        prompt: str | Sequence[int],
        count: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        addition: models.Addition | None = None,
    ) -> list[int]:
        """The ids of so many tokens more; see :func:`jaxlin_models.generate`.

        Raises:
            JaxlinError: a prompt that cannot be used.
            models.ModelError: more tokens than positions, or a temperature below 0.
        """
        ids = jnp.asarray([self.tokenize(prompt)])
        found, _ = models.generate(
            self.decoder,
            ids,
            count,
            key=jax.random.key(seed),
            temperature=temperature,
            addition=addition,
        )
        return [int(token) for token in found[0]]

    def text(self, ids: Sequence[int]) -> str:
        """Some tokens as they are read together, special ones too; ``#id`` where there is no tokenizer."""
        if not self.has_tokenizer:
            return " ".join(f"#{token}" for token in ids)
        return str(self.tokenizer.decode(list(ids)))

    def logits(
        self, hidden: Float[Array | np.ndarray, "... d"], *, normed: bool = True
    ) -> Float[Array, "... vocab"]:
        """Scores of the vocabulary for hidden states, through the soft-cap.

        Args:
            hidden: as they leave the final norm, or as they are in the residual stream.
            normed: which of the two; what is not normed goes through the final norm first.
        """
        score = _logits if normed else _logits_of_stream
        return score(self.decoder, jnp.asarray(hidden, self.decoder.working_dtype))

    def logit_row(self, y: Float[Array, " d"], target: LogitTarget) -> Float[Array, "1 d"]:
        """The row w with ⟨w, y⟩ = the target's logit (or difference of two) at the hidden state y.

        A soft-cap is frozen like every other coefficient: cap·tanh(z/cap) = (that / z at y)·z.

        Raises:
            JaxlinError: a token that is several, or an id out of range.
        """
        row = self._logit_row(y, self.token_id(target.plus))
        if target.minus is not None:
            row = row - self._logit_row(y, self.token_id(target.minus))
        return row[None]

    def _logit_row(self, y: Float[Array, " d"], token: int) -> Float[Array, " d"]:
        row = self.decoder.head_rows(jnp.asarray([token]))[0].astype(y.dtype)
        logit, raw = self.logits(y)[token], jnp.vdot(row, y, precision="highest")
        capped = self.decoder.config.final_logit_softcap is not None
        return row * jnp.where(raw == 0, 1, logit / raw) if capped else row

    def token_id(self, token: str | int) -> int:
        """The id of a token given as text, with the blank it begins with, or as a number.

        Raises:
            JaxlinError: text that is several tokens or none, or a number out of range.
        """
        vocab = self.decoder.config.vocab_size
        if isinstance(token, int):
            if not 0 <= token < vocab:
                raise JaxlinError(f"token id {token} is out of range: ids go from 0 to {vocab - 1} here")
            return token
        ids = self.tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:  # some tokenizers put a blank of their own before the first word
            spelled = self.tokenizer.convert_tokens_to_ids(token.replace(" ", "▁"))
            known = isinstance(spelled, int) and spelled != self.tokenizer.unk_token_id
            ids = [spelled] if known else ids
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            pieces = ", ".join(repr(self.token_text(i)) for i in ids)
            raise JaxlinError(
                f"the target {token!r} is {len(ids)} tokens ({pieces}): choose a single one, blank included"
            )
        return ids[0]

    def vocabulary(self) -> Float[Array, "vocab d"]:
        """Every token's embedding as the checkpoint has it, before Gemma's scaling."""
        return self.decoder.embedding[...]


def tokenize(
    checkpoint: models.Checkpoint,
    prompt: str | Sequence[int],
    tokenizer: Callable[[], PreTrainedTokenizerBase] | None = None,
) -> list[int]:
    """:meth:`Model.tokenize` of a checkpoint whose weights nobody has read.

    ``tokenizer`` gives one that is loaded already.
    """
    load = partial(models.load_tokenizer, checkpoint)
    return _token_ids(checkpoint.config, prompt, load if tokenizer is None else tokenizer)


def _token_ids(
    config: models.DecoderConfig,
    prompt: str | Sequence[int],
    tokenizer: Callable[[], PreTrainedTokenizerBase],
) -> list[int]:
    if isinstance(prompt, str) and not prompt.strip():
        raise JaxlinError("the prompt is empty: give some text, or --token-ids")
    ids = tokenizer()(prompt)["input_ids"] if isinstance(prompt, str) else list(prompt)
    if not ids:
        raise JaxlinError("the prompt is empty: give some text, or --token-ids")
    wrong = [token for token in ids if not 0 <= token < config.vocab_size]
    if wrong:
        raise JaxlinError(
            f"token id {wrong[0]} is out of range: this model's ids go from 0 to {config.vocab_size - 1}"
        )
    if len(ids) > config.max_positions:
        raise JaxlinError(
            f"the prompt has {len(ids)} tokens and the model {config.max_positions} positions: shorten it"
        )
    return ids


def up_to(ids: list[int], position: int | None, config: models.DecoderConfig) -> list[int]:
    """The tokens up to an output position, which do for its hidden state.

    Raises:
        JaxlinError: it is outside the prompt, or the model would treat the shorter prompt otherwise.
    """
    if position is None:
        return ids
    if not -len(ids) <= position < len(ids):
        raise JaxlinError(
            f"output position {position} is outside the prompt: choose from 0 to {len(ids) - 1}"
        )
    seen = ids[: position % len(ids) + 1]
    if config.rope_full.differs_between(len(seen), len(ids)):
        raise JaxlinError(
            f"this model turns positions by other angles in prompts of more than "
            f"{config.rope_full.original_max_positions} tokens (longrope), so output position "
            f"{len(seen) - 1} depends on what follows: cut the prompt after it"
        )
    return seen


@dataclass(frozen=True)
class _Output:
    """The ordinary forward pass, embeddings [T, d] -> last hidden state [d]."""

    graphdef: nnx.GraphDef

    def __call__(self, x: Array, weights: nnx.State) -> Array:
        return nnx.merge(self.graphdef, weights)(x)[_LAST]


@dataclass(frozen=True)
class _Replay:
    """J·V: the recorded pass, linear path alone. The output's position is in the state, or the last."""

    graphdef: nnx.GraphDef
    biases: bool = False

    def __call__(self, state: tuple, v: Array) -> Array:
        weights, recorded, *at = state
        decoder = nnx.merge(self.graphdef, weights)
        return models.replay(decoder, recorded, v, *(at or [_LAST]), biases=self.biases)


@dataclass(frozen=True)
class _Transpose:
    """Jᵀ·U: the recorded pass backwards."""

    graphdef: nnx.GraphDef
    length: int

    def __call__(self, state: tuple, u: Array) -> Array:
        weights, recorded, *at = state
        decoder = nnx.merge(self.graphdef, weights)
        return models.replay_transpose(decoder, recorded, u, self.length, *(at or [_LAST]))


@partial(jax.jit, static_argnums=(0, 3, 4))
def _record(
    graphdef: nnx.GraphDef,
    weights: nnx.State,
    x: Array,
    dial: models.Dial,
    policy: str,
    at: Array | None = None,
) -> tuple[Array, Any]:
    position = _LAST if at is None else at
    return models.record(nnx.merge(graphdef, weights), x, position, dial, models.POLICIES[policy])


@nnx.jit
def _logits(decoder: models.Decoder, hidden: Array) -> Array:
    return decoder.logits(hidden)


@nnx.jit
def _logits_of_stream(decoder: models.Decoder, hidden: Array) -> Array:
    return decoder.logits(decoder.final_norm(hidden, models.Plain()))
