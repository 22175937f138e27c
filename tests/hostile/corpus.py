"""Cases that were once found failing, each with the exit code that it has to have: tried first, always."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from hostile.case import FIFO, Case, Content, Link
from hostile.inputs import COMPUTED, GGUF, GGUF_READ, MANY, READ
from hostile.mutate import join_tensors, split_tensors
from hostile.values import LONE, Raw, as_json, nested
from hostile.world import World
from jaxlin.results.store import SUMMARY, TENSORS

DONE, REFUSED, FLAGGED = 0, 2, 3
_LINES = (*MANY, "--out", "many")
_IDS = ("--model", "model", "--token-ids", "1,2,3")
_BATCH = (*_LINES[:-1], "batch")
_RESUME = ("svd", *_IDS, "-k", "2", "--method", "lanczos", "--block", "1", "--out", "run", "--resume")
_STEER = ("steer", "--model", "model", "--concept", "w1 w2", "--prompt", "w1 w2 w3", "--tokens", "1")


def corpus(world: World) -> Mapping[str, tuple[Case, int]]:
    """Name -> case, exit code."""
    return (
        _flags()
        | _configs(world)
        | _weights(world)
        | _gguf(world)
        | _tokenizers(world)
        | _prompts()
        | _lines()
        | _saved(world)
        | _places()
    )


def _flags() -> dict[str, tuple[Case, int]]:
    words = {
        "span of gigabytes": ("svd", *_IDS, "--span", "0:3000000000"),
        "span of digits": ("svd", *_IDS, "--span", "9" * 5000),
        "layers of gigabytes": ("layers", *_IDS, "--layers", "0:3000000000"),
        "layer of digits": ("layers", *_IDS, "--layers", "9" * 5000),
        "token id of digits": ("svd", "--model", "model", "--token-ids", "9" * 5000),
        "memory of digits": ("svd", *_IDS, "--memory", "9" * 400 + "GB"),
        "target of digits": ("attribute", *_IDS, "--target", "#" + "9" * 5000),
        "target with an escape": ("svd", *_IDS, "--target", 'logits:"\\x41"'),
        "target with a tab": ("svd", *_IDS, "--target", 'logits:"\t"'),
        "target that is no text": ("attribute", *_IDS, "--target", LONE[2]),
        "minus that is no text": ("attribute", *_IDS, "--target", "w1", "--minus", LONE[2]),
        "prompt that is no text": (*READ[:4], LONE[2]),
        "concept that is no text": ("steer", "--model", "model", "--prompt", "w1", "--concept", LONE[2]),
        "temperature nan": (*_STEER, "--temperature", "nan"),
        "temperature inf": (*_STEER, "--temperature", "inf"),
        "strength beyond float32": (*_STEER, "--strength", "1e308"),
        "verb that acts": ("\x1b[31msvd",),
        "flag that acts": ("svd", *_IDS, "--policy", "\x1b[31m"),
        "device of another kind": ("svd", *_IDS, "--device", "cpu:x"),
        "device that acts": ("svd", *_IDS, "--device", "\u202ecpu"),
        "k of digits": ("svd", *_IDS, "-k", "9" * 5000),
        "plan of a long prompt": ("plan", "--model", "model", "--tokens", "9" * 5000),
    }
    return {name: (Case(argv), REFUSED) for name, argv in words.items()}


def _configs(world: World) -> dict[str, tuple[Case, int]]:
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": -8}
    llama3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 2.0,
              "high_freq_factor": 2.0,
              "original_max_position_embeddings": 8}  # fmt: skip
    changed: dict[str, Any] = {
        "deeply nested lists": {"eos_token_id": nested(100_000)},
        "yarn of a negative length": {"rope_parameters": yarn},
        "llama3 without a ramp": {"rope_parameters": llama3},
        "window of gigabytes": {
            "sliding_window": 10**24,
            "layer_types": ["sliding_attention"],
            "model_type": "qwen3",
        },
        "epsilon of infinity": {"rms_norm_eps": Raw("1e400")},
        "epsilon of nan": {"rms_norm_eps": Raw("NaN")},
        "layers of gigabytes in config": {"num_hidden_layers": 10**9},
        "vocabulary of gigabytes": {"vocab_size": 10**12},
        "heads of an odd size": {"head_dim": 3},
        "head of digits": {"head_dim": Raw("9" * 5000)},
        "model type that acts": {"model_type": "\x1b[31mllama"},
        "activation that acts": {"hidden_act": "\u202esilu"},
        "half a surrogate pair": {"model_type": Raw('"\\ud800"')},
    }
    # Keys that nothing here needs: they cost nothing, whatever they hold.
    unused: dict[str, Any] = {
        "num_labels of gigabytes": {"num_labels": 10**24},
        "num_labels of seconds": {"num_labels": 30_000_000},
        "dtype a list": {"dtype": ["float32"]},
        "torch_dtype a list": {"torch_dtype": ["float32"]},
        "nested lists": {"eos_token_id": nested(900)},
    }
    config = json.loads(world.contents["model/config.json"])
    cases = {
        name: (_config(as_json({**config, **values})), code)
        for group, code in ((changed, REFUSED), (unused, DONE))
        for name, values in group.items()
    }
    cases["config of a byte"] = (_config("["), REFUSED)
    return cases


def _config(text: str) -> Case:
    return Case(COMPUTED, {"model/config.json": text.encode()})


def _weights(world: World) -> dict[str, tuple[Case, int]]:
    header, body = split_tensors(world.contents["model/model.safetensors"])
    first = next(iter(header))
    odd = {
        "more than all bytes": header[first] | {"shape": [10**12, 8]},
        "a shape of digits": header[first] | {"shape": [10**30]},
        "a negative shape": header[first] | {"shape": [-1]},
        "an unknown dtype": header[first] | {"dtype": "F4"},
        "offsets backwards": header[first] | {"data_offsets": [8, 0]},
        "a deep header": nested(10_000),
        "a name that acts": header[first],
    }
    cases = {}
    for name, about in odd.items():
        key = "\x1b[31m" if name == "a name that acts" else first
        rest = {other: header[other] for other in header if other != first}
        cases[f"tensor of {name}"] = (_tensors(join_tensors(as_json({key: about, **rest}), body)), REFUSED)
    cases["header of gigabytes"] = (_tensors(struct.pack("<Q", 2**40) + b"{}"), REFUSED)
    cases["header of nothing"] = (_tensors(b""), REFUSED)
    index = json.loads(world.contents["sharded/model.safetensors.index.json"])
    some = next(iter(index["weight_map"]))
    for name, file in {"a long name": "x" * 300, "another folder": "../outside/secret.txt", "a number": 3,
                       "a zero": "a\0b",
                       "a device": "/dev/zero"}.items():  # fmt: skip
        told = as_json(index | {"weight_map": index["weight_map"] | {some: file}})
        cases[f"shard of {name}"] = (_index(told), REFUSED)
    cases["nested index"] = (_index("[" * 100_000 + "]" * 100_000), REFUSED)
    return cases


def _gguf(world: World) -> dict[str, tuple[Case, int]]:
    whole = world.contents["model.gguf"]
    row = whole.index(b"token_embd.weight") + len(b"token_embd.weight") + 4
    many = struct.pack("<Q", 2**60)
    key = struct.pack("<Q", 1) + b"k"
    lists = {
        "list of lists": (9, 9, 2**40),
        "list without end": (9, 8, 2**40),
        "list of numbers": (9, 12, 2**40),
    }
    files: dict[str, Content] = {
        "keys without end": whole[:16] + many + whole[24:],
        "tensors without end": whole[:8] + many + whole[16:],
        "text without end": whole[:24] + many + whole[32:],
        "row without end": whole[:row] + many + whole[row + 8 :],
        "nothing": b"",
        "magic": b"GGUF",
        "fifo": FIFO,
        "device": Link("/dev/zero"),
    }
    for name, numbers in lists.items():
        files[name] = whole[:24] + key + struct.pack("<IIQ", *numbers) + whole[24:]
    cases = {
        f"gguf with {name}": (Case(GGUF, {"model.gguf": content}), REFUSED) for name, content in files.items()
    }
    part = ("svd", "--model", "model-00002-of-00003.gguf", *GGUF[3:])
    cases["gguf of which a part is missing"] = (Case(part, {"model-00002-of-00003.gguf": whole}), REFUSED)
    return cases | {"gguf as it is": (Case(GGUF_READ), DONE)}


def _tensors(data: bytes) -> Case:
    return Case(COMPUTED, {"model/model.safetensors": data})


def _index(text: str) -> Case:
    return Case(
        ("svd", "--model", "sharded", *COMPUTED[3:]), {"sharded/model.safetensors.index.json": text.encode()}
    )


def _tokenizers(world: World) -> dict[str, tuple[Case, int]]:
    whole = json.loads(world.contents["model/tokenizer.json"])
    settings = json.loads(world.contents["model/tokenizer_config.json"])
    special = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[X]", "type_id": 0}}]
    cases = {
        "unknown token that is none": whole | {"model": whole["model"] | {"unk_token": "nowhere"}},
        "template of unknown tokens": whole | {"post_processor": {"type": "TemplateProcessing",
        "single": special, "pair": [],
                                               "special_tokens": {}}},
        "truncation of a huge stride": whole | {"truncation": {"direction": "Right", "max_length": 1,
        "strategy": "LongestFirst",
                                                               "stride": 2**62}},
        "nested tokenizer": nested(50_000),
    }  # fmt: skip
    named: dict[str, tuple[Case, int]] = {
        name: (Case(READ, {"model/tokenizer.json": as_json(told).encode()}), REFUSED)
        for name, told in cases.items()
    }
    for name, values in {"a class that is a number": {"tokenizer_class": 3},
                         "a token that is a number": {"eos_token": 3},
                         "a nested token": {"eos_token": nested(50_000)}}.items():  # fmt: skip
        told = as_json(settings | values).encode()
        named[f"tokenizer with {name}"] = (Case(READ, {"model/tokenizer_config.json": told}), REFUSED)
    return named


def _prompts() -> dict[str, tuple[Case, int]]:
    argv = (*READ[:3], "--prompt-file", "prompt.txt", "-k", "1", "--method", "dense")
    files: dict[str, tuple[Content, int]] = {
        "prompt without end": (Link("/dev/zero"), REFUSED),
        "prompt from a fifo": (FIFO, REFUSED),
        "prompt with a mark": (b"\xef\xbb\xbfw1 w2 w3", DONE),
        "prompt in UTF-16": ("w1 w2".encode("utf-16"), REFUSED),
        "prompt in Latin-1": (b"w1 \xe9", REFUSED),
    }
    return {
        name: (Case(argv, {"prompt.txt": content}), code)
        for name, (content, code) in files.items()
        if content != FIFO
    }


def _lines() -> dict[str, tuple[Case, int]]:
    texts = {
        "line with U+2028": ('{"prompt": "w1 \u2028 w2"}', DONE),
        "line with U+0085": ('{"prompt": "w1 \u0085 w2"}', DONE),
        "lines with CRLF": ('{"prompt": "w1 w2"}\r\n{"prompt": "w3"}\r\n', DONE),
        "lines with a mark": ('\ufeff{"prompt": "w1 w2"}', DONE),
        "nested line": ("[" * 100_000, REFUSED),
        "line of booleans": ('{"token_ids": [true, false]}', REFUSED),
        "line with half a pair": ('{"prompt": "\\ud800"}', REFUSED),
        "line of digits": ('{"token_ids": [' + "9" * 5000 + "]}", REFUSED),
        "id that leads out": ('{"prompt": "w1", "id": "../../outside"}', REFUSED),
        "id that acts": ('{"prompt": "w1", "id": "\\u001b[31m"}', REFUSED),
        "nothing": ("", REFUSED),
    }
    cases = {
        name: (Case(_LINES, {"prompts.jsonl": text.encode()}), code) for name, (text, code) in texts.items()
    }
    cases["lines without end"] = (Case(_LINES, {"prompts.jsonl": Link("/dev/zero")}), REFUSED)
    return cases


def _saved(world: World) -> dict[str, tuple[Case, int]]:
    cases: dict[str, tuple[Case, int]] = {}
    for folder in world.results:
        for name, content in {"null": b"null", "deep": b"[" * 100_000, "empty": b"", "a list": b"[]"}.items():
            files = {f"{folder}/{SUMMARY}": content}
            cases[f"{folder} of {name}"] = (Case(("report", folder, "--out", "page.html"), files), REFUSED)
        nothing = {f"{folder}/{TENSORS}": join_tensors("{}", b"")}
        cases[f"{folder} without tensors"] = (Case(("plot", folder, "--out", "pictures"), nothing), REFUSED)
    state = "run.state/state.safetensors"
    if state in world.contents:
        header, body = split_tensors(world.contents[state])
        first = next(name for name in header if name != "__metadata__")
        told = as_json(header | {first: header[first] | {"shape": [10**12]}})
        cases["state of a terabyte"] = (Case(_RESUME, {state: join_tensors(told, body)}), REFUSED)
    cases["state from a fifo"] = (Case(_RESUME, {state: FIFO}), REFUSED)
    cases["batch with a damaged result"] = (Case(_BATCH, {f"batch/second/{SUMMARY}": b"{"}), REFUSED)
    cases["batch in a link"] = (Case(_BATCH, {"batch/second": Link("../../outside")}), REFUSED)
    whole = json.loads(world.contents[f"results/old-svd/{SUMMARY}"])
    told = as_json(whole | {"model": "$x_{$ and $y"}).encode()
    cases["picture of a model with dollars"] = (
        Case(("plot", "results/old-svd", "--out", "pictures"), {f"results/old-svd/{SUMMARY}": told}), DONE,
    )  # fmt: skip
    return cases


def _places() -> dict[str, tuple[Case, int]]:
    return {
        "weights from a fifo": (Case(COMPUTED, {"model/model.safetensors": FIFO}), REFUSED),
        "config from a fifo": (Case(COMPUTED, {"model/config.json": FIFO}), REFUSED),
        "tokenizer from a fifo": (Case(READ, {"model/tokenizer.json": FIFO}), REFUSED),
        "config without end": (Case(COMPUTED, {"model/config.json": Link("/dev/zero")}), REFUSED),
        "result from a fifo": (Case(("report", "results/svd"), {f"results/svd/{SUMMARY}": FIFO}), REFUSED),
        "model that is no text": (Case(("svd", "--model", LONE[2], "--token-ids", "1")), REFUSED),
    }
