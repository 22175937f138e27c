"""Damage to what was valid: JSON by its structure, files by their bytes, safetensors by header and body."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hostile.values import NUMBERS, Raw, as_json, json_values, texts

Draw = Callable[[st.SearchStrategy[Any]], Any]
Path = tuple[str | int, ...]

#: What safetensors calls dtypes, and what it does not.
DTYPES = ("F32", "F64", "BF16", "F16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "I3", "f32", "")
#: Numbers that a whole tensor may be filled with.
FILLS = (0.0, float("nan"), float("inf"), -float("inf"), 1e30, -3e38, 1e-45, 1.0, -1.0)


def paths(document: Any, here: Path = ()) -> Iterator[Path]:
    """Every place in a document, the document itself first."""
    yield here
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, inner in items:
        yield from paths(inner, (*here, key))


@st.composite
def damaged_json(draw: Draw, text: str, also: tuple[Any, ...] = (), most: int = 3) -> str:
    """One to ``most`` edits of a document, or its text damaged as bytes are."""
    if draw(st.integers(0, 9)) == 0:
        return draw(damaged_bytes(text.encode())).decode(errors="surrogateescape")
    document = json.loads(text)
    for _ in range(draw(st.sampled_from((1, 1, 2, most)))):
        document = _edited(draw, document, also)
    return as_json(document)


def _edited(draw: Draw, document: Any, also: tuple[Any, ...]) -> Any:
    places = list(paths(document))
    # Shallow places matter most and are few.
    top = [place for place in places if len(place) <= 2]
    place = draw(st.sampled_from(places if draw(st.booleans()) else top))
    if not place:
        return draw(json_values(also)) if draw(st.integers(0, 5)) == 0 else _with_key(draw, document, also)
    holder, key = document, place[-1]
    for step in place[:-1]:
        holder = holder[step]
    how = draw(
        st.sampled_from(
            ("replace", "replace", "replace", "delete", "wrap", "swap", "rename", "scale", "more")
        )
    )
    if how == "delete":
        del holder[key]
    elif how == "wrap":
        holder[key] = draw(st.sampled_from(([holder[key]], {"a": holder[key]}, [holder[key]] * 2)))
    elif how == "swap":
        other = document
        for step in draw(st.sampled_from(places)):
            other = other[step]
        holder[key] = Raw(as_json(other))
    elif how == "rename" and isinstance(holder, dict):
        holder[draw(texts())] = holder.pop(key)
    elif how == "scale" and isinstance(holder[key], int | float):
        holder[key] = holder[key] * draw(st.sampled_from((-1, 0, 2, 1000, 10**12)))
    elif how == "more" and isinstance(holder, list):
        holder[key:key] = [holder[key]] * draw(st.sampled_from((1, 3, 1000)))
    else:
        holder[key] = draw(json_values(also))
    return document


def _with_key(draw: Draw, document: Any, also: tuple[Any, ...]) -> Any:
    if isinstance(document, dict):
        names = (*document, *(name for name in also if isinstance(name, str)))
        document[draw(st.one_of(st.sampled_from(names), texts()) if names else texts())] = draw(
            json_values(also)
        )
    elif isinstance(document, list):
        document.append(draw(json_values(also)))
    return document


@st.composite
def damaged_bytes(draw: Draw, data: bytes) -> bytes:
    """A file cut, flipped, grown, doubled, or replaced by something else."""
    at = draw(st.integers(0, len(data)))
    until = min(len(data), at + draw(st.integers(0, 64)))
    how = draw(st.sampled_from(("cut", "flip", "flip", "insert", "delete", "double", "zero", "other")))
    if how == "cut":
        return data[:at]
    if how == "flip":
        flips = draw(
            st.lists(
                st.tuples(st.integers(0, max(0, len(data) - 1)), st.integers(1, 255)), min_size=1, max_size=4
            )
        )
        flipped = bytearray(data)
        for place, bits in flips if data else ():
            flipped[place] ^= bits
        return bytes(flipped)
    if how == "insert":
        return data[:at] + draw(st.binary(max_size=40)) + data[at:]
    if how == "delete":
        return data[:at] + data[until:]
    if how == "double":
        return data[:until] + data[at:]
    if how == "zero":
        return data[:at] + bytes(until - at) + data[until:]
    return draw(st.one_of(st.sampled_from((b"", b"\0", b"\0" * 4096, b"\xff\xfe", b"\xef\xbb\xbf", b"{}",
                b"[]", b"null")),
                          st.binary(max_size=64)))  # fmt: skip


def split_tensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_tensors(header: str, body: bytes, length: int | None = None) -> bytes:
    """A safetensors file; ``length``: what it says of its header, if that is a lie."""
    encoded = header.encode("utf-8", "surrogatepass")
    encoded += b" " * (-len(encoded) % 8)
    said = len(encoded) if length is None else length
    return struct.pack("<Q", said % 2**64) + encoded + body


@st.composite
def damaged_tensors(draw: Draw, data: bytes) -> bytes:
    """A safetensors file whose header, length of the header, body or bytes are changed."""
    header, body = split_tensors(data)
    how = draw(
        st.sampled_from(("header", "header", "header", "fill", "fill", "reshape", "many", "length", "bytes"))
    )
    if how == "bytes":
        return draw(damaged_bytes(data))
    if how == "length":
        lengths = st.sampled_from(
            (0, 1, 7, 8, 2**31, 2**63, 2**64 - 1, len(data), len(data) - 8, 100_000_001)
        )
        return join_tensors(as_json(header), body, draw(lengths))
    if how == "many":
        more = draw(st.sampled_from((1, 100, 5000)))
        empty = {"dtype": draw(st.sampled_from(DTYPES)), "shape": [0], "data_offsets": [0, 0]}
        return join_tensors(as_json(header | {f"more.{i}": empty for i in range(more)}), body)
    if how == "header":
        return join_tensors(draw(damaged_json(as_json(header), (*DTYPES, *NUMBERS))), body)
    names = [name for name in header if name != "__metadata__"]
    name = draw(st.sampled_from(names))
    if how == "reshape":
        return _reshaped(draw, header, body, name)
    start, end = header[name]["data_offsets"]
    kind = {"F32": np.float32, "F64": np.float64, "I64": np.int64}.get(header[name]["dtype"])
    if kind is None:
        return join_tensors(as_json(header), body[:start] + bytes(end - start) + body[end:])
    values = np.frombuffer(body[start:end], kind).copy()
    with np.errstate(all="ignore"):
        if kind is np.int64:
            values[...] = draw(st.sampled_from((0, -1, 1, 2**31, 2**62, -(2**63))))
        elif draw(st.booleans()) or not values.size:
            values[...] = draw(st.sampled_from(FILLS))
        else:
            values[draw(st.integers(0, values.size - 1))] = draw(st.sampled_from(FILLS))
    return join_tensors(as_json(header), body[:start] + values.tobytes() + body[end:])


def _reshaped(draw: Draw, header: dict[str, Any], body: bytes, name: str) -> bytes:
    """A tensor of another valid shape or dtype, so that the file as such can be read."""
    start, end = header[name]["data_offsets"]
    dtype, size = draw(
        st.sampled_from((("F32", 4), ("F64", 8), ("I64", 8), ("U8", 1), ("BF16", 2), ("BOOL", 1)))
    )
    count = draw(st.sampled_from((0, 1, 2, (end - start) // size)))
    shape = draw(
        st.sampled_from(([count], [1, count], [count, 1], [1, 1, count], *([[]] if count == 1 else [])))
    )
    rest = {other: about for other, about in header.items() if other != name}
    # Behind all others, and the offsets of all made anew, so that there is no hole.
    tensors = {
        other: body[slice(*about["data_offsets"])] for other, about in rest.items() if other != "__metadata__"
    }
    tensors[name] = draw(
        st.sampled_from((bytes(count * size), body[start : start + count * size].ljust(count * size, b"\0")))
    )
    made: dict[str, Any] = {"__metadata__": header["__metadata__"]} if "__metadata__" in header else {}
    at = 0
    for other, content in tensors.items():
        kind = (
            {"dtype": dtype, "shape": shape}
            if other == name
            else {key: rest[other][key] for key in ("dtype", "shape")}
        )
        made[other] = kind | {"data_offsets": [at, at + len(content)]}
        at += len(content)
    return join_tensors(as_json(made), b"".join(tensors.values()))


#: Counts, lengths, types and offsets as they may stand in the header of a GGUF file.
_STATED = (0, 1, 2, 3, 7, 8, 9, 12, 13, 16, 31, 32, 33, 255, 256, 2**16, 2**31, 2**32 - 1, 2**40, 2**63,
           2**64 - 1)  # fmt: skip
#: Beginnings of its words, and others as long.
_WORDS = ((b"llama.", b"qwen2."), (b"attention.", b"attentioN."), (b"weight", b"weighs"),
          (b"blk.0.", b"blk.1."), (b"general.", b"generaL."), (b"gpt2", b"bert"),
          (b"tokenizer.", b"tokenizeR."), (b"tokens", b"merges"), (b"attn_q", b"attn_k"))  # fmt: skip


@st.composite
def damaged_gguf(draw: Draw, whole: bytes) -> bytes:
    """A GGUF file with other numbers or words in its header, or damaged as bytes are."""
    if draw(st.integers(0, 4)) == 0:
        damaged: bytes = draw(damaged_bytes(whole))
        return damaged
    data = bytearray(whole)
    end = whole.rindex(b".weight") + 40
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        how = draw(st.sampled_from(("number", "number", "word", "cut")))
        if how == "number":
            form = draw(st.sampled_from(("<I", "<Q")))
            at = draw(st.one_of(st.sampled_from((4, 8, 16, 24)), st.integers(0, end)))
            struct.pack_into(
                form, data, at, draw(st.sampled_from(_STATED)) % (1 << 8 * struct.calcsize(form))
            )
        elif how == "word":
            old, new = draw(st.sampled_from(_WORDS))
            at = data.find(old, draw(st.integers(0, end)))
            if at >= 0:
                data[at : at + len(old)] = new
        else:
            del data[draw(st.integers(0, len(data))) :]
            break
    return bytes(data)
