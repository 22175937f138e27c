"""Where a model comes from: files, a decoder in memory, or a torch model in memory.

What a source knows at once is enough for a refusal or a plan; its weights are read when somebody asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from jaxlin_models.sharding import Layout
from jaxlin_models.tensors import Tensors, tensors_of

from jaxlin.errors import JaxlinError
from jaxlin.prompts.stored import chosen_forms
from jaxlin.runtime.mesh import sharing_memory
from jaxlin.runtime.progress import Progress, silent
from jaxlin.runtime.stderr import tell
from jaxlin.solvers.choose import free_bytes

#: Unknown keys of a config.json that are named.
_KEYS_NAMED, _LONGEST = 5, 300


@dataclass(frozen=True, eq=False)
class Source(ABC):
    """What is known of a model before its weights are read, and how they are.

    Attributes:
        name: what was asked for, or the class or name of what was handed over.
        config: of the decoder.
        dtype: how weights and coefficients are stored.
        precision: how they are multiplied.
    """

    name: str
    config: models.DecoderConfig
    dtype: str
    precision: str

    @abstractmethod
    def read(self) -> models.Decoder:
        """The decoder, its weights read.

        Raises:
            models.ModelError: weights that cannot be read or used.
        """

    def weights_sha256(self) -> str | None:
        """sha256 of the weights, as hex, once they are read; None where they come from nowhere."""
        return None

    def recomputed(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray] | None:
        """Logits [vocab] after the tokens of each prompt by NumPy, from tensors that are read again.

        See :mod:`jaxlin_models.second_path`. None where there are no tensors but those of the decoder itself.
        """
        return None

    @property
    def checkpoint(self) -> models.Checkpoint | None:
        """The files; None where there are none."""
        return None

    def forms(self, memory: int | None = None) -> models.Forms | None:
        """How the weights are written that stay quantised; None where none do.

        Args:
            memory: bytes that may be used, where it was left open whether they do and nothing decided it
                before; what is free if None.

        Raises:
            models.ModelError: they are to stay quantised, and none is.
        """
        return None

    @property
    def spread(self) -> Layout | None:
        """How it lies on several devices; None where it is on one."""
        return None

    @property
    def bos(self) -> int | None:
        """The id that texts begin with by its config; None where that says nothing, or several."""
        return None

    @property
    def has_tokenizer(self) -> bool:
        """Whether it brings a tokenizer of its own."""
        return False

    def codec(self) -> models.Codec:
        """Its own tokenizer.

        Raises:
            JaxlinError: it has none.
            models.ModelError: it has none that can be read.
        """
        raise JaxlinError("this decoder has no tokenizer: give one to jaxlin.load, or prompts as ids")


@dataclass(frozen=True, eq=False)
class Files(Source):
    """A checkpoint on this disk or on the hub; of the latter only small files are here at first."""

    located: models.Checkpoint
    offload: bool = False
    layout: Layout | None = None
    progress: Progress = silent
    weights: str = "unpacked"

    @property
    def checkpoint(self) -> models.Checkpoint:
        """The files."""
        return self.located

    @property
    def spread(self) -> Layout | None:
        """As it was asked for."""
        return self.layout

    def read(self) -> models.Decoder:
        """The decoder; downloads the weights of a hub id first.

        Raises:
            JaxlinError: the hub's branch went on meanwhile.
            models.ModelError: weights that cannot be had, read or used.
        """
        checkpoint = self.located
        if checkpoint.revision is not None:
            checkpoint = models.find(self.name)
            if checkpoint.revision != self.located.revision:
                raise JaxlinError(
                    f"{self.name} went from {self.located.revision} to {checkpoint.revision} on the hub "
                    f"meanwhile: load it again, or name a revision after @"
                )
        notes: list[str] = []
        decoder = models.load_decoder(
            checkpoint,
            jnp.dtype(self.dtype),
            precision=self.precision,
            offload=self.offload,
            packed=self.forms() is not None,
            layout=self.layout,
            progress=self.progress,
            tell=notes.append,
        )
        # Now that nothing is left to refuse: a refusal is one sentence alone.
        for note in (*_on_unknown(checkpoint), *notes):
            tell(note)
        return decoder

    def forms(self, memory: int | None = None) -> models.Forms | None:
        """How the weights are written that stay quantised, decided once; arguments and errors as above."""
        if "_forms" not in self.__dict__:
            shared = sharing_memory(None if self.layout is None else self.layout.mesh)
            usable = free_bytes() // shared if memory is None else memory
            self.__dict__["_forms"] = chosen_forms(
                self.located,
                self.weights,
                jnp.dtype(self.dtype),
                usable,
                offload=self.offload,
                layout=self.layout,
            )
        forms: models.Forms | None = self.__dict__["_forms"]
        return forms

    def recomputed(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray] | None:
        """Logits after these tokens, from the files; None where they hold no tensors of transformers'."""
        return (
            None if self.located.converted is not None else _second(self, tensors_of(self.located), prompts)
        )

    def weights_sha256(self) -> str | None:
        """sha256 over the names and contents of the weight files, which are read for it once."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return models.weights_hash(self.located)

    @property
    def bos(self) -> int | None:
        """That of config.json."""
        return _bos_of(self.located.hf_config)

    @cached_property  # every token that is spelled asks, and a GGUF file has its vocabulary read for it
    def has_tokenizer(self) -> bool:
        """Whether there is one among the files."""
        return models.has_tokenizer(self.located)

    def codec(self) -> models.Codec:
        """The checkpoint's own.

        Raises:
            models.ModelError: none, none that can be read, or one of which transformers makes another.
        """
        return models.load_codec(self.located)


@dataclass(frozen=True, eq=False)
class InMemory(Source):
    """A decoder as it is."""

    decoder: models.Decoder

    @classmethod
    def of(cls, decoder: models.Decoder) -> InMemory:
        """A decoder under the name of its class."""
        name = type(decoder).__name__
        return cls(name, decoder.config, str(decoder.dtype), decoder.precision, decoder)

    def read(self) -> models.Decoder:
        """The decoder itself."""
        return self.decoder


@dataclass(frozen=True, eq=False)
class FromTorch(Source):
    """A Hugging Face model in memory, whose tensors are converted as they are when they are read."""

    weights: models.StateTensors
    hf_config: Any
    offload: bool = False
    progress: Progress = silent

    def read(self) -> models.Decoder:
        """The decoder, its weights converted.

        Raises:
            models.ModelError: a tensor missing, misshaped, not floating, not finite or without values.
        """
        notes: list[str] = []
        decoder = models.decoder_of(
            self.config,
            self.hf_config,
            self.weights,
            jnp.dtype(self.dtype),
            precision=self.precision,
            offload=self.offload,
            progress=self.progress,
            tell=notes.append,
        )
        for note in notes:
            tell(note)
        return decoder

    def recomputed(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Logits after these tokens, from the torch model's tensors as they are now."""
        return _second(self, self.weights.again(), prompts)

    def weights_sha256(self) -> str | None:
        """sha256 over the names and values of the tensors that were read, in that order."""
        return self.weights.sha256()

    @property
    def bos(self) -> int | None:
        """That of its config."""
        return _bos_of(self.hf_config)


def _bos_of(hf_config: Any) -> int | None:
    found = getattr(hf_config.get_text_config(), "bos_token_id", None)
    return found if isinstance(found, int) else None


def _second(source: Source, tensors: Tensors, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    dtype = "float64" if source.dtype == "float64" else "float32"
    return models.second_logits_of_many(tensors, source.config, prompts, jnp.dtype(source.dtype), dtype)


def _on_unknown(checkpoint: models.Checkpoint) -> Iterator[str]:
    """Names the keys of config.json, or of a GGUF file's metadata, that nobody knows, if there are some."""
    unknown = checkpoint.unknown_keys
    where = "config.json" if checkpoint.gguf is None else str(checkpoint.gguf.files.named)
    if unknown:
        keys = ", ".join(map(repr, unknown[:_KEYS_NAMED]))
        more = " and others" * (len(unknown) > _KEYS_NAMED)
        yield (
            f"{where} has keys that neither jaxlin nor stock transformers knows, and that change "
            f"nothing: {keys[:_LONGEST]}{more}"
        )
