"""Contributions of many points: right, certified, kept, streamed, asked for by command; many maps as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from conftest import check_pytree
from networks import weights

import jaxlin
from jaxlin.commands.main import main
from jaxlin.linear import points as linear_points

_NETWORK = networks.mlp(jax.nn.gelu)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((10, 6))


@pytest.fixture(scope="module")
def result(points: np.ndarray) -> Any:
    return jaxlin.contributions(_NETWORK, points, outputs=["a", "b", "c"])


def test_every_point_has_its_own_exact_map(result: Any, points: np.ndarray):
    frozen = jaxlin.freeze(_NETWORK)
    np.testing.assert_allclose(result.J, jax.vmap(jax.jacfwd(frozen))(points), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(result.y, jax.vmap(_NETWORK)(points), rtol=1e-13)
    np.testing.assert_allclose(result.offset, jax.vmap(frozen.offset)(points), rtol=1e-12)
    np.testing.assert_array_equal(result.contributions, result.J * points[:, None])
    np.testing.assert_allclose(result.contributions.sum(-1) + result.offset, result.y, rtol=0, atol=1e-13)
    assert result.holds
    assert len(result) == 10
    assert (result.strongest() == np.abs(result.contributions).argmax(-1)).all()
    check_pytree(result)


def test_chunks_change_nothing(result: Any, points: np.ndarray):
    told: list[tuple[int, int]] = []
    again = jaxlin.contributions(
        _NETWORK, points, chunk=4, progress=lambda stage, done, total, *_, **__: told.append((done, total))
    )
    np.testing.assert_allclose(again.J, result.J, rtol=1e-12, atol=1e-15)
    assert told == [(0, 10), (4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize(
    ("f", "shape", "words"),
    [
        (networks.narrow, (20,), "2 passes to and from the narrowest part"),
        (lambda x: jax.nn.gelu(x) @ weights(0, 3, 40), (3,), "3 passes forwards from the input"),
        (networks.convolutional(), (8, 8, 3), "4 passes backwards from the output"),
    ],
)
def test_the_cheapest_way_gives_the_same_map(f: Any, shape: tuple[int, ...], words: str):
    x = np.random.default_rng(1).standard_normal((2, *shape))
    result = jaxlin.contributions(f, x)
    assert result.method == words
    assert result.holds
    np.testing.assert_allclose(
        result.J, jax.jit(jax.vmap(jax.jacrev(jaxlin.freeze(f))))(x), rtol=1e-10, atol=1e-13
    )


def test_float32_and_scalars_and_sparse_points(points: np.ndarray):
    sparse = pytest.importorskip("scipy.sparse")
    holes = np.where(points > 0, points, 0).astype(np.float32)
    dense = jaxlin.contributions(lambda x: jax.nn.relu(x).sum(), holes)
    assert dense.J.shape == (10, 6)
    assert dense.J.dtype == np.float32
    assert dense.holds
    wider = jaxlin.contributions(_NETWORK, holes)  # whose weights are float64
    assert (wider.J.dtype, wider.holds) == (np.float64, True)
    loose = jaxlin.contributions(lambda x: jax.nn.relu(x).sum(), sparse.csr_matrix(holes), chunk=3)
    np.testing.assert_array_equal(loose.J, dense.J)


def test_the_certificate_fails_at_a_map_that_is_wrong(points: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    """At the points that it is wrong at, by number: one row of J too large, where x₀ > 1."""
    whole = linear_points.jacobian

    def wrong(plan: Any, waist: Any, values: Any) -> Any:
        made = whole(plan, waist, values)
        first = values[plan.program.inputs[0]][0]
        return made.at[1].multiply(jnp.where(first > 1, 1.001, 1.0))

    monkeypatch.setattr(linear_points, "jacobian", wrong)
    broken = jaxlin.contributions(_NETWORK, points)
    expected = np.flatnonzero(points[:, 0] > 1)
    assert 0 < len(expected) < 10
    np.testing.assert_array_equal(broken.failing, expected)
    assert not broken.holds
    assert [check.name for check in broken.checks if not check.holds] == ["reconstruction", "adjoint"]
    assert repr(broken).endswith("certificates FAIL)")


def test_the_certificate_fails_where_something_nonlinear_is_said_to_be_linear(points: np.ndarray):
    broken = jaxlin.contributions(jaxlin.freeze(jnp.cumprod, rules={"cumprod": "linear"}), points)
    assert len(broken.failing) == 10
    assert not broken.checks[0].holds


def test_points_have_names(points: np.ndarray):
    pandas = pytest.importorskip("pandas")
    columns, rows = [f"gene {i}" for i in range(6)], [f"cell {i}" for i in range(10)]
    result = jaxlin.contributions(_NETWORK, pandas.DataFrame(points, rows, columns), outputs="abc")
    frame = result.to_frame()
    assert list(frame.columns) == columns
    assert frame.loc[("cell 3", "b"), "gene 4"] == result.contributions[3, 1, 4]
    assert (result.features, result.points) == (tuple(columns), tuple(rows))
    images = jaxlin.contributions(lambda x: x.sum(0), points.reshape(5, 4, 3))
    assert images.features[:4] == ("0,0", "0,1", "0,2", "1,0")


def test_a_result_is_kept_shown_and_drawn(result: Any, tmp_path: Path):
    result.save(tmp_path / "kept")
    again = jaxlin.read(tmp_path / "kept")
    for name in ("x", "y", "offset", "J", "reconstruction", "adjoint"):
        np.testing.assert_array_equal(getattr(again, name), getattr(result, name))
    assert (again.features, again.outputs, again.holds) == (result.features, ("a", "b", "c"), True)
    page = jaxlin.report([again, tmp_path / "kept"])
    assert "Output a: mean over all points" in page
    files = again.plot(tmp_path / "pictures")
    assert [file.name for file in files][:2] == ["contributions_0.png", "contributions_0.csv"]
    numbers = (tmp_path / "pictures" / "contributions_0.csv").read_text().splitlines()
    expected = result.contributions[:, 0].mean(0)
    np.testing.assert_allclose([float(line.split(",")[1]) for line in numbers[1:]], expected, rtol=1e-12)
    summary = json.loads((tmp_path / "kept" / "result.json").read_text())
    summary["checks"][0]["value"] = 1e-20
    (tmp_path / "kept" / "result.json").write_text(json.dumps(summary))
    with pytest.raises(jaxlin.JaxlinError, match="reconstruction differ"):
        jaxlin.read(tmp_path / "kept")


def test_a_parquet_file_has_the_same(result: Any, points: np.ndarray, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "folder" / "points.parquet"
    written = jaxlin.contributions(_NETWORK, points, outputs=["a", "b", "c"], to=file, chunk=4)
    assert written.holds
    assert len(written) == 10
    frame = parquet.read_table(file).to_pandas()
    assert list(frame.columns[:8]) == [
        "point", "output", "y", "offset", "reconstruction", "adjoint", "holds", "jacobian",
    ]  # fmt: skip
    contributed = frame[list(result.features)].to_numpy().reshape(10, 3, 6)
    np.testing.assert_allclose(contributed, result.contributions, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        np.stack(frame["jacobian"]).reshape(10, 3, 6), result.J, rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(frame["y"].to_numpy().reshape(10, 3), result.y, rtol=1e-13)
    assert frame["output"].tolist() == ["a", "b", "c"] * 10
    before = file.read_bytes()
    with pytest.raises(jaxlin.JaxlinError, match="is there already: choose another file, or add `overwrite`"):
        jaxlin.contributions(_NETWORK, points, to=file)
    with pytest.raises(RuntimeError, match="stop"):
        jaxlin.contributions(_NETWORK, points, to=file, overwrite=True, chunk=4, progress=_stopping)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["points.parquet"]


def _stopping(stage: str, done: int, *_: Any, **__: Any) -> None:
    if done > 4:
        raise RuntimeError("stop")


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda x: x.astype(int), {}, r"X holds int64 .* \(X.astype\(float\)\)"),
        (lambda x: x > 0, {}, "X holds bool"),
        (lambda x: np.where(x == x[2, 1], np.nan, x), {}, "X is not finite at point 2, feature 1: leave"),
        (lambda x: x[:0], {}, r"X has the shape \[0, 6\]"),
        (lambda x: x[:, :5], {}, r"fails at a point of shape \[5\] \(TypeError: .* with `batched`"),
        (lambda x: x, {"features": ["a"]}, "there are 1 names for 6 features"),
        (lambda x: x, {"outputs": ["a", "a", "b"]}, "two outputs are called 'a'"),
        (lambda x: x, {"chunk": 0}, "`chunk` is 0: give 1 or more"),
    ],
)
def test_points_that_cannot_be_are_refused(points: np.ndarray, change: Any, options: Any, words: str):
    with pytest.raises(jaxlin.JaxlinError, match=words):
        jaxlin.contributions(_NETWORK, change(points), **options)


def test_points_that_change_each_other_are_refused(points: np.ndarray):
    with pytest.raises(jaxlin.JaxlinError, match="points of a batch change each other's outputs"):
        jaxlin.contributions(lambda x: x - x.mean(0), points, batched=True)
    with pytest.raises(jaxlin.JaxlinError, match="decides in Python by the values of its input"):
        jaxlin.contributions(lambda x: x if x[0] > 0 else -x, points)


def test_maps_that_do_not_fit_are_refused(points: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    from jaxlin.analyses import contributions as module

    class Memory:
        available = 1000

    monkeypatch.setattr(module.psutil, "virtual_memory", Memory)
    with pytest.raises(
        jaxlin.JaxlinError, match=r"the maps of 10 points take 2 KB and 1 KB are free: .* `to`"
    ):
        jaxlin.contributions(_NETWORK, points)


def test_many_maps_as_one_operator(result: Any, points: np.ndarray):
    """Its rows are those of all points, and its SVD is that of the stack."""
    frozen = jaxlin.freeze(_NETWORK)
    stack = jaxlin.linearize(frozen, points, batch=True)
    np.testing.assert_allclose(stack.dense().reshape(result.J.shape), result.J, rtol=1e-11, atol=1e-14)
    v, u = points[3], np.random.default_rng(2).standard_normal((10, 3))
    np.testing.assert_allclose(stack.matvec(v), result.J @ v, rtol=1e-11)
    np.testing.assert_allclose(stack.rmatvec(u), np.einsum("nmi,nm->i", result.J, u), rtol=1e-11)
    np.testing.assert_allclose(stack.y, result.J @ points.mean(0) + result.offset, rtol=1e-11)
    found = jaxlin.svd(stack, k=3)
    assert found.certificate.holds
    assert found.certificate.check("reconstruction") is not None
    np.testing.assert_allclose(found.s, np.linalg.svd(result.J.reshape(30, 6))[1][:3], rtol=1e-9)
    assert found.V.shape == (3, 6)
    with pytest.raises(jaxlin.JaxlinError, match="`offset` is that of one point"):
        jaxlin.linearize(frozen, points, batch=True, offset=jnp.zeros(3))
    by_hand = jaxlin.linearize(_NETWORK, points, batch=True)
    np.testing.assert_allclose(by_hand.matvec(v), jax.vmap(jax.jacfwd(_NETWORK))(points) @ v, rtol=1e-11)


def test_operators_within_vmap_and_jit(result: Any, points: np.ndarray):
    frozen = jaxlin.freeze(_NETWORK)
    operators = jax.vmap(lambda x: jaxlin.linearize(frozen, x))(points)
    np.testing.assert_allclose(jax.vmap(lambda J: J.dense())(operators), result.J, rtol=1e-11, atol=1e-14)
    built = jax.jit(jax.vmap(lambda x: jaxlin.linearize(frozen, x).dense()))(points)
    np.testing.assert_allclose(built, result.J, rtol=1e-11, atol=1e-14)
    one = jaxlin.linearize(frozen, points[0])
    assert one.offset_independent
    np.testing.assert_allclose(one.offset, result.offset[0], rtol=1e-12)


_CODE = """
import jax, numpy as np
w = np.arange(6.0).reshape(3, 2) / 6
def predict(x):
    return jax.nn.gelu(x @ w.astype(x.dtype))
def chance(x):
    return jax.nn.sigmoid(x @ w)
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    Path("net_of_points.py").write_text(_CODE)
    Path("points.csv").write_text("cell,a,b,c\np,1,2,3\nq,4,5.5,-6\n")
    np.savez(
        "points.npz", X=np.asarray([[1.0, 2, 3], [4, 5.5, -6]]), features=["a", "b", "c"], points=["p", "q"]
    )
    command = ["contributions", "--function", "net_of_points.py:predict", "--data"]
    assert main([*command, "points.csv", "--dtype", "float64", "--outputs", "up,down", "--out", "kept"]) == 0
    shown = capsys.readouterr().out
    assert "certificate: holds" in shown
    assert "wrote kept" in shown
    kept = jaxlin.read("kept")
    assert (kept.features, kept.points, kept.outputs) == (("a", "b", "c"), ("p", "q"), ("up", "down"))
    assert kept.summary()["function"] == "net_of_points.py:predict"
    assert main([*command, "points.npz", "--to", "points.parquet", "--batched", "--chunk", "1"]) == 0
    assert main([*command, "points.parquet", "--json"]) == 2  # it holds text
    capsys.readouterr()
    for arguments, words in (
        (["net_of_points.py:chance", "--data", "points.csv"], "the output has no linear part: `?logistic"),
        (["net_of_points:nothing", "--data", "points.csv"], "has no 'nothing'"),
        (["nowhere.py:predict", "--data", "points.csv"], "there is no file nowhere.py"),
        (["net_of_points.py", "--data", "points.csv"], "write it like net.py:predict"),
        (
            ["net_of_points.py:predict", "--data", "nothing.csv"],
            "there is no file nothing.csv: give --data another",
        ),
        (["net_of_points.py:predict", "--data", "points.txt"], "is no file of points"),
        (
            ["net_of_points.py:predict", "--data", "points.csv", "--to", "a", "--out", "b"],
            "--to and --out are two",
        ),
        (
            ["net_of_points.py:predict", "--data", "points.csv", "--overwrite"],
            "--overwrite is about the folder",
        ),
    ):
        assert main(["contributions", "--function", *arguments]) == 2
        message = capsys.readouterr().err
        assert words.replace("`?", "") in message, message
        assert message.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "kept", "net_of_points.py", "points.csv", "points.npz", "points.parquet",
    ]  # fmt: skip
