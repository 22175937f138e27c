"""The exact matrix that every row is judged by: built and factorised in float64, once for each subject."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray
from subjects import Subject, subject

_MATRIX, _VALUES, _NOTE = "matrix.npy", "values.npy", "reference.json"


def make_reference(name: str, tokens: int | None, dtype: str, folder: Path) -> None:
    """Leave the matrix of this subject and its singular values in ``folder``, unless they are there."""
    if (folder / _NOTE).exists():
        return
    chosen = subject(name, tokens)
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
        chosen = chosen.in_float64()
    matrix, values = _factorised(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / _MATRIX, matrix)
    np.save(folder / _VALUES, values)
    (folder / _NOTE).write_text(json.dumps({"subject": name, "shape": matrix.shape, "passes in": dtype}))


def _factorised(chosen: Subject) -> tuple[NDArray, NDArray]:
    """J [m, n] from m passes, and all its singular values from J·Jᵀ in float64."""
    operator = chosen.operator
    matrix = np.empty(operator.shape, operator.dtype)
    for part, rows in operator.rows(np.eye(operator.shape[0], dtype=operator.dtype)):
        matrix[part] = np.asarray(rows).reshape(len(rows), -1)
    gram = np.zeros((len(matrix), len(matrix)))
    for columns in np.array_split(np.arange(matrix.shape[1]), max(1, matrix.size >> 27)):
        block = matrix[:, columns[0] : columns[-1] + 1].astype(np.float64)
        gram += block @ block.T
    return matrix, np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))


def matrix_of(folder: Path) -> NDArray:
    """The matrix [m, n], read from disk as it is used."""
    return np.load(folder / _MATRIX, mmap_mode="r")


def values_of(folder: Path) -> NDArray:
    """All singular values, falling."""
    return np.load(folder / _VALUES)


def errors(folder: Path, u: NDArray, s: NDArray, v: NDArray) -> tuple[float, float]:
    """Worst error of a σ and worst residual √(‖Jv − σu‖² + ‖Jᵀu − σv‖²), both relative to σ₁."""
    matrix, exact = matrix_of(folder), values_of(folder)
    u, s, v = (np.asarray(a, np.float64) for a in (u, s, v))
    left = np.empty_like(u)
    for row in np.array_split(np.arange(len(matrix)), 8):  # never the whole matrix in memory
        left[:, row] = v @ np.asarray(matrix[row], np.float64).T
    right = -s[:, None] * v
    for row in np.array_split(np.arange(len(matrix)), 8):
        right += u[:, row] @ np.asarray(matrix[row], np.float64)
    residual = np.hypot(np.linalg.norm(left - s[:, None] * u, axis=1), np.linalg.norm(right, axis=1))
    worst = np.abs(np.sort(s)[::-1] - exact[: len(s)]).max()
    return float(worst / exact[0]), float(residual.max() / exact[0])
