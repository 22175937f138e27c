"""The blocks of GGUF's quantised types, taken apart into codes, factors and scales; nothing is rounded.

Layouts are those of llama.cpp's ``ggml-common.h``; ``gguf.dequantize`` is what the tests compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from jaxlin_models.packed import Code, Codes, Form

_Blocks = np.ndarray  # uint8 [..., bytes of a block]

_SMALL, _LARGE = 32, 256
_SIX = Code(6)
#: GGUF's name of a type -> how it writes numbers.
FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        Form("Q4_0", Code(4, 8), _SMALL),
        Form("Q4_1", Code(4), _SMALL, minima=True),
        Form("Q5_0", Code(5, 16), _SMALL),
        Form("Q5_1", Code(5), _SMALL, minima=True),
        Form("Q8_0", Code(8, 128), _SMALL),
        Form("Q2_K", Code(2), _LARGE, minima=True, factor=Code(4), group=16),
        Form("Q3_K", Code(3, 4), _LARGE, factor=Code(6, 32), group=16),
        Form("Q4_K", Code(4), _LARGE, minima=True, factor=_SIX, group=32),
        Form("Q5_K", Code(5), _LARGE, minima=True, factor=_SIX, group=32),
        Form("Q6_K", Code(6, 32), _LARGE, factor=Code(8, 128), group=16),
    )
}
#: The sign of a float16.
_SIGN = np.uint16(0x8000)
#: Added to a signed byte, makes it unsigned; an exclusive or does the same.
_HALF = np.uint8(0x80)


def take_apart(kind: str, rows: np.ndarray, size: int) -> Codes:
    """Raw rows uint8 [rows, bytes] of a type as its parts, each [rows, its own number of inputs].

    Args:
        kind: a name in :data:`FORMS`.
        rows: as they are in the file.
        size: bytes of a block.
    """
    blocks = rows.reshape(len(rows), -1, size)
    return Codes(FORMS[kind], *_APART[kind](blocks)).turned(lambda part: part.reshape(len(rows), -1))


#: Codes, scales, minima, factors, factors of minima.
_Parts = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]


def _q4_0(b: _Blocks) -> _Parts:
    return _fields(b[..., 2:], 4), _half(b, 0), None, None, None


def _q4_1(b: _Blocks) -> _Parts:
    return _fields(b[..., 4:], 4), _half(b, 0), _half(b, 2), None, None


def _q5_0(b: _Blocks) -> _Parts:
    return _fields(b[..., 6:], 4) | _top_bits(b[..., 2:6]), _half(b, 0), None, None, None


def _q5_1(b: _Blocks) -> _Parts:
    return _fields(b[..., 8:], 4) | _top_bits(b[..., 4:8]), _half(b, 0), _half(b, 2), None, None


def _q8_0(b: _Blocks) -> _Parts:
    return b[..., 2:] ^ _HALF, _half(b, 0), None, None, None


def _q2_k(b: _Blocks) -> _Parts:
    minima = _half(b, 82) ^ _SIGN
    return _fields(b[..., 16:80], 2, 32), _half(b, 80), minima, b[..., :16] & 15, b[..., :16] >> 4


def _q3_k(b: _Blocks) -> _Parts:
    codes = _fields(b[..., 32:96], 2, 32) | _fields(b[..., :32], 1) << 2
    factors = _fields(b[..., 96:104], 4) | _fields(b[..., 104:108], 2) << 4
    return codes, _half(b, 108), None, factors, None


def _q4_k(b: _Blocks) -> _Parts:
    return _fields(b[..., 16:], 4, 32), _half(b, 0), _half(b, 2) ^ _SIGN, *_sixes(b[..., 4:16])


def _q5_k(b: _Blocks) -> _Parts:
    codes = _fields(b[..., 48:], 4, 32) | _fields(b[..., 16:48], 1) << 4
    return codes, _half(b, 0), _half(b, 2) ^ _SIGN, *_sixes(b[..., 4:16])


def _q6_k(b: _Blocks) -> _Parts:
    codes = _fields(b[..., :128], 4, 64) | _fields(b[..., 128:192], 2, 32) << 4
    return codes, _half(b, 208), None, b[..., 192:208] ^ _HALF, None


def _fields(raw: np.ndarray, width: int, run: int | None = None) -> np.ndarray:
    """The fields of this width in bytes [..., n], those of each run of bytes from the lowest bits up.

    A run is all bytes if not given.
    """
    runs = raw.reshape(*raw.shape[:-1], -1, 1, raw.shape[-1] if run is None else run)
    places = np.arange(0, 8, width).astype(np.uint8)[:, None]
    fields: np.ndarray = (runs >> places) & np.uint8(2**width - 1)
    return fields.reshape(*raw.shape[:-1], -1)


def _top_bits(raw: np.ndarray) -> np.ndarray:
    """The fifth bit of each number, from bits in a row."""
    return np.unpackbits(raw, axis=-1, bitorder="little") << 4


def _sixes(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eight factors and eight of minima of six bits each, of twelve bytes: the last four of each have their
    lower bits in the last four bytes, and their upper bits on top of the first eight.
    """
    first, second, last = raw[..., :4], raw[..., 4:8], raw[..., 8:]
    factors = [first & 63, (last & 15) | (first >> 6 << 4)]
    of_minima = [second & 63, (last >> 4) | (second >> 6 << 4)]
    return np.concatenate(factors, axis=-1), np.concatenate(of_minima, axis=-1)


def _half(blocks: _Blocks, start: int) -> np.ndarray:
    """The bits of the float16 that begins at a byte."""
    return np.ascontiguousarray(blocks[..., start : start + 2]).view(np.uint16)


_APART: Mapping[str, Callable[[_Blocks], _Parts]] = {
    "Q4_0": _q4_0, "Q4_1": _q4_1, "Q5_0": _q5_0, "Q5_1": _q5_1, "Q8_0": _q8_0,
    "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k,
}  # fmt: skip
