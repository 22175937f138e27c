"""Where a model and the engine meet: checkpoint in, detached Jacobian out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxlin.errors import JaxlinError
from jaxlin.runtime.offload import check_offload
from jaxlin.runtime.progress import Progress, silent

if TYPE_CHECKING:
    from jaxlin_models import Decoder
    from transformers import PreTrainedTokenizerBase

    from jaxlin.prompts.model import Model

DTYPES = ("float32", "float64", "bfloat16")


def load(
    source: str | Path | Decoder,
    *,
    dtype: str | None = None,
    precision: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    offload: str = "none",
    progress: Progress = silent,
) -> Model:
    """Load a checkpoint, or take a decoder as it is.

    Args:
        source: a directory, a hub id ``org/name@revision``, ``demo-llama``, ``demo-gemma``, ``demo-qwen``, or
            an NNX decoder (:class:`jaxlin_models.Decoder`), say one that was just trained.
        dtype: ``float32``, ``float64`` (switches JAX's ``jax_enable_x64`` on for this process) or
            ``bfloat16``: how weights and coefficients are stored; float32 if not given, or a decoder's own.
        precision: how products are computed: ``float32``, ``tf32``, ``bf16x3``, ``bfloat16`` or ``float64``
            (see :mod:`jaxlin_models.precision`); the dtype's own if not given, or a decoder's.
        tokenizer: one of transformers' tokenizers; the checkpoint's own if not given. A decoder without one
            takes prompts as token ids.
        offload: what waits in the host's memory and is fetched to the device layer by layer in every pass:
            ``none``, ``coefficients`` (what is recorded of the layers, where no dial says otherwise) or
            ``all`` (the layers' weights as well).
        progress: told which parameter is being loaded.

    Raises:
        JaxlinError: no checkpoint and no decoder, unknown dtype or offload; dtype, precision or
            offloaded weights for a decoder.
        models.ModelError: the checkpoint cannot be found, read or used.
    """
    check_offload(offload)
    with without_advice():
        import jaxlin_models as models

        from jaxlin.prompts.model import Model

    if isinstance(source, models.Decoder):
        if dtype is not None or precision is not None:
            raise JaxlinError("a decoder has its own dtype and precision: leave them out")
        if offload == "all":
            raise JaxlinError("a decoder's weights stay where they are: choose offload coefficients or none")
        return Model(None, source, tokenizer, offload)
    if not isinstance(source, str | Path):
        raise JaxlinError(
            f"a {type(source).__name__} cannot be loaded: give a directory, a hub id or a models.Decoder, or "
            f"use jaxlin.linearize on any function"
        )
    dtype = "float32" if dtype is None else dtype
    if dtype not in DTYPES:
        raise JaxlinError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    checkpoint = models.find(str(source))
    decoder = models.load_decoder(
        checkpoint, jnp.dtype(dtype), precision=precision, offload=offload == "all", progress=progress
    )
    return Model(checkpoint, decoder, tokenizer, offload)


@contextmanager
def without_advice() -> Iterator[None]:
    """While it is imported, transformers would advise to install torch, which nothing here needs."""
    name = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
