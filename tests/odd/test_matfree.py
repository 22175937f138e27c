"""Golub-Kahan where its steps reach the smaller side: one-row targets, all singular values of a wide map."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxlin

SHAPES = [
    (1, 100, 1),
    (100, 1, 1),
    (8, 100, 8),
    (100, 8, 8),
    (6, 6, 6),
    (60, 200, 60),
    (60, 200, 3),
    (1, 1, 1),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "columns", "k"), SHAPES)
def test_as_many_steps_as_the_smaller_side(rows: int, columns: int, k: int, dtype: str) -> None:
    rng = np.random.default_rng(rows + columns)
    matrix = rng.standard_normal((rows, columns))
    point = jnp.asarray(rng.standard_normal(columns), dtype)
    operator = jaxlin.linearize(lambda x, a: a @ x, point, jnp.asarray(matrix, dtype))
    result = jaxlin.svd(operator, k, method="matfree")
    expected = np.linalg.svd(matrix, compute_uv=False)[:k]
    np.testing.assert_allclose(result.s, expected, rtol=0, atol=100 * np.finfo(dtype).eps * expected[0])
    assert result.certificate.holds


def test_a_target_has_one_singular_value() -> None:
    model = jaxlin.load("demo-llama")
    target = 'logits:" Paris"'
    by_method = {
        method: float(model.svd("The capital of France is", target=target, method=method, k=1).s[0])
        for method in ("dense", "matfree")
    }
    assert by_method["matfree"] == pytest.approx(by_method["dense"], rel=1e-5)
    assert by_method["dense"] == pytest.approx(17.7578, rel=1e-4)


def test_the_start_is_on_the_smaller_side() -> None:
    """A wide map of small rank is found whole: no step is lost in what the map takes to zero."""
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 500))
    operator = jaxlin.linearize(lambda x, a: a @ x, jnp.ones(500), jnp.asarray(matrix))
    result = jaxlin.svd(operator, 3, method="matfree")
    expected = np.linalg.svd(matrix, compute_uv=False)[:3]
    np.testing.assert_allclose(result.s, expected, rtol=1e-12)
