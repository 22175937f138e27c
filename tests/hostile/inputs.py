"""What is read before anything is computed: config.json, weights, an index, a tokenizer, prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import strategies as st
from tiny_checkpoints import CHECKPOINTS, config_of_transformers_4

from hostile.case import Case
from hostile.mutate import damaged_bytes, damaged_gguf, damaged_json, damaged_tensors
from hostile.values import LONE, TEXTS, as_json, json_values, texts
from hostile.world import World

Draw = Callable[[st.SearchStrategy[Any]], Any]

#: One valid request of a few passes, and one that is refused when the prompt is looked at.
#: A request for many prompts, but for the folder of their results.
MANY = ("svd", "--model", "model", "--prompts", "prompts.jsonl", "-k", "1", "--method", "dense")
COMPUTED = ("svd", "--model", "model", "--token-ids", "1,2,3", "-k", "1", "--method", "dense")
GGUF = ("svd", "--model", "model.gguf", *COMPUTED[3:])
GGUF_READ = ("svd", "--model", "model.gguf", "--prompt", "the end", "-k", "1", "--method", "dense")
REFUSED = ("svd", "--model", "model", "--token-ids", "1,99")
READ = ("svd", "--model", "model", "--prompt", "w1 w2 w3", "-k", "1", "--method", "dense")
#: Refused when the length of the prompt is known, whatever it is: every other length is another program.
_TOO_MANY = ("-k", "9999")

#: Keys and words of config.json files, of any family and of none of ours.
_CONFIG = (
    "llama", "gemma3_text", "gemma3", "qwen3", "mamba", "mixtral", "auto_map", "model_type",
    "architectures", "num_labels", "id2label",
    "label2id", "use_return_dict", "return_dict", "torch_dtype", "dtype", "quantization_config",
    "transformers_weights", "is_causal",
    "is_decoder", "add_cross_attention", "sliding_window", "layer_types", "full_attention",
    "sliding_attention", "rope_scaling",
    "rope_parameters", "rope_theta", "rope_type", "linear", "dynamic", "yarn", "longrope", "llama3",
    "factor", "low_freq_factor",
    "high_freq_factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "short_factor",
    "long_factor",
    "partial_rotary_factor", "hidden_act", "gelu", "silu", "text_config", "vision_config",
    "tie_word_embeddings", "bfloat16", "float16",
    "torch.float32", "gptq", "awq", "quant_method", "problem_type", "pruned_heads", "task_specific_params",
    "max_length", "temperature",
    "vocab_size", "head_dim", "num_local_experts", "attn_logit_softcapping", "final_logit_softcapping",
    "eos_token_id", "_name_or_path",
)  # fmt: skip
_TOKENIZER = (
    "BPE", "WordLevel", "WordPiece", "Unigram", "ByteLevel", "Metaspace", "Sequence", "Split", "Replace",
    "Strip", "Precompiled",
    "TemplateProcessing", "Regex", "String", "(", "(?<=a)b", "(a+)+$", "\\p{L}", "pattern", "content",
    "unk_token", "unk_id", "vocab", "merges", "added_tokens",
    "normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding", "max_length",
    "stride", "strategy",
    "LlamaTokenizer", "PreTrainedTokenizerFast", "tokenizer_class", "auto_map", "chat_template", "{{",
    "{% for x in y %}",
    "{{ 1/0 }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ ''.__class__.__mro__ }}", "add_bos_token",
    "bos_token", "model_max_length", "added_tokens_decoder", "extra_special_tokens",
    "cleanup", "prefix_space", "dropout", "fuse_unk", "byte_fallback", "ignore_merges",
    "continuing_subword_prefix",
)  # fmt: skip


@cache
def _configs() -> tuple[str, ...]:
    """config.json of every family and variant, as transformers 5 and 4 write them."""
    written = [checkpoint.config().to_dict() for checkpoint in CHECKPOINTS.values()]
    old = [config_of_transformers_4(json.loads(json.dumps(config))) for config in written[::4]]
    return tuple(json.dumps(config, default=str) for config in (*written, *old))


@st.composite
def config_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A config.json that is damaged: of the weights that are there, or of another family."""
    own = world.contents["model/config.json"].decode()
    config = draw(
        damaged_json(own if draw(st.integers(0, 3)) else draw(st.sampled_from(_configs())), _CONFIG)
    )
    requests: tuple[tuple[str, ...], ...] = (REFUSED, REFUSED, REFUSED, COMPUTED)
    if thorough:
        requests = (*requests, COMPUTED, ("plan", "--model", "model", "--tokens", "4", "-k", "1"))
    return Case(draw(st.sampled_from(requests)), {"model/config.json": config.encode(errors="surrogatepass")})


@st.composite
def weight_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A model.safetensors that is damaged, or a second set of weights beside it."""
    whole = world.contents["model/model.safetensors"]
    name = draw(
        st.sampled_from(
            ("model.safetensors",) * 8
            + ("pytorch_model.bin", "adapter_model.safetensors", "model-00001-of-00002.safetensors")
        )
    )
    return Case(COMPUTED, {f"model/{name}": draw(damaged_tensors(whole))})


@st.composite
def gguf_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A GGUF file that is damaged, most often in its header."""
    whole = world.contents["model.gguf"]
    return Case(draw(st.sampled_from((GGUF, GGUF_READ))), {"model.gguf": draw(damaged_gguf(whole))})


@st.composite
def index_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """An index of shards that is damaged, or shards that are."""
    argv = ("svd", "--model", "sharded", *COMPUTED[3:])
    index = "sharded/model.safetensors.index.json"
    shards = [
        name for name in world.contents if name.startswith("sharded/") and name.endswith(".safetensors")
    ]
    if draw(st.integers(0, 3)) == 0:
        shard = draw(st.sampled_from(shards))
        return Case(argv, {shard: draw(damaged_tensors(world.contents[shard]))})
    names = ("../outside/secret.txt", "/dev/zero", "../fifo", "../model/model.safetensors", "config.json",
             ".", "", "x" * 300, "a\0b",
             *(shard.rpartition("/")[2] for shard in shards))  # fmt: skip
    return Case(
        argv,
        {index: draw(damaged_json(world.contents[index].decode(), names)).encode(errors="surrogatepass")},
    )


@st.composite
def tokenizer_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A tokenizer.json or tokenizer_config.json that is damaged, and files that go with other tokenizers."""
    name = draw(st.sampled_from(("tokenizer.json", "tokenizer.json", "tokenizer_config.json")))
    whole = world.contents[f"model/{name}"].decode()
    files = {f"model/{name}": draw(damaged_json(whole, _TOKENIZER)).encode(errors="surrogatepass")}
    if draw(st.integers(0, 7)) == 0:
        other = draw(st.sampled_from(("special_tokens_map.json", "added_tokens.json", "vocab.json",
                     "merges.txt", "chat_template.jinja",
                                      "tokenizer.model", "generation_config.json",
                                      "processor_config.json")))  # fmt: skip
        files |= {
            f"model/{other}": draw(
                st.one_of(json_values(_TOKENIZER).map(as_json).map(_encoded), st.binary(max_size=30))
            )
        }
    argv = draw(st.sampled_from((READ, READ, COMPUTED, (*READ[:4], "w1 <end> 日本 \t w2", *READ[5:]))))
    return Case(argv + draw(_late(thorough)), files)


def _late(thorough: bool) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from(((), ()) if thorough else ((), _TOO_MANY, _TOO_MANY, _TOO_MANY))


@st.composite
def prompt_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A prompt as a file or on the command line, of any bytes."""
    text = st.one_of(st.sampled_from((*TEXTS, *LONE)), st.text(max_size=30))
    if draw(st.integers(0, 2)) == 0:
        return Case((*READ[:4], draw(text).replace("\0", ""), *READ[5:], *draw(_late(thorough))))
    content = st.one_of(
        text.map(_encoded), st.binary(max_size=60), text.map(lambda t: t.encode("utf-16", "replace")),
        text.map(lambda t: b"\xef\xbb\xbf" + _encoded(t)), damaged_bytes(b"w1 w2\r\nw3\n"),
        st.sampled_from((b"", b"\n", b"w1 " * 100_000, b"\0" * 1000)),
    )  # fmt: skip
    return Case(
        (*READ[:3], "--prompt-file", "prompt.txt", *READ[5:], *draw(_late(thorough))),
        {"prompt.txt": draw(content)},
    )


@st.composite
def line_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A file of many prompts: JSON lines that are damaged, in any order, with any line ends."""
    whole = world.contents["prompts.jsonl"].decode().splitlines()
    also = (
        "prompt",
        "token_ids",
        "id",
        "messages",
        "role",
        "content",
        "user",
        "second",
        "index.jsonl",
        ".",
        "..",
        "a/b",
        "000001",
    )
    line = st.one_of(
        st.sampled_from(whole).flatmap(lambda text: damaged_json(text, also)),
        st.sampled_from(whole),
        texts().map(lambda text: as_json({"prompt": text})),
        texts(),
        st.lists(json_values(), max_size=4).map(lambda ids: as_json({"token_ids": ids})),
        st.lists(st.tuples(st.sampled_from(also), json_values(also)), max_size=3).map(dict).map(as_json),
    )
    lines = draw(st.lists(line, max_size=4))
    end = draw(st.sampled_from(("\n", "\n", "\n", "\r\n", "\u2028", "\r", "\n\n", "")))
    start = draw(st.sampled_from(("", "", "", "\ufeff", "\n")))
    content = _encoded(start + end.join(lines) + draw(st.sampled_from((end, ""))))
    argv = (*MANY, "--out", "many")
    return Case(argv if draw(st.integers(0, 9)) else argv[:-2], {"prompts.jsonl": content})


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
