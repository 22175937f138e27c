"""The certificate against operators that lie: each lie is caught, and by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_svd import SPECTRA, K, matrix_with, operator_of, times_matrix, times_transpose

import jaxlin
from jaxlin import DetachedJacobian
from jaxlin.linear.certificate import check_operator

RNG = np.random.default_rng(0)


def noisy(a: jax.Array, v: jax.Array) -> jax.Array:
    """Another answer at every call."""
    noise = jax.pure_callback(
        lambda: RNG.standard_normal((), a.dtype), jax.ShapeDtypeStruct((), a.dtype), vmap_method="sequential"
    )
    return times_matrix(a, v) * (1 + 1e-3 * noise)


LIES: dict[str, Callable[[DetachedJacobian], DetachedJacobian]] = {
    "adjoint": lambda operator: replace(operator, backward=lambda a, u: 1.001 * times_transpose(a, u)),
    "repetition": lambda operator: replace(operator, forward=noisy),
    "linearity": lambda operator: replace(operator, forward=lambda a, v: jnp.tanh(times_matrix(a, v))),
    "reconstruction": lambda operator: replace(operator, offset=operator.offset + 0.01),
}


@pytest.fixture(params=["float64", "float32"])
def honest(request: pytest.FixtureRequest) -> DetachedJacobian:
    return operator_of(matrix_with(SPECTRA["polynomial"]), request.param)


def test_an_honest_operator_passes_every_check(honest: DetachedJacobian):
    for seed in range(5):
        assert all(check.holds for check in check_operator(honest, seed))


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_caught_by_name(honest: DetachedJacobian, lie: str):
    failed = {check.name for check in check_operator(LIES[lie](honest), seed=1) if not check.holds}
    assert lie in failed
    if lie in ("adjoint", "reconstruction"):
        assert failed == {lie}


@pytest.mark.parametrize("method", ["dense", "lanczos", "matfree", "power"])
@pytest.mark.parametrize("lie", LIES)
def test_no_result_of_a_liar_holds(honest: DetachedJacobian, lie: str, method: str):
    certificate = jaxlin.svd(LIES[lie](honest), K, method=method).certificate
    assert lie in {check.name for check in certificate.failed}
    assert not certificate.holds


def test_certificates_show_themselves_in_a_line(honest: DetachedJacobian):
    """What fails is named."""
    result = jaxlin.svd(honest, K, method="lanczos")
    said = repr(result.certificate)
    tolerance = result.certificate.tolerance
    assert said.startswith("Certificate(holds, worst residual ")
    assert f"·σ₁ of {tolerance:.0e}, captured energy 0.9" in said
    assert " ± " in said
    assert len(said) < 110
    exact = jaxlin.svd(honest, K, method="dense").certificate
    assert " ± " not in repr(exact.energy)
    lying = jaxlin.svd(LIES["adjoint"](honest), K, method="dense").certificate
    missed = lying.wanted - lying.converged
    assert repr(lying).startswith(f"Certificate(FAILS at {missed} of 6 triplets, adjoint, worst residual ")


def test_nan_fails_every_check_it_touches(honest: DetachedJacobian):
    broken = replace(honest, forward=lambda a, v: times_matrix(a, v) * jnp.nan)
    checks = {check.name: check for check in check_operator(broken, seed=0)}
    assert not any(checks[name].holds for name in ("adjoint", "repetition", "linearity", "reconstruction"))


def test_residuals_of_wrong_vectors_are_not_converged(honest: DetachedJacobian):
    """The transpose lies about one direction alone, which random probes hardly notice: residuals do."""
    first = jnp.asarray(np.linalg.svd(np.asarray(honest.state))[0][:, 0])

    def blind(a: jax.Array, u: jax.Array) -> jax.Array:
        return times_transpose(a, u + 0.01 * (u @ first)[:, None] * first)

    certificate = jaxlin.svd(replace(honest, backward=blind), K, method="dense").certificate
    assert certificate.converged < certificate.wanted


def test_stagnation_is_of_iterative_methods_alone(honest: DetachedJacobian):
    found = {name: jaxlin.svd(honest, K, method=name).certificate for name in ("dense", "gram", "lanczos")}
    assert found["dense"].check("stagnation") is None
    assert found["gram"].check("stagnation") is None
    assert found["lanczos"].check("stagnation").value <= found["lanczos"].tolerance
