"""What quantisation changes in a map: its spectrum, its first directions, and the prediction.

    python scripts/findings/quantisation.py --json build/findings/quantisation.json
    python scripts/findings/quantisation.py --model smollm2-135m --prompts 1

The model is a GGUF file, and every other is compared with it:

* ``dequantised``: its own weights, dequantised and written as safetensors with its config, and loaded again;
* ``Q8_0``, ``Q4_0``: its matrices quantised once more by the package ``gguf``, in blocks of 32 along a row.
  Norms stay as they are, and embeddings and head are Q8_0 in both: llama.cpp, too, keeps these in more bits.

Compared are the matrices (‖ΔJ‖_F / ‖J‖_F, 0 if they are equal bit by bit), the first singular values, the
principal angles between the spans of the first four directions (degrees, the smallest and the largest), and
the prediction (KL divergence in nats, and whether the most likely token is the same).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import gguf
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from common import COLOURS, Row, Rows, Table, arguments, named, run, save_picture, shares
from jaxlin_models.tensors import Tensors, tensors_of
from matrices import decomposed, matrix_of, stored, without_check_of_prediction
from prompts import SHORT
from safetensors.numpy import save_file

import jaxlin
from jaxlin import JaxlinError, Model, SVDResult
from jaxlin.runtime.progress import Progress
from jaxlin.solvers.spectrum import principal_angles

#: Directions whose span is compared, and singular values that are.
DIRECTIONS, VALUES = 4, 64
VARIANTS = ("dequantised", "Q8_0", "Q4_0")
#: How embeddings and head are quantised in all of them, by what their names contain.
FINER, _TABLES = gguf.GGMLQuantizationType.Q8_0, ("embed_tokens", "lm_head")


def main() -> None:
    """Measure, print the table, draw the picture."""
    run(study, arguments(__doc__, "quantisation", prompts=8))


def study(asked: argparse.Namespace, progress: Progress) -> None:
    """One model after the other."""
    settings = {"directions": DIRECTIONS, "values": VALUES, "tables": FINER.name, "dtype": "float32"}
    rows = Rows(asked.json, settings)
    found: dict[str, Sequence[Row]] = {}
    texts = named(SHORT[: asked.prompts])
    for name in asked.model:
        load = cache(partial(loaded, name))
        found[name] = list(rows.measure(name, texts, partial(measure, load), progress).values())
        rows.summarise(name, {which: summary_of(which, found[name]) for which in VARIANTS})
    for table in tables(found):
        table.show()
    panels = {f"{name}, {len(each)} prompts": partial(draw, each) for name, each in found.items()}
    save_picture(asked.picture, panels)


def loaded(name: str) -> dict[str, Model]:
    """The model as it is, and each of its variants.

    Raises:
        JaxlinError: it is no GGUF file.
    """
    checkpoint = models.find(name)
    if checkpoint.gguf is None:
        raise JaxlinError(f"{name} is no GGUF file: this study is of quantised models")
    tensors = tensors_of(checkpoint)
    made = {"as it is": jaxlin.load(name)}
    with tempfile.TemporaryDirectory() as folder:
        write(checkpoint, tensors, Path(folder))
        made["dequantised"] = jaxlin.load(folder)
    for which in VARIANTS[1:]:
        again = Requantised(tensors, gguf.GGMLQuantizationType[which])
        decoder = models.decoder_of(checkpoint.config, checkpoint.hf_config, again, jnp.float32)
        made[which] = jaxlin.load(decoder)
    return made


def write(checkpoint: models.Checkpoint, tensors: Tensors, folder: Path) -> None:
    """The dequantised weights as a checkpoint in safetensors."""
    every = {name: tensors.read(name, slice(None)) for name in tensors.dtypes()}
    save_file(every, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(checkpoint.hf_config.to_dict()), encoding="utf-8")


class Requantised:
    """Tensors whose matrices are quantised and dequantised when they are read, row by row as ``gguf`` does.

    Args:
        tensors: what they are made of.
        kind: of the quantisation.
    """

    remedy = "choose another quantisation"

    def __init__(self, tensors: Tensors, kind: gguf.GGMLQuantizationType) -> None:
        self.owner = f"{tensors.owner} in {kind.name}"
        self._tensors, self._kind = tensors, kind

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def dtypes(self) -> Mapping[str, str]:
        """How each of them is stored."""
        return self._tensors.dtypes()

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing or misshaped."""
        self._tensors.check(name, expected)

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors of one shape have the same values; if they had before, they have now."""
        return self._tensors.equal(one, other)

    def read(self, name: str, rows: slice, columns: slice = slice(None)) -> np.ndarray:
        """Some rows, and of these some columns, of one tensor, in float32."""
        values = self._tensors.read(name, rows).astype(np.float32)
        if values.ndim < 2:
            return values
        # Whole rows, as blocks lie along them.
        kind = FINER if any(part in name for part in _TABLES) else self._kind
        packed = gguf.quants.quantize(np.ascontiguousarray(values), kind)
        unpacked: np.ndarray = gguf.quants.dequantize(packed, kind)
        return unpacked[:, columns]


def measure(load: Callable[[], Mapping[str, Model]], text: str) -> Row:
    """Every variant beside the model as it is, at one prompt."""
    every = load()
    ids = every["as it is"].tokenize(text)
    exact = every["as it is"]
    base = mapped(exact, ids)
    before = log_probabilities(exact, base)
    told: Row = {
        "tokens": len(ids),
        "holds": base.holds,
        "predicts": exact.token_text(int(before.argmax())),
        "s": significant(np.asarray(base.s)),
    }
    for which in VARIANTS:
        other = mapped(every[which], ids)
        after = log_probabilities(every[which], other)
        told[which] = {
            "matrix": float(np.linalg.norm(matrix(other) - matrix(base)) / np.linalg.norm(matrix(base))),
            "ratios": significant(np.asarray(other.s, np.float64) / np.asarray(base.s, np.float64)),
            "stable_rank_ratio": stable_rank(other) / stable_rank(base),
            "angles_left": degrees(base.U, other.U),
            "angles_right": degrees(base.V, other.V),
            "kl": float(np.exp(before) @ (before - after)),
            "same_token": bool(before.argmax() == after.argmax()),
        }
    return told


def mapped(model: Model, ids: Sequence[int]) -> SVDResult:
    """The map's first triplets, and the matrix itself beside them."""
    operator = without_check_of_prediction(model.jacobian(ids))
    whole = matrix_of(operator)
    return decomposed(stored(operator, whole), VALUES).with_jacobian(jnp.asarray(whole))


def matrix(result: SVDResult) -> np.ndarray:
    """The matrix, in float64."""
    return np.asarray(result.jacobian, np.float64)


def log_probabilities(model: Model, result: SVDResult) -> np.ndarray:
    """log softmax of the logits at the map's output, in float64."""
    logits = np.asarray(model.logits(result.y), np.float64)
    shifted = logits - logits.max()
    known: np.ndarray = shifted - np.log(np.exp(shifted).sum())
    return known


def stable_rank(result: SVDResult) -> float:
    """‖J‖_F² / σ₁², from the whole spectrum."""
    squares = np.square(np.asarray(result.spectrum, np.float64))
    return float(squares.sum() / squares[0])


def degrees(a: Any, b: Any) -> list[float]:
    """Principal angles of the spans of the first directions, rising."""
    return significant(np.degrees(principal_angles(a[:DIRECTIONS], b[:DIRECTIONS])))


def significant(values: np.ndarray) -> list[float]:
    """Numbers in seven digits, which float32 has."""
    return [float(f"{value:.7g}") for value in values]


def summary_of(which: str, rows: Sequence[Row]) -> Mapping[str, Any]:
    """Medians over prompts, and the worst."""
    each = [row[which] for row in rows]
    first = [np.abs(np.array(row["ratios"][:DIRECTIONS]) - 1).max() for row in each]
    figures = {
        "matrix": [row["matrix"] for row in each],
        "first_values": first,
        "all_values": [np.abs(np.array(row["ratios"]) - 1).max() for row in each],
        "largest_angle_left": [row["angles_left"][-1] for row in each],
        "largest_angle_right": [row["angles_right"][-1] for row in each],
        "smallest_angle_right": [row["angles_right"][0] for row in each],
        "kl": [row["kl"] for row in each],
    }
    ends = {
        name: {"median": float(np.median(values)), "most": float(max(values))}
        for name, values in figures.items()
    }
    return {**ends, "same_token": sum(row["same_token"] for row in each), "prompts": len(each)}


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """A table for each model, with a line for each variant."""
    head = ("weights", "‖ΔJ‖ / ‖J‖", "σ₁ … σ₄ by", "angle, left", "angle, right", "KL", "same token")
    made = []
    for name, rows in found.items():
        lines = []
        for which in VARIANTS:
            each = [row[which] for row in rows]
            same = f"{sum(row['same_token'] for row in each)} of {len(each)}"
            lines.append((
                which,
                shares([row["matrix"] for row in each]),
                shares([float(np.abs(np.array(row["ratios"][:DIRECTIONS]) - 1).max()) for row in each]),
                *(shares([row[side][-1] for row in each]) for side in ("angles_left", "angles_right")),
                shares([row["kl"] for row in each]),
                same,
            ))  # fmt: skip
        made.append(Table(f"{name}, {len(rows)} prompts, median (least … most)", head, lines))
    return made


def draw(rows: Sequence[Row], axes: Any) -> None:
    """σ of the variant / σ of the model, by number: all prompts, and their median."""
    for which, colour in zip(VARIANTS, (COLOURS[3], *COLOURS), strict=False):
        ratios = np.array([row[which]["ratios"] for row in rows])
        number = np.arange(1, ratios.shape[1] + 1)
        axes.plot(number, ratios.T, color=colour, linewidth=0.4, alpha=0.4)
        axes.plot(number, np.median(ratios, axis=0), color=colour, label=which)
    axes.set(xscale="log", xlabel="number of the direction", ylabel="σ quantised once more / σ")
    axes.legend(frameon=False)


if __name__ == "__main__":
    main()
