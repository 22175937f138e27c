"""Where a model and the engine meet: checkpoint in, detached Jacobian out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import jax

from jaxlin.errors import JaxlinError, shortened
from jaxlin.runtime.device import tell_of_idle_gpu
from jaxlin.runtime.mesh import AXES, MeshSize, devices_for, parse_mesh
from jaxlin.runtime.offload import check_offload
from jaxlin.runtime.progress import Progress, silent
from jaxlin.runtime.weights import check_weights

if TYPE_CHECKING:
    from jaxlin_models import Decoder, DecoderConfig
    from jaxlin_models.sharding import Layout
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from typing_extensions import TypeVar

    from jaxlin.prompts.model import Model
    from jaxlin.prompts.sources import Source

    AnyModel = TypeVar("AnyModel", bound=Model, default=Model)

DTYPES = ("float32", "float64", "bfloat16")


def load(
    source: str | Path | Decoder | PreTrainedModel,
    *,
    dtype: str | None = None,
    precision: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    offload: str = "none",
    weights: str = "auto",
    mesh: str | None = None,
    progress: Progress = silent,
    kind: type[AnyModel] | None = None,
) -> AnyModel:
    """Load a checkpoint, or take a model in memory; all weights are read.

    Arguments and errors are those of :func:`locate`, and besides:

    Raises:
        models.ModelError: weights that cannot be had, read or used.
    """
    model = locate(
        source,
        dtype=dtype,
        precision=precision,
        tokenizer=tokenizer,
        offload=offload,
        weights=weights,
        mesh=mesh,
        progress=progress,
        kind=kind,
    )
    _ = model.decoder
    return model


def locate(
    source: str | Path | Decoder | PreTrainedModel,
    *,
    dtype: str | None = None,
    precision: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    offload: str = "none",
    weights: str = "auto",
    mesh: str | None = None,
    progress: Progress = silent,
    kind: type[AnyModel] | None = None,
) -> AnyModel:
    """A model whose config and tokenizer are here; its weights are read when they are first needed.

    So what cannot be done is refused, and a job planned, before any weight is read or downloaded.

    Args:
        source: a directory, a GGUF file, a hub id ``org/name@revision``, ``demo-llama``, ``demo-gemma``,
            ``demo-qwen``, or, where their packages are installed, ``gemma-3-270m`` and ``smollm2-135m``; an
            NNX decoder (:class:`jaxlin_models.Decoder`), for example one that was just
            trained; or a model of Hugging Face's transformers in memory, in torch, whose tensors are
            converted without a trip over the disk.
        dtype: ``float32``, ``float64`` (switches JAX's ``jax_enable_x64`` on for this process) or
            ``bfloat16``: how weights and coefficients are stored; float32 if not given, or a decoder's own.
        precision: how products are computed: ``float32``, ``tf32``, ``bf16x3``, ``bfloat16`` or ``float64``
            (see :mod:`jaxlin_models.precision`); the dtype's own if not given, or a decoder's.
        tokenizer: one of transformers' tokenizers; the checkpoint's own if not given. A model in memory
            without one takes prompts as token ids.
        offload: what stays in the host's memory and is copied to the device layer by layer in every pass:
            ``none``, ``coefficients`` (what is recorded of the layers, where no dial says otherwise) or
            ``all`` (the layers' weights as well).
        weights: whether quantised weights of a GGUF file stay so in memory: ``packed`` (a layer is
            dequantised inside a pass, when it is used), ``unpacked``, or ``auto`` (packed where the weights
            alone would not fit otherwise).
        mesh: several devices to spread a checkpoint over, like ``tensor=4`` (its weights and coefficients),
            ``sequence=4`` (the positions of a prompt and what is kept of them) or ``data=2,tensor=4`` (and
            the probes of a pass); one device if not given.
        progress: told which parameter is being loaded.
        kind: the class of what is returned, :class:`jaxlin.prompts.model.Model` itself if not given.

    Raises:
        JaxlinError: nothing that can be loaded, unknown dtype, offload or weights; dtype, precision or
            offloaded weights for a decoder; a mesh that there are not enough devices for, or for a model in
            memory.
        models.ModelError: the checkpoint cannot be found, its architecture is not supported, or dtype and
            precision do not go together; ``packed`` where nothing is quantised.
    """
    check_offload(offload)
    check_weights(weights)
    tell_of_idle_gpu()
    import jaxlin_models as models

    from jaxlin.prompts.model import Model
    from jaxlin.prompts.sources import InMemory

    make = Model if kind is None else kind
    if isinstance(source, models.Decoder):
        if dtype is not None or precision is not None:
            raise JaxlinError("a decoder has its own dtype and precision: leave them out")
        if offload == "all":
            raise JaxlinError(
                "the weights of a decoder in memory cannot be offloaded: choose `offload` coefficients "
                "or none"
            )
        if weights == "packed":
            models.refuse_unquantised("a decoder in memory")
        _check_in_files(mesh)
        model = make(InMemory.of(source), tokenizer, offload)
        _ = model.decoder  # it is here already, and so it counts as held
        return cast("AnyModel", model)
    dtype = "float32" if dtype is None else dtype
    if dtype not in DTYPES:
        raise JaxlinError(f"unknown dtype {shortened(dtype)!r}: choose one of {', '.join(DTYPES)}")
    before = jax.config.read("jax_enable_x64")
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    try:
        chosen = models.choose_precision(dtype, precision)
        size = None if mesh is None else parse_mesh(mesh)
        origin = _origin(source, dtype, chosen, offload == "all", weights, size, progress)
    except BaseException:
        jax.config.update("jax_enable_x64", before)
        raise
    return cast("AnyModel", make(origin, tokenizer, offload, precision))


def _origin(
    source: Any,
    dtype: str,
    precision: str,
    offload: bool,
    weights: str,
    mesh: MeshSize | None,
    progress: Progress,
) -> Source:
    """What is to be loaded, as files or as a torch model."""
    import jaxlin_models as models
    from jaxlin_models.huggingface import PreTrainedConfig

    from jaxlin.prompts.sources import Files, FromTorch

    if isinstance(source, str | Path):
        name = str(source)
        checkpoint = models.find(name, weights=False)
        if weights == "packed" and not models.packed_forms(checkpoint):
            models.refuse_unquantised(name)
        layout = None if mesh is None else layout_of(checkpoint.config, mesh)
        return Files(
            name, checkpoint.config, dtype, precision, checkpoint, offload, layout, progress, weights
        )
    config = getattr(source, "config", None)
    if not (isinstance(config, PreTrainedConfig) and callable(getattr(source, "state_dict", None))):
        raise JaxlinError(
            f"a {type(source).__name__} cannot be loaded: give a directory, a GGUF file, a hub id, a "
            f"models.Decoder or a Hugging Face model, or use jaxlin.linearize on any function"
        )
    _check_in_files(mesh)
    owner = f"this {type(source).__name__}"
    ours = models.config_of(config, owner)
    if weights == "packed":
        models.refuse_unquantised(owner)
    name = config.name_or_path or type(source).__name__
    tensors = models.StateTensors(source.state_dict(), owner)
    return FromTorch(name, ours, dtype, precision, tensors, config, offload, progress)


def layout_of(config: DecoderConfig, size: MeshSize) -> Layout:
    """How a decoder lies on a mesh of this size.

    Raises:
        JaxlinError: there are not enough devices.
        models.ModelError: its heads or widths cannot be divided so.
    """
    from jaxlin_models.sharding import Layout

    sizes = {axis: getattr(size, axis) for axis in AXES}
    return Layout.of(config, devices_for(size), **sizes)


def _check_in_files(mesh: object) -> None:
    """Refuse a mesh for a model that is in memory already, on devices of its own."""
    if mesh is not None:
        raise JaxlinError(
            "a `mesh` is for a checkpoint, which is read slice by slice: save the model and give its folder, "
            "or leave `mesh` out"
        )
