"""The public functions that are no methods of a model: ``jaxlin.load``, ``compare`` and ``plan``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxlin.prompts import load as loading
from jaxlin.prompts.text import Prompt
from jaxlin.results.compare import Comparison
from jaxlin.results.compare_models import ModelComparison
from jaxlin.results.plan import PlanResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs import compare as comparing
from jaxlin.verbs.convert import Conversion
from jaxlin.verbs.convert import convert as convert_checkpoint
from jaxlin.verbs.model import Model
from jaxlin.verbs.options import Compare, Convert, Plan
from jaxlin.verbs.plan import plan_jobs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load(
    source: Any,
    *,
    dtype: str | None = None,
    precision: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    offload: str = "none",
    weights: str = "auto",
    mesh: str | None = None,
    progress: Progress = silent,
) -> Model:
    """Load a checkpoint, or take a model that is in memory.

    Args:
        source: a directory, a GGUF file, a hub id ``org/name@revision``, ``demo-llama``, ``demo-gemma``,
            ``demo-qwen``, or, where their packages are installed, ``gemma-3-270m`` and ``smollm2-135m``; an
            NNX decoder (:class:`jaxlin_models.Decoder`), for example one that was just
            trained; or a Hugging Face torch model in memory.
        dtype: ``float32``, ``float64`` (switches JAX's ``jax_enable_x64`` on for this process) or
            ``bfloat16``: how weights and coefficients are stored; float32 if not given, or a decoder's own.
        precision: how products are computed: ``float32``, ``tf32``, ``bf16x3``, ``bfloat16`` or ``float64``
            (see :mod:`jaxlin_models.precision`); the dtype's own if not given, or a decoder's.
        tokenizer: one of transformers' tokenizers; the checkpoint's own if not given. A model in memory that
            comes without one takes prompts as token ids.
        offload: what stays in the host's memory and is copied to the device layer by layer in every pass:
            ``none``, ``coefficients`` (what is recorded of the layers) or ``all`` (the layers' weights too).
        weights: whether quantised weights of a GGUF file stay so in memory: ``packed`` (a layer is
            dequantised inside a pass, when it is used), ``unpacked``, or ``auto`` (packed where the weights
            alone would not fit otherwise).
        mesh: several devices to spread a checkpoint over, like ``tensor=4``, ``sequence=4`` or
            ``data=2,tensor=4``; one device if not given. See the page on scale.
        progress: told which parameter is being loaded.

    Raises:
        JaxlinError: nothing that can be loaded, an unknown dtype, offload or weights, ``packed`` where
            nothing is quantised, or settings that a model in memory cannot take.
    """
    return loading.load(
        source, dtype=dtype, precision=precision, tokenizer=tokenizer, offload=offload, weights=weights,
        mesh=mesh,
        progress=progress, kind=Model,
    )  # fmt: skip


def compare(
    models: str | Model | Sequence[str | Model],
    prompt: Prompt,
    policies: Sequence[str] | str | None = None,
    *,
    progress: Progress = silent,
    **options: Any,
) -> Comparison | ModelComparison:
    """Freeze policies of one model, or several models on one prompt, next to each other.

    Args:
        models: one model (or what :func:`load` takes of one), whose ``policies`` are compared; or several.
        prompt: text or token ids.
        policies: two or more of ``detached``, ``detached-gate``, ``half``, ``none``; angles are to the
            first.
        progress: told what is happening.
        options: those of the flags of ``jaxlin compare``: ``k``, ``tol``, ``span``, ``memory``, ``out`` …;
            and ``dtype``, ``precision``, ``offload``, ``weights``, ``mesh`` for models given by name.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    settings = ("dtype", "precision", "offload", "weights", "mesh")
    loaded_by = {name: options.pop(name) for name in settings if name in options}
    asked = Compare.of(policies=policies, **options)
    return comparing.compare(models, prompt, asked, progress, **loaded_by)


def convert(
    model: str | Path, out: str | Path, *, dtype: str = "float32", progress: Progress = silent
) -> Conversion:
    """Write a checkpoint in Orbax's form, which is restored straight onto any mesh of devices.

    Args:
        model: a directory or a hub id with safetensors.
        out: an empty or new folder, which is then a model like any other.
        dtype: how its weights are stored, and later loaded.
        progress: told which parameter is being read.

    Raises:
        JaxlinError: a model that cannot be read or is none in safetensors, a folder that cannot be written,
            or JAX on a GPU.
    """
    return convert_checkpoint(Convert.of(model=str(model), out=Path(out), dtype=dtype), progress)


def plan(
    models: str | Sequence[str],
    tokens: int | Sequence[int] = (400,),
    memory: str | None = None,
    *,
    progress: Progress = silent,
    **options: Any,
) -> PlanResult:
    """What jobs would cost, from config.json and the length of a prompt alone: no weight is read.

    Args:
        models: names of configs like ``gemma-3-4b``, directories, hub ids or demos; one or more.
        tokens: lengths of the prompt, one or more.
        memory: what may be used, like ``40GB``; what is free here if not given.
        progress: told what is happening.
        options: those of the flags of ``jaxlin plan``: ``k``, ``method``, ``dtype``, ``offload`` …

    Raises:
        JaxlinError: a model that cannot be found, or a length that it does not have.
    """
    names = (models,) if isinstance(models, str) else tuple(models)
    lengths = (tokens,) if isinstance(tokens, int) else tuple(tokens)
    return plan_jobs(Plan.of(model=names, tokens=lengths, memory=memory, **options), progress)
