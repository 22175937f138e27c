"""Every SVD method against prescribed spectra, against each other, and against operators that lie."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILIES
from jaxlin_models.checkpoint import DEMOS
from numpy.typing import NDArray

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError
from jaxlin.linear.energy import energy_of_leftover, leftover_probes
from jaxlin.linear.rows import RowFile
from jaxlin.linear.tolerance import default_tolerance
from jaxlin.results.labels import Labels
from jaxlin.runtime.solver_state import SolverState
from jaxlin.solvers.choose import choose_method
from jaxlin.solvers.methods import USED_BY, uses

M, N, K = 40, 90, 6
SPECTRA = {
    "polynomial": 1.0 / np.arange(1, M + 1) ** 2,
    "exponential": np.exp(-0.5 * np.arange(M)),
    "clustered": np.r_[1 + 1e-3 * np.arange(K)[::-1], 0.1 * np.exp(-np.arange(M - K) / 9)],
    "outlier": np.r_[1e3, np.linspace(1, 0.1, M - 1)],
}
AWKWARD = {
    "rank 7": np.r_[7.0, 6, 5, 4, 3, 2, 1, np.zeros(M - 7)],
    "all equal": np.ones(M),
    "pairs": np.repeat(np.arange(M // 2, 0, -1), 2) / 20.0,
    "zero": np.zeros(M),
}
METHODS = ("dense", "gram", "lanczos", "matfree", "power")


def matrix_with(spectrum: NDArray, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((M, M)))[0]
    right = np.linalg.qr(rng.standard_normal((N, M)))[0]
    return (left * spectrum) @ right.T


def operator_of(matrix: NDArray, dtype: str) -> DetachedJacobian:
    """A matrix as an operator from [9, 10] inputs to [40] outputs."""
    a = jnp.asarray(matrix, dtype)
    x = jnp.ones((9, 10), a.dtype)
    return DetachedJacobian(a, x, a @ x.ravel(), jnp.zeros(M, a.dtype), times_matrix, times_transpose, True)


def times_matrix(a: jax.Array, v: jax.Array) -> jax.Array:
    return v.reshape(len(v), -1) @ a.T


def times_transpose(a: jax.Array, u: jax.Array) -> jax.Array:
    return (u @ a).reshape(len(u), 9, 10)


def sine_of_largest_angle(a: NDArray, b: NDArray) -> float:
    """Between the spans of the rows of a and of b (each [k, …]); small angles to full precision."""
    a, b = (np.linalg.qr(np.asarray(rows, np.float64).reshape(len(rows), -1).T)[0] for rows in (a, b))
    return float(np.linalg.norm(b - a @ (a.T @ b), 2))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SPECTRA)
def test_prescribed_spectra(name: str, method: str, dtype: str):
    matrix, spectrum = matrix_with(SPECTRA[name]), SPECTRA[name]
    tolerance = 100 * float(np.finfo(dtype).eps)
    if method == "gram":  # squaring costs digits where the values spread far
        tolerance = max(tolerance, 1e-11)
    most = 5000 if method == "power" else None  # it takes its time where values lie close
    operator = operator_of(matrix, dtype)
    result = jaxlin.svd(operator, K, method=method, tolerance=tolerance, max_passes=most)
    assert result.method == method
    assert result.certificate.holds
    np.testing.assert_allclose(result.s, spectrum[:K], rtol=0, atol=tolerance * spectrum[0])
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    sine = 2 * tolerance * spectrum[0] / (spectrum[K - 1] - spectrum[K])  # Wedin's theorem
    assert sine_of_largest_angle(result.U, left[:, :K].T) < sine
    assert sine_of_largest_angle(result.V, right[:K]) < sine


@pytest.mark.parametrize(
    ("block", "dtype"), [(1, "float64"), (3, "float32"), (3, "float64"), (7, "float64"), (M, "float32")]
)
@pytest.mark.parametrize("name", [*SPECTRA, "rank 7", "all equal", "pairs", "zero"])
def test_lanczos_in_blocks(name: str, block: int, dtype: str):
    """No ghosts at small rank, no copy of a repeated value missed by blocks or restarts."""
    spectrum = (SPECTRA | AWKWARD)[name]
    result = jaxlin.svd(operator_of(matrix_with(spectrum), dtype), 9, method="lanczos", block=block)
    assert result.certificate.holds, result.certificate
    assert len(result.s) == 9
    tolerance = result.certificate.tolerance * max(spectrum[0], 1e-30)
    np.testing.assert_allclose(result.s, spectrum[:9], rtol=0, atol=tolerance)
    rows = np.asarray(result.U, np.float64)
    np.testing.assert_allclose(rows @ rows.T, np.eye(9), atol=100 * np.finfo(dtype).eps)


def test_lanczos_stops_where_the_map_is_exhausted():
    """Rank 7 of 40: a few steps show that there is no more, where going on would take 80 passes."""
    result = jaxlin.svd(operator_of(matrix_with(AWKWARD["rank 7"]), "float64"), 5, method="lanczos", block=1)
    assert result.certificate.holds
    assert result.passes < 50


@pytest.mark.parametrize("method", ["dense", "gram"])
def test_whole_spectrum_where_the_method_knows_it(method: str):
    result = jaxlin.svd(operator_of(matrix_with(SPECTRA["polynomial"]), "float64"), K, method=method)
    np.testing.assert_allclose(result.spectrum, SPECTRA["polynomial"], atol=2e-8)
    energy = np.sum(SPECTRA["polynomial"][:K] ** 2) / np.sum(SPECTRA["polynomial"] ** 2)
    assert result.certificate.energy.captured == pytest.approx(energy, abs=1e-12)
    assert result.certificate.energy.error == 0


def test_gram_holds_no_more_than_a_part(monkeypatch: pytest.MonkeyPatch):
    """Read a position at a time, the answer is the same."""
    operator = operator_of(matrix_with(SPECTRA["exponential"]), "float64")
    whole = jaxlin.svd(operator, K, method="gram")
    reads = []
    by_position = RowFile.by_position

    def narrow(self):
        for part, blocks in by_position(self, read_bytes=1):
            reads.append(blocks.shape)
            yield part, blocks

    monkeypatch.setattr(RowFile, "by_position", narrow)
    parts = jaxlin.svd(operator, K, method="gram")
    assert set(reads) == {(1, M, 10)}
    np.testing.assert_allclose(parts.s, whole.s, rtol=1e-12)


@pytest.mark.parametrize("k", [3, K])
def test_captured_energy_keeps_its_error_bar(k: int):
    """Over many seeds the estimate is right on average, and off by its standard error as a rule."""
    spectrum = SPECTRA["polynomial"]
    operator = operator_of(matrix_with(spectrum), "float64")
    exact = jaxlin.svd(operator, k, method="dense")
    truth = exact.certificate.energy.captured
    left = np.asarray(exact.U).reshape(k, -1)
    matrix = np.asarray(operator.dense()).reshape(len(left[0]), -1)
    lengths = [np.linalg.norm(leftover_probes(left, seed) @ matrix, axis=1) for seed in range(40)]
    estimates = [energy_of_leftover(np.asarray(exact.s), each) for each in lengths]
    off = np.array([energy.captured - truth for energy in estimates])
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off))
    assert 0.5 < np.mean(np.abs(off) < 2 * np.array([energy.error for energy in estimates])) <= 1
    assert np.std(off) == pytest.approx(np.mean([energy.error for energy in estimates]), rel=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_vectors_are_orthonormal_signed_and_ordered(method: str):
    operator = operator_of(matrix_with(SPECTRA["polynomial"]), "float64")
    result = jaxlin.svd(operator, K, method=method)
    for rows in (result.U.reshape(K, -1), result.V.reshape(K, -1)):
        np.testing.assert_allclose(rows @ rows.T, np.eye(K), atol=1e-12)
    assert np.all(np.asarray(result.U @ operator.y) >= 0)
    assert np.all(np.diff(result.s) <= 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FAMILIES)
def test_methods_agree_on_decoders(tiny_operator, name: str, dtype: str):
    compare_methods(tiny_operator(name, dtype), 4, dtype, methods=("gram", "lanczos"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("demo", sorted(DEMOS))
@pytest.mark.demos
def test_methods_agree_on_the_demos(demo: str, dtype: str):
    """The promise: top 16 at 400+ tokens to 1e-8 in float64 and 1e-4 in float32, values and subspaces."""
    operator = demo_operator(demo, dtype)
    assert operator.input_shape[0] >= 400
    compare_methods(operator, 16, dtype, methods=("lanczos", "matfree"))


@pytest.mark.demos
def test_ordinary_jacobian_at_length():
    """Vectorised over probes, this pull-back gave wrong numbers at 400 tokens in float32."""
    result = jaxlin.svd(demo_operator("demo-gemma", "float32", policy="none"), 3, method="lanczos")
    assert result.certificate.holds


def demo_operator(demo: str, dtype: str, policy: str = "detached") -> DetachedJacobian:
    prompt = (DEMOS[demo].parent / "prompt.txt").read_text()
    return jaxlin.load(demo, dtype=dtype).jacobian(prompt, policy=policy)


def compare_methods(
    operator: DetachedJacobian, k: int, dtype: str, methods: tuple[str, ...] = METHODS[1:]
) -> None:
    promised = {"float64": 1e-8, "float32": 1e-4}[dtype]
    tolerance = {"float64": 1e-10, "float32": 1e-5}[dtype]
    exact = jaxlin.svd(operator, k, method="dense", tolerance=tolerance)
    assert exact.certificate.holds
    for method in methods:
        result = jaxlin.svd(operator, k, method=method, tolerance=tolerance)
        assert result.certificate.holds
        np.testing.assert_allclose(result.s, exact.s, rtol=promised)
        assert sine_of_largest_angle(result.U, exact.U) < promised
        assert sine_of_largest_angle(result.V, exact.V) < promised


@pytest.mark.parametrize("method", METHODS)
def test_two_prompts_of_a_length_are_compiled_for_once(method: str):
    """Other labels change nothing: no program is traced anew, and so none is compiled."""
    traced, operator = counting_traces(operator_of(matrix_with(SPECTRA["polynomial"]), "float64"))
    first = jaxlin.svd(labelled(operator, "The"), K, method=method)
    programs = len(traced)
    assert programs > 0
    second = jaxlin.svd(labelled(operator, "One"), K, method=method)
    assert len(traced) == programs
    np.testing.assert_array_equal(first.s, second.s)


def labelled(operator: DetachedJacobian, text: str) -> DetachedJacobian:
    """The same map, with a word at every position."""
    length = operator.input_shape[0]
    labels = Labels(tuple(range(length)), (text,) * length, tuple(range(length)), length - 1)
    return replace(operator, labels=labels)


def counting_traces(operator: DetachedJacobian) -> tuple[list[str], DetachedJacobian]:
    """Passes are Python functions that run only while a program is traced: each of these leaves a mark."""
    traced: list[str] = []

    def marked(apply, name):
        def run(state, probes):
            traced.append(name)
            return apply(state, probes)

        return run

    forward, backward = marked(operator.forward, "forward"), marked(operator.backward, "backward")
    return traced, replace(operator, forward=forward, backward=backward)


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_answer(method: str):
    operator = operator_of(matrix_with(SPECTRA["exponential"]), "float32")
    first, second = (jaxlin.svd(operator, K, method=method, seed=5) for _ in range(2))
    for name in ("U", "s", "V", "residuals"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert first.passes == second.passes


def test_residuals_are_what_they_say():
    matrix = matrix_with(SPECTRA["polynomial"])
    result = jaxlin.svd(operator_of(matrix, "float32"), K, method="matfree")
    u, s, v = (np.asarray(a, np.float64) for a in (result.U, result.s, result.V.reshape(K, -1)))
    left, right = v @ matrix.T - s[:, None] * u, u @ matrix - s[:, None] * v
    true = np.hypot(np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1))
    np.testing.assert_allclose(result.residuals, true, rtol=0.5, atol=4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("method", METHODS)
def test_passes_are_counted_as_they_happen(method: str):
    """Every probe that goes through the network is in ``passes``, the certificate's own included."""
    seen = []

    def counted(apply):
        def run(state, probes):
            jax.debug.callback(lambda: seen.append(len(probes)))
            return apply(state, probes)

        return run

    operator = operator_of(matrix_with(SPECTRA["polynomial"]), "float64")
    operator = replace(operator, forward=counted(times_matrix), backward=counted(times_transpose))
    result = jaxlin.svd(operator, K, method=method)
    jax.effects_barrier()
    assert sum(seen) == result.passes


def test_tolerance_drives_the_steps():
    operator = operator_of(matrix_with(np.linspace(2, 1, M)), "float64")
    loose = jaxlin.svd(operator, 1, method="matfree", tolerance=0.3)
    tight = jaxlin.svd(operator, 1, method="matfree", tolerance=1e-12)
    assert tight.passes > loose.passes or tight.certificate.worst_residual <= loose.certificate.worst_residual
    assert loose.certificate.tolerance == 0.3
    assert tight.certificate.holds


@pytest.mark.parametrize("method", ["lanczos", "matfree", "power"])
def test_unmet_tolerance_is_said(method: str):
    """A run that gives up marks which triplets hold."""
    operator = operator_of(matrix_with(np.linspace(2, 1, M)), "float64")
    result = jaxlin.svd(operator, K, method=method, max_passes=24)
    assert not result.certificate.holds
    assert not result.converged.all()
    assert result.certificate.converged == int(result.converged.sum())


@pytest.mark.parametrize(
    ("tolerance", "dtype"),
    [(0.0, "float32"), (-1e-3, "float64"), (1e-7, "float32"), (1e-16, "float64"), (1.0, "float64")],
)
def test_tolerances_that_cannot_be_met_name_the_floor(tolerance: float, dtype: str):
    operator = operator_of(matrix_with(SPECTRA["outlier"]), dtype)
    floor = {"float32": "4.8e-07", "float64": "8.9e-16"}[dtype]
    with pytest.raises(JaxlinError, match=rf"can be held to {floor}·σ₁ or more"):
        jaxlin.svd(operator, K, tolerance=tolerance)


def test_second_seed_agrees_and_is_another():
    operator = operator_of(matrix_with(SPECTRA["exponential"]), "float64")
    once = jaxlin.svd(operator, K, method="lanczos")
    twice = jaxlin.svd(operator, K, method="lanczos", verify_seed=1)
    assert once.certificate.check("second seed") is None
    assert twice.certificate.check("second seed").value < 1e-10
    assert twice.passes > once.passes + 2 * K
    with pytest.raises(JaxlinError, match="the second seed is 0 as well"):
        jaxlin.svd(operator, K, method="lanczos", verify_seed=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_matfree_at_a_rank_below_its_steps(dtype: str):
    """No ghosts: what the map has is found, and asking for more is refused."""
    spectrum = np.r_[7.0, 6, 5, 4, 3, 2, 1, np.zeros(M - 7)]
    operator = operator_of(matrix_with(spectrum), dtype)
    result = jaxlin.svd(operator, K, method="matfree")
    assert result.certificate.holds
    np.testing.assert_allclose(result.s, spectrum[:K], atol=1e3 * np.finfo(dtype).eps)
    if dtype == "float64":
        with pytest.raises(JaxlinError, match="use method lanczos"):
            jaxlin.svd(operator, 8, method="matfree")


@pytest.mark.parametrize("method", ["gram", "lanczos", "matfree", "power"])
def test_nan_is_refused_by_name(method: str):
    operator = operator_of(np.full((M, N), np.nan), "float64")
    with pytest.raises(JaxlinError, match="NaN"):
        jaxlin.svd(operator, 2, method=method)


@pytest.mark.parametrize(
    ("k", "method", "block", "message"),
    [
        (0, "auto", 1, "k is 0, but this map has 40 singular values: choose 1 ≤ k ≤ 40"),
        (41, "auto", 1, "choose 1 ≤ k ≤ 40"),
        (3, "newton", 1, "unknown method 'newton': choose one of auto, dense, gram, lanczos, matfree, power"),
        (3, "lanczos", 0, "`block` is 0 probes: choose 1 ≤ block ≤ 40"),
        (3, "lanczos", 41, "`block` is 41 probes"),
    ],
)
def test_requests_that_make_no_sense(k: int, method: str, block: int, message: str):
    with pytest.raises(JaxlinError, match=message):
        choose_method(operator_of(np.ones((M, N)), "float32"), k, method, block)


#: A value of every argument that not every method uses.
GIVEN = {"block": 3, "max_passes": 400, "verify_seed": 7}


def given(option: str, folder: Path) -> Any:
    """A value for it."""
    places = {"store": lambda: SolverState(folder / "state", {}, 1), "scratch": lambda: folder}
    return places[option]() if option in places else GIVEN[option]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("option", USED_BY)
def test_no_argument_is_ignored(option: str, method: str, tmp_path: Path):
    """Whatever a method does not use is refused, whatever it uses is taken, and the table knows which."""
    operator = operator_of(matrix_with(SPECTRA["exponential"]), "float64")
    arguments = {option: given(option, tmp_path)}
    assert uses(method, option) == (method in USED_BY[option])
    if uses(method, option):
        assert jaxlin.svd(operator, K, method=method, **arguments).certificate.holds
        return
    with pytest.raises(JaxlinError) as refusal:
        jaxlin.svd(operator, K, method=method, **arguments)
    others = ", ".join(USED_BY[option]).replace(", power", " or power")
    assert str(refusal.value) == (
        f"method {method} does not use `{option}`: leave it out, or choose method {others}"
    )


@pytest.mark.parametrize("option", USED_BY)
def test_auto_chooses_a_method_that_uses_what_is_given(option: str, tmp_path: Path):
    """The matrix is small enough for dense: the argument decides, unless it only offers room."""
    operator = operator_of(matrix_with(SPECTRA["exponential"]), "float64")
    assert choose_method(operator, K).method == "dense"
    if option == "scratch":
        assert jaxlin.svd(operator, K, scratch=tmp_path).method == "dense"
        return
    result = jaxlin.svd(operator, K, **{option: given(option, tmp_path)})
    assert result.method in USED_BY[option]
    chosen = (
        choose_method(operator, K, block=3)
        if option == "block"
        else choose_method(operator, K, given=[option])
    )
    assert chosen.method == result.method
    assert chosen.reason.startswith(f"it uses `{option}`; ")


def test_every_argument_of_svd_is_in_the_table_or_used_by_all():
    """A new argument has to say which methods use it."""
    everywhere = {"operator", "k", "method", "tolerance", "seed", "progress"}
    assert set(signature(jaxlin.svd).parameters) == everywhere | set(USED_BY)
    assert {method for methods in USED_BY.values() for method in methods} <= set(METHODS)


def test_what_is_given_does(tmp_path: Path):
    """Each of them changes the work that is done as it says."""
    operator = operator_of(matrix_with(np.linspace(2, 1, M)), "float64")
    for method in USED_BY["max_passes"]:
        free, held = (jaxlin.svd(operator, K, method=method, max_passes=most) for most in (None, 30))
        assert held.passes < free.passes
    for method in USED_BY["verify_seed"]:
        checked = jaxlin.svd(operator, K, method=method, verify_seed=7).certificate
        assert checked.check("second seed") is not None
    state = SolverState(tmp_path / "state", {}, 1)
    jaxlin.svd(operator, K, store=state)
    assert state.steps is not None


def test_arguments_that_do_not_go_together(tmp_path: Path):
    operator = operator_of(matrix_with(SPECTRA["exponential"]), "float64")
    with pytest.raises(JaxlinError, match="no method uses `max_passes` and `scratch` together: leave one"):
        jaxlin.svd(operator, K, max_passes=9, scratch=tmp_path)
    with pytest.raises(JaxlinError) as refusal:
        jaxlin.svd(operator, K, method="gram", verify_seed=7, block=5, max_passes=3)
    assert str(refusal.value) == (
        "method gram does not use `block`, `max_passes` or `verify_seed`: leave them out, "
        "or choose method lanczos"
    )
    with pytest.raises(JaxlinError, match="`max_passes` is 0: give 1 or more"):
        jaxlin.svd(operator, K, method="lanczos", max_passes=0)


def test_plan_takes_the_fewest_passes_and_never_what_does_not_fit(monkeypatch: pytest.MonkeyPatch):
    operator = operator_of(np.ones((M, N)), "float32")
    assert choose_method(operator, K).method == "dense"  # 40 rows are fewer passes than Lanczos would take
    wide = operator_of(np.ones((M, N)), "float32")
    assert choose_method(replace(wide, y=jnp.zeros(4000)), K).method == "lanczos"
    dense = choose_method(operator, K, "dense").bytes_needed
    monkeypatch.setattr("jaxlin.solvers.choose.free_bytes", lambda: dense - 1)
    with pytest.raises(JaxlinError, match=r"would need .* are free: use method lanczos"):
        choose_method(operator, K, "dense")
    assert choose_method(operator, K).method == "gram"


def test_every_arithmetic_has_a_tolerance():
    operators = [operator_of(np.ones((M, N)), name) for name in ("float64", "float32", "bfloat16")]
    assert [default_tolerance(operator) for operator in operators] == [1e-10, 1e-4, 1e-1]
    coarser = replace(operators[1], roundoff=2.0**-11)
    assert default_tolerance(coarser) == 1e-2
