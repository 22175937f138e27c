"""Layer by layer, against the dense matrix of every part; effective dimensions against whole spectra."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_pytree
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin import JaxlinError
from jaxlin.analyses.layers import part_of
from jaxlin.linear.vectors import overlaps
from jaxlin.results.layer import PARTS
from jaxlin.solvers.spectrum import dimensions, principal_angles

NAME = "llama-biases"


@pytest.fixture(scope="module")
def recording(tiny_model):
    return tiny_model(NAME, "float64").record(prompt_ids(NAME))


@pytest.mark.parametrize("method", ["auto", "lanczos"])
def test_every_part_against_the_dense_matrix(recording, method: str):
    found = jaxlin.layers(recording, 4, method=method, parts=("cumulative", "rest", "attention", "mlp"))
    assert found.holds
    for part, results in found.parts.items():
        for layer, one in zip(found.layers, results, strict=True):
            operator = part_of(recording, part, layer)
            flat = np.asarray(operator.dense()).reshape(operator.shape)
            u, s, vt = np.linalg.svd(flat, full_matrices=False)
            np.testing.assert_allclose(one.s, s[:4], rtol=1e-9)
            assert principal_angles(one.U, u[:, :4].T).max() < 1e-7
            v = vt[:4].reshape(4, *operator.input_shape)
            np.testing.assert_allclose(one.weights, np.linalg.norm(v, axis=-1), atol=1e-7)
            brought = one.U @ np.asarray(operator.y - operator.offset)
            np.testing.assert_allclose(one.contributions.sum(1), brought, atol=1e-9)
            assert (one.U @ one.output >= 0).all()
            exact = (s**2).sum() / s[0] ** 2, (s**2).sum() ** 2 / (s**4).sum()
            if method == "auto":  # the whole spectrum is known
                assert one.dimensions.stable_rank == pytest.approx(exact[0], rel=1e-10)
                assert one.dimensions.participation == pytest.approx((exact[1], exact[1]), rel=1e-10)
            else:
                off = 5 * one.dimensions.frobenius2_error / s[0] ** 2
                assert one.dimensions.frobenius2_error > 0
                assert abs(one.dimensions.stable_rank - exact[0]) < off


def test_bounds_of_the_participation_ratio_hold():
    """With ‖J‖_F² exact, the ratio of the whole spectrum lies between the two."""
    for decay in (0.5, 0.9, 0.99):
        spectrum = decay ** np.arange(40)
        operator = jaxlin.linearize(lambda x, s: s * x, jnp.ones(40), jnp.asarray(spectrum))
        result = jaxlin.svd(operator, 6, method="lanczos")
        exact = (spectrum**2).sum() ** 2 / (spectrum**4).sum()
        least, most = dimensions(result).participation
        slack = 1 + 10 * result.certificate.energy.error / result.certificate.energy.captured
        assert least / slack <= exact <= most * slack
        assert least < most


def test_the_path_ends_at_itself(recording):
    found = jaxlin.layers(recording, 3, parts=("cumulative",))
    path = found.path
    assert path is not None
    check_pytree(found)
    assert path.shape == (3, 3, 3)
    np.testing.assert_allclose(path[-1], np.eye(3), atol=1e-8)
    assert jaxlin.layers(recording, 3, parts=("mlp",)).path is None
    first = part_of(recording, "cumulative", 0).dense().reshape(32, -1)
    u = np.linalg.svd(first)[0][:, 0]
    assert abs(path[0, 0, 0]) == pytest.approx(abs(u @ found.parts["cumulative"][-1].U[0]), abs=1e-8)


def test_chosen_layers_without_the_norm_and_a_span(recording):
    found = jaxlin.layers(recording, 2, parts=("block", "mlp"), at=[0, 2], normed=False, span=[1, 3, 11])
    assert found.layers == (0, 2)
    assert not found.normed
    operator = part_of(recording, "block", 2, normed=False)
    s = np.linalg.svd(np.asarray(operator.dense())[:, [1, 3, 11]].reshape(32, -1), compute_uv=False)
    np.testing.assert_allclose(found.parts["block"][1].s, s[:2], rtol=1e-10)
    assert found.parts["block"][1].weights.shape == (2, 3)
    assert found.parts["mlp"][1].weights.shape == (2, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": ("residual",)}, "unknown part 'residual': choose from " + ", ".join(PARTS)),
        ({"parts": ()}, "no part is asked for"),
        ({"at": [0, 3]}, r"layers \[0, 3\] are not in order or not there: choose from 0 to 2"),
        ({"at": [1, 0]}, "not in order"),
        ({"at": []}, "not in order"),
    ],
)
def test_requests_that_cannot_be_met(recording, settings: dict, message: str):
    with pytest.raises(JaxlinError, match=message):
        jaxlin.layers(recording, 2, **settings)


def test_principal_angles_keep_their_digits():
    """Two planes at angles 1e-9 and 1: a cosine alone would lose the first."""
    q = np.linalg.qr(np.asarray(jax.random.normal(jax.random.key(0), (9, 9))))[0]
    angles = np.array([1e-9, 1.0])
    a = q[:, :2].T
    b = np.cos(angles)[:, None] * a + np.sin(angles)[:, None] * q[:, 2:4].T
    np.testing.assert_allclose(principal_angles(a, b), angles, rtol=1e-6)
    np.testing.assert_allclose(principal_angles(a[:1], b), angles[:1], rtol=1e-6)
    np.testing.assert_allclose(overlaps(a, b), np.diag(np.cos(angles)), atol=1e-15)
