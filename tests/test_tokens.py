"""Every token's own SVD against the dense one, exact and through a shared basis, bound included."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILIES
from jaxlin_models.checkpoint import DEMOS
from numpy.typing import NDArray
from test_svd import counting_traces, labelled

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError
from jaxlin.linear.rows import RowFile
from jaxlin.per_token.blocks import top_triplets

T, M, D = 12, 150, 40


def blocks_of(operator: DetachedJacobian) -> NDArray[np.float64]:
    """J_t of every t, [T, m, d]."""
    m, length = operator.shape[0], operator.input_shape[0]
    return np.asarray(operator.dense(), np.float64).reshape(m, length, -1).transpose(1, 0, 2)


def low_rank_operator(dtype: str = "float64", rank: int = 10) -> DetachedJacobian:
    """Positions of very different size that share a left space of small rank, and one that does nothing."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((M, rank)))[0]
    sizes = np.logspace(-3, 3, T)
    sizes[4] = 0
    inner = rng.standard_normal((rank, T, D)) * np.exp(-0.7 * np.arange(rank))[:, None, None]
    a = jnp.asarray(np.einsum("mr,rtd,t->mtd", left, inner, sizes), dtype)
    x = jnp.ones((T, D), dtype)
    return DetachedJacobian(
        a, x, jnp.einsum("mtd,td->m", a, x), jnp.zeros(M, dtype), _forward, _backward, True
    )


def _forward(a: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.einsum("mtd,btd->bm", a, v, precision="highest")


def _backward(a: jax.Array, u: jax.Array) -> jax.Array:
    return jnp.einsum("mtd,bm->btd", a, u, precision="highest")


@pytest.mark.parametrize(
    ("demo", "method"), [*((demo, "exact") for demo in sorted(DEMOS)), ("demo-qwen", "shared")]
)
@pytest.mark.demos
def test_agrees_with_dense_on_the_demos(demo: str, method: str):
    operator = jaxlin.load(demo).jacobian((DEMOS[demo].parent / "prompt.txt").read_text())
    assert operator.input_shape[0] >= 400
    result = jaxlin.tokens(operator, 8, method=method)
    check(operator, result, rounding=3e-6)


@pytest.mark.parametrize("method", ["exact", "shared"])
@pytest.mark.parametrize("name", FAMILIES)
def test_agrees_with_dense_on_tiny_decoders(tiny_operator, name: str, method: str):
    check(
        tiny_operator(name, "float64"), jaxlin.tokens(tiny_operator(name, "float64"), 3, method=method), 1e-12
    )


def check(operator: DetachedJacobian, result: jaxlin.TokensResult, rounding: float) -> None:
    """Values, their bounds, and that the vectors are singular vectors of the dense blocks."""
    assert result.certificate.holds
    blocks, k = blocks_of(operator), result.s.shape[1]
    exact = np.linalg.svd(blocks, compute_uv=False)
    slack = rounding * exact[:, :1]
    off = np.abs(result.s - exact[:, :k])
    assert np.all(off <= np.asarray(result.errors, np.float64) + slack)
    assert np.all(result.errors.max(axis=1) <= result.certificate.tolerance * result.s[:, 0])
    u, s, v = (np.asarray(a, np.float64) for a in (result.U, result.s, result.V))
    assert np.all(u @ np.asarray(operator.y) >= -rounding * np.linalg.norm(operator.y))
    outside = np.sqrt(2 * result.certificate.tolerance) if result.rank < operator.shape[0] else 0
    left = np.linalg.norm(np.einsum("tmd,tkd->tkm", blocks, v) - s[..., None] * u, axis=-1)
    right = np.linalg.norm(np.einsum("tmd,tkm->tkd", blocks, u) - s[..., None] * v, axis=-1)
    assert np.all(left <= (outside + 10 * rounding) * exact[:, :1] + 1e-300)
    assert np.all(right <= 10 * slack + 1e-300)


@pytest.mark.parametrize("method", ["exact", "shared"])
def test_two_prompts_of_a_length_are_compiled_for_once(method: str):
    traced, operator = counting_traces(low_rank_operator())
    first = jaxlin.tokens(labelled(operator, "The"), 2, method=method)
    programs = len(traced)
    assert programs > 0
    second = jaxlin.tokens(labelled(operator, "One"), 2, method=method)
    assert len(traced) == programs
    np.testing.assert_array_equal(first.s, second.s)


@pytest.mark.parametrize("seed", range(8))
def test_shared_needs_few_passes_where_the_left_spaces_coincide(seed: int):
    """The large position does not drown the small ones; the one that does nothing has σ = 0."""
    operator = low_rank_operator()
    result = jaxlin.tokens(operator, 2, method="shared", seed=seed)
    check(operator, result, 1e-12)
    assert result.rank < 30
    assert result.passes < M / 1.2
    assert np.all(result.s[4] == 0)
    assert result.certificate.confidence == pytest.approx(1 - 1e-6)


def test_shared_bound_covers_what_a_small_basis_misses():
    """Loosely asked, errors are there, and never beyond their bounds."""
    operator = low_rank_operator(rank=60)
    for seed in range(6):
        result = jaxlin.tokens(operator, 1, method="shared", tolerance=1e-2, seed=seed)
        assert result.rank < M
        exact = np.linalg.svd(blocks_of(operator), compute_uv=False)[:, :1]
        assert np.all(np.abs(result.s - exact) <= result.errors + 1e-12 * exact)
        assert np.abs(result.s - exact).max() > 0


def test_one_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """Positions are read in parts, and the parts change nothing."""
    operator = low_rank_operator(rank=30)
    whole = jaxlin.tokens(operator, 3)
    by_position, shapes = RowFile.by_position, []

    def narrow(self):
        for part, blocks in by_position(self, read_bytes=5 * M * D * 8):
            shapes.append(blocks.shape)
            yield part, blocks

    monkeypatch.setattr(RowFile, "by_position", narrow)
    parts = jaxlin.tokens(operator, 3)
    assert shapes == [(5, M, D), (5, M, D), (2, M, D)]
    np.testing.assert_allclose(parts.s, whole.s, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_subspace_iteration_gives_lapack_s_answer(decay: float):
    """Also where it would take too long and LAPACK finishes: a flat spectrum."""
    rng = np.random.default_rng(1)
    blocks = rng.standard_normal((3, 130, 110)) @ np.diag(decay ** np.arange(110))
    blocks[1] = 0
    u, s, v, misfit = top_triplets(blocks, 4, 1e-12, 0)
    exact = np.linalg.svd(blocks, compute_uv=False)[:, :4]
    np.testing.assert_allclose(s, exact, atol=1e-10 * exact.max())
    again = np.linalg.norm(np.einsum("tre,tke->tkr", blocks, v) - s[..., None] * u, axis=-1)
    np.testing.assert_allclose(misfit, again, atol=1e-10)
    assert np.all(misfit <= 1e-11 * exact[:, :1] + 1e-300)


@pytest.mark.parametrize(
    ("k", "method", "message"),
    [
        (0, "exact", "k is 0, but each J_t has 40 singular values: choose 1 ≤ k ≤ 40"),
        (41, "shared", "choose 1 ≤ k ≤ 40"),
        (1, "fast", "unknown method 'fast': choose one of exact, shared"),
    ],
)
def test_requests_that_make_no_sense(k: int, method: str, message: str):
    with pytest.raises(JaxlinError, match=message):
        jaxlin.tokens(low_rank_operator(), k, method=method)


@pytest.mark.parametrize("method", ["exact", "shared"])
def test_nan_and_lies_are_caught(method: str):
    operator = low_rank_operator()
    with pytest.raises(JaxlinError, match="NaN"):
        jaxlin.tokens(replace(operator, state=operator.state * jnp.nan), method=method)
    lying = replace(operator, forward=lambda a, v: 1.001 * _forward(a, v))
    certificate = jaxlin.tokens(lying, method=method).certificate
    assert "adjoint" in {check.name for check in certificate.failed}
    assert not certificate.holds
    assert repr(certificate).startswith("TokenCertificate(FAILS at adjoint, reconstruction, worst error ")
    honest = jaxlin.tokens(operator, method=method).certificate
    assert repr(honest).startswith("TokenCertificate(holds, worst error ")
    assert len(repr(honest)) < 110


def test_no_room_for_rows_is_said(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=1))
    with pytest.raises(JaxlinError, match=r"rows of this map take .* of scratch space .* use method lanczos"):
        jaxlin.tokens(low_rank_operator(), scratch=tmp_path)
    monkeypatch.undo()
    with pytest.raises(JaxlinError, match="cannot write scratch rows to"):
        jaxlin.tokens(low_rank_operator(), scratch=tmp_path / "missing")
