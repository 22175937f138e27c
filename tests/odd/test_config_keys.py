"""Every key of config.json, in every family: what stock transformers computes in float64, or a refusal.

The keys are those of the installed transformers' config class, those of the tables here, and those that stock
code asks a config for while it loads a model and computes; each is set to values that it could have, and to
some that it could not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlin_models import DecoderConfig, ModelError, config_file, families, load_decoder
from jaxlin_models.checkpoint import find
from jaxlin_models.families import keys
from numpy.typing import NDArray
from tiny_checkpoints import prompt_ids, write_checkpoint
from transformers import AutoConfig, PreTrainedConfig

torch = pytest.importorskip("torch")
import torch_oracle as oracle  # noqa: E402  (needs torch)

torch.set_num_threads(1)

#: A checkpoint of every model type, with what its keys act on: windows, biases.
BASES = {
    "llama": "llama-biases",
    "mistral": "mistral-sliding",
    "ministral": "ministral",
    "phi3": "phi3",
    "olmo2": "olmo2",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3-text",
    "gemma3": "gemma3-multimodal",
    "qwen2": "qwen2-sliding",
    "qwen3": "qwen3-sliding",
}
#: Sizes, whose every other value is of other weights; tests/test_bad_input.py has them.
SIZES = {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}
ROPE = {"rope_type": "default", "rope_theta": 5e3}
#: What is checked elsewhere than in the tables, and what stock looks for in the config of a vision tower.
ELSEWHERE = {
    "architectures", "quantization_config", "image_size", "layer_norm_eps", "num_channels", "patch_size",
    "vision_use_head",
}  # fmt: skip
#: Values that are worth a look whatever the key is.
ANY: tuple[Any, ...] = (None, False, True, 2)
#: Values that hardly any key could have: stock refuses most, and is asked where our config is another.
NONSENSE: tuple[Any, ...] = (-1, 10**24, float("nan"), "x", [1], {"a": 1})
PERTURBED: Mapping[str, tuple[Any, ...]] = {
    "rms_norm_eps": (1e-2, 1e-12, 1e300, "1e-5"),
    "rope_theta": (5e3, 2e5, 1e400, 1e-9),
    "rope_parameters": (
        ROPE,
        ROPE | {"rope_type": "linear", "factor": 3.0},
        ROPE | {"rope_type": "linear", "factor": 1e-9},
        ROPE | {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16},
        ROPE | {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 2.0, "high_freq_factor": 2.0,
                "original_max_position_embeddings": 16},
        ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": -16},
        ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
                "attention_factor": float("inf")},
        ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_slow": 40},
        ROPE | {"rope_type": "dynamic", "factor": 4.0},
        ROPE | {"partial_rotary_factor": 0.5},
        {"full_attention": ROPE, "sliding_attention": ROPE},
    ),
    "rope_scaling": (
        {"type": "linear", "factor": 2.0},
        {"rope_type": "default", "factor": 7.0},
        {"type": "mrope", "mrope_section": [1]},
        {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "finetuned": True},
        {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "truncate": False},
    ),
    "partial_rotary_factor": (0.5, 1.0),
    "hidden_act": ("gelu", "relu", "gelu_pytorch_tanh", "swish", "tanh"),
    "hidden_activation": ("gelu", "relu", "silu"),
    "sliding_window": (3, 10**6),
    "layer_types": (["full_attention"] * 3, ["sliding_attention"] * 3, ["full_attention"] * 4),
    "architectures": (["LlamaBidirectionalModel"], ["Qwen3ForSequenceClassification"], ["LlamaForCausalLM"]),
    "dtype": ("float16", "float8_e4m3fn", ["float32"]),
    "torch_dtype": ("bfloat16", ["float32"]),
    "max_window_layers": (2, 3),
    "query_pre_attn_scalar": (5, 1e300),
    "attn_logit_softcapping": (0.9, 1e308),
    "final_logit_softcapping": (0.9, 1e-300),
    "max_position_embeddings": (30, 10**6),
    "num_labels": (3, 4),
    "quantization_config": ({"quant_method": "gptq", "bits": 4}, {"quant_method": "fp8"}),
    "per_layer_config": ({"0": {"rms_norm_eps": 0.5}}, {"1": {"skip": ["mlp"]}}),
    "eos_token_id": ([1, 2],),
    "model_type": ("llama", "qwen3"),
    "attribute_map": ({"rms_norm_eps": "initializer_range"},),
}  # fmt: skip


def keys_of(model_type: str, config: Mapping[str, Any]) -> list[str]:
    """All keys that a config.json of this type could have."""
    stock = type(AutoConfig.for_model(model_type))
    own = {field.name for field in fields(stock)} | set(AutoConfig.for_model(model_type).to_dict())
    return sorted(
        (own | set(config) | set(keys.HARMLESS) | set(keys.REFUSED) | set(PERTURBED) | {"note"}) - SIZES
    )


def logits(directory: Path, ids: list[int]) -> NDArray[np.float64]:
    with jax.disable_jit():  # each config is computed once, and compiling takes longer
        decoder = load_decoder(directory, jnp.float64, tell=lambda _: None)
        return np.asarray(decoder.logits(decoder(decoder.embed(jnp.asarray(ids)))))


class Family:
    """One checkpoint, whose config.json is changed a key at a time."""

    def __init__(self, model_type: str, directory: Path) -> None:
        self.type = model_type
        name = BASES[model_type]
        self.directory = write_checkpoint(name, directory)
        self.ids = prompt_ids(name)
        self.file = self.directory / "config.json"
        self.config = json.loads(self.file.read_text())
        self.known: dict[DecoderConfig, NDArray[np.float64]] = {}
        self.base = self.ours()

    def ours(self) -> NDArray[np.float64]:
        """Our logits by the config.json that is there."""
        config = find(str(self.directory)).config
        if config not in self.known:
            self.known[config] = logits(self.directory, self.ids)
        return self.known[config]

    def stock(self) -> NDArray[np.float64]:
        """Stock's."""
        return oracle.logits(oracle.load_stock(self.directory), self.ids).numpy()

    def write(self, changes: Mapping[str, Any], *, text: bool = False) -> None:
        """The config.json of the checkpoint with other values, of its text part if ``text``."""
        changed = {**self.config, **changes}
        if text:
            changed = {**self.config, "text_config": {**self.config["text_config"], **changes}}
        self.file.write_text(json.dumps(changed))

    def verdict(self, changes: Mapping[str, Any], *, text: bool = False) -> str:
        """``refused``, ``equal``, ``same`` (our config is that without the changes), or what is wrong."""
        self.write(changes, text=text)
        try:
            ours = self.ours()
        except ModelError as error:
            return "refused" if is_sentence(str(error)) else f"says {str(error)!r}"
        except Exception as error:  # noqa: BLE001 (whatever it is, it is wrong)
            return f"ends in {type(error).__name__}: {error}"
        return "same" if ours is self.base else self.against_stock(ours)

    def against_stock(self, ours: NDArray[np.float64]) -> str:
        """``equal``, ``stock refuses``, or by how much stock's logits by the config.json there differ."""
        try:
            stock = self.stock()
        except Exception:  # noqa: BLE001 (stock's errors are of any type)
            return "stock refuses"
        error = np.linalg.norm(ours - stock) / np.linalg.norm(stock)
        return "equal" if error < 1e-11 else f"differs from stock by {error:.1e}"

    def harmless(self, changes: Mapping[str, Any], *, text: bool = False) -> list[str]:
        """What of these changes, which are none to us, is one to stock; all together, then in halves."""
        self.write(changes, text=text)
        verdict = self.against_stock(self.base)
        if verdict == "equal":
            return []
        if len(changes) == 1:
            ((key, value),) = changes.items()
            return [] if verdict == "stock refuses" else [f"{key} = {shown(value)} {verdict}"]
        names, half = list(changes), len(changes) // 2
        return [
            wrong
            for part in (names[:half], names[half:])
            for wrong in self.harmless({name: changes[name] for name in part}, text=text)
        ]


def shown(value: Any) -> str:
    return str(value)[:80]


def is_sentence(message: str) -> bool:
    return len(message.splitlines()) == 1 and 20 < len(message) < 600


def rounds(model_type: str, config: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """For each number of a value, that value of every key, and whether keys could have such values."""
    names = keys_of(model_type, config)
    values = {name: ANY + PERTURBED.get(name, ()) for name in names}
    for number in range(max(map(len, values.values()))):
        yield {name: values[name][number] for name in names if number < len(values[name])}, True
    for value in NONSENSE:
        yield {name: value for name in names if not (name == "num_labels" and value == 10**24)}, False


@pytest.fixture(scope="module", autouse=True)
def made_once() -> Iterator[None]:
    """transformers' config of the same keys is made once: most keys are left out before it is asked."""
    made: dict[str, PreTrainedConfig] = {}
    honest = config_file.in_transformers

    def remembered(model_type: str, used: Mapping[str, Any]) -> PreTrainedConfig:
        name = repr((model_type, used))
        if name not in made:
            made[name] = honest(model_type, used)
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_file, "in_transformers", remembered)
        yield


@pytest.fixture(scope="module", params=BASES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(request.param, tmp_path_factory.mktemp(request.param))


def try_every_key(family: Family) -> tuple[list[str], set[str]]:
    """What is wrong, and the keys that are refused at one value or more."""
    wrong: list[str] = []
    refused: set[str] = set()
    for text in (False, True) if family.type == "gemma3" else (False,):
        model_type = "gemma3_text" if text else family.type
        config = family.config["text_config"] if text else family.config
        for changes, possible in rounds(model_type, config):
            if text and not possible:  # gemma3_text by itself has tried them
                continue
            verdicts = {key: family.verdict({key: value}, text=text) for key, value in changes.items()}
            refused |= {key for key, verdict in verdicts.items() if verdict == "refused"}
            none = {key: changes[key] for key, verdict in verdicts.items() if verdict == "same"}
            wrong += family.harmless(none, text=text) if none and possible else []
            wrong += [
                f"{key} = {shown(changes[key])} {verdict}"
                for key, verdict in verdicts.items()
                if verdict not in ("equal", "same", "refused")
            ]
    return wrong, refused


def test_what_stock_code_asks_a_config_for_is_known(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """All names that are read while it loads and computes: so a key that a later version reads is seen."""
    asked: set[str] = set()
    stock = PreTrainedConfig.__getattribute__

    def read(config: PreTrainedConfig, name: str) -> Any:
        asked.add(name)
        return stock(config, name)

    family.write({})
    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedConfig, "__getattribute__", read)
        family.stock()
    own = {name for kind in type(AutoConfig.for_model(family.type)).__mro__ for name in vars(kind)}
    rules = families.family(family.type)
    tables = (rules.USED, rules.IGNORED, keys.HARMLESS, keys.REFUSED, ELSEWHERE)
    known = own.union(*map(set, tables))
    assert {name for name in asked - known if not name.startswith("__")} == set()


def test_every_key_is_equal_or_refused(family: Family) -> None:
    wrong, refused = try_every_key(family)
    assert wrong == []
    assert {"is_causal", "per_layer_config", "quantization_config", "architectures"} <= refused
