"""Checkpoints whose weights were quantised: known by config.json, by files beside it, or by their tensors.

They are refused, because their tensors are not the weights, or are made other ones when the model runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlin_models.errors import ModelError
from jaxlin_models.families.keys import shown

#: Keys of config.json under which settings of a quantisation stand; ``quantization`` is MLX's.
_KEYS: Mapping[str, str] = {
    "quantization_config": "",
    "quantization": "MLX",
    "compression_config": "compressed-tensors",
    "quantize_config": "gptq",
    "quant_config": "",
    "quip_params": "QuIP#",
    "bnb_config": "bitsandbytes",
    "quant_method": "",
    "quantization_method": "",
    "weight_bits": "BitNet",
    "input_bits": "BitNet",
    "w_bit": "awq",
    "load_in_4bit": "bitsandbytes",
    "load_in_8bit": "bitsandbytes",
    "quantized_by": "",
    "modelopt_config": "ModelOpt",
}
#: Files that tools leave beside the weights that they quantised.
_FILES: Mapping[str, str] = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
    "quantization_config.json": "",
    "hf_quant_config.json": "ModelOpt",
    "quanto_qmap.json": "quanto",
    "quantization_map.json": "quanto",
    "qmodel.pt": "hqq",
    "smash_config.json": "pruna",
}
#: Ends of tensor names, each with the method that writes it. Scales of caches (``k_scale``, ``v_scale``) are
#: not among them: the weights beside them are whole.
_TENSORS: Mapping[str, str] = {
    ".qweight": "gptq or awq",
    ".qzeros": "gptq or awq",
    ".g_idx": "gptq",
    ".weight_packed": "compressed-tensors",
    ".weight_zero_point": "compressed-tensors",
    ".weight_global_scale": "compressed-tensors",
    ".weight_shape": "compressed-tensors",
    ".weight_scale_inv": "fp8",
    ".weight_scale": "fp8 or compressed-tensors",
    ".weight_scale_2": "ModelOpt",
    ".input_scale": "fp8",
    ".weight_scales": "EETQ",
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".nested_absmax": "bitsandbytes",
    ".nested_quant_map": "bitsandbytes",
    ".bitsandbytes__nf4": "bitsandbytes",
    ".bitsandbytes__fp4": "bitsandbytes",
    ".SCB": "bitsandbytes",
    ".weight_format": "bitsandbytes",
    ".scales": "gptq, awq or MLX",
    ".biases": "MLX",
    ".W_q": "hqq",
    ".codebooks": "AQLM",
    ".codes": "AQLM",
    ".Qidxs": "QuIP#",
    ".q_weight": "exl2",
    ".q_invperm": "exl2",
    ".trellis": "exl3",
    ".centroids": "VPTQ",
    ".weight._data": "quanto",
    ".weight._scale": "quanto",
    ".weight_blocks": "mxfp4",
    ".weight:_data": "torchao",
    ".weight:_scale": "torchao",
}
#: Dtypes in which float weights are stored whole; integers and float8 hold packed or rounded ones.
_WHOLE = ("F16", "BF16", "F32", "F64")


def refuse_quantised_config(config: Mapping[str, Any], where: Path | str) -> None:
    """:class:`ModelError` if this config, or its text part, says that the weights are quantised.

    Args:
        config: of config.json, or of a model in memory.
        where: whose it is, for the message.
    """
    text = config.get("text_config")
    for part in (config, text if isinstance(text, Mapping) else {}):
        for key, method in _KEYS.items():
            value = part.get(key)
            if value:  # null and {} are what stock transformers takes for none
                raise _quantised(where, f"{key} in its config", _method(value) or method)


def refuse_quantised_files(directory: Path) -> None:
    """:class:`ModelError` if a file of this folder says that the weights beside it are quantised."""
    for name, method in _FILES.items():
        if (directory / name).exists():
            raise _quantised(directory, f"the file {name}", method)


def refuse_quantised_tensors(dtypes: Mapping[str, str], where: Path | str) -> None:
    """:class:`ModelError` if the names of these tensors, or how they are stored, say that they are quantised.

    Args:
        dtypes: names of tensors, and safetensors' names of their dtypes; those of torch are looked at when a
            tensor is asked for.
        where: whose they are, for the message.
    """
    for name in dtypes:
        method = next((method for end, method in _TENSORS.items() if name.endswith(end)), None)
        if method is not None:
            raise _quantised(where, f"the tensor {name}", method)
    for name, dtype in dtypes.items():
        if name.endswith(".weight") and dtype not in _WHOLE and not dtype.startswith("torch."):
            raise ModelError(
                f"in {where} tensor {name} is stored as {dtype}, a quantised checkpoint; use one in float32, "
                f"bfloat16 or float16"
            )


def _method(value: Any) -> str:
    """The name that settings give their method, if they do."""
    named = value.get("quant_method") or value.get("quant_type") if isinstance(value, Mapping) else None
    if named is None and hasattr(value, "quant_method"):  # an object of transformers, of a model in memory
        named = getattr(value.quant_method, "value", value.quant_method)
    if named is None and isinstance(value, Mapping):
        named = "bitsandbytes" if value.get("load_in_4bit") or value.get("load_in_8bit") else None
    return shown(named).strip("'\"") if isinstance(named, str) else value if isinstance(value, str) else ""


def _quantised(where: Path | str, by: str, method: str) -> ModelError:
    named = f" ({method})" if method else ""
    return ModelError(f"{where} is quantised{named}, as {by} says; use one in float32, bfloat16 or float16")
