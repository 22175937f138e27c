"""Results on disk: what they hold, who can read them, and that they exist whole or not at all."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import write_checkpoint

import jaxlin.results.svd_readout
import jaxlin.verbs.svd
from jaxlin.commands.main import main
from jaxlin.errors import JaxlinError
from jaxlin.results import staging, store
from jaxlin.results.labels import Labels
from jaxlin.results.staging import staged
from jaxlin.results.store import write

JAXLIN = Path(sys.executable).with_name("jaxlin")
IDS = [5, 0, 7, 7]
#: Of the tiny llama with biases on the linear path, so that the offset is not zero.
CHECKPOINT, WIDTH = "llama-biases", 32
K = 3

Start = Callable[..., int]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(CHECKPOINT, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder where results go."""
    return tmp_path


@pytest.fixture
def start(model: Path, place: Path) -> Start:
    """Runs jaxlin svd into ``place / "out"`` with more arguments; returns the exit code."""

    def run(*arguments: str, k: int = K) -> int:
        return main(request_of(model, place / "out", *arguments, k=k))

    return run


@pytest.fixture(scope="module")
def older(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished result, with one triplet and one tensor more than the runs that are to replace it."""
    out = tmp_path_factory.mktemp("older") / "out"
    assert main(request_of(model, out, "--save-jacobian", k=K + 1)) == 0
    return out


@pytest.fixture
def old(older: Path, place: Path) -> Path:
    """That result as ``place / "out"``."""
    return shutil.copytree(older, place / "out")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder, hidden files too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# What a result holds


@dataclass(frozen=True)
class Result:
    """A finished run, read back."""

    tensors: dict[str, NDArray[Any]]
    summary: dict[str, Any]
    folder: Path


def read(folder: Path) -> Result:
    text = (folder / "result.json").read_text(encoding="utf-8")
    return Result(load_file(folder / "result.safetensors"), json.loads(text, parse_constant=no_json), folder)


def no_json(constant: str) -> NoReturn:
    pytest.fail(f"{constant} is not JSON")


def request_of(model: Path, out: Path, *arguments: str, k: int = K) -> list[str]:
    ids = ",".join(map(str, IDS))
    return ["svd", "--model", str(model), "--token-ids", ids, "-k", str(k), "--out", str(out), *arguments]


@pytest.fixture(scope="module", params=["dense", "lanczos"])
def finished(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("results") / "deep" / "out"
    assert main(request_of(model, out, "--method", request.param, "--seed", "4")) == 0
    return read(out)


def test_exactly_two_files(finished: Result) -> None:
    assert sorted(contents(finished.folder.parent)) == ["out", "out/result.json", "out/result.safetensors"]


def test_exactly_the_promised_tensors(finished: Result) -> None:
    t, d = len(IDS), WIDTH
    whole = {"spectrum": (d,)} if finished.summary["method"] == "dense" else {}
    assert {name: tensor.shape for name, tensor in finished.tensors.items()} == {
        "token_ids": (t,),
        "embeddings": (t, d),
        "output": (d,),
        "offset": (d,),
        "U": (K, d),
        "s": (K,),
        "V": (K, t, d),
        "residuals": (K,),
        "positions": (t,),
        **whole,
    }
    assert finished.tensors["positions"].tolist() == list(range(t))
    assert finished.tensors["token_ids"].tolist() == IDS


def test_tensors_are_those_of_the_run(finished: Result, model: Path) -> None:
    tensors = finished.tensors
    operator = jaxlin.load(str(model)).jacobian(IDS)
    np.testing.assert_array_equal(tensors["embeddings"], operator.x)
    np.testing.assert_array_equal(tensors["output"], operator.y)
    np.testing.assert_array_equal(tensors["offset"], operator.offset)
    assert np.linalg.norm(tensors["offset"]) > 0.1 * np.linalg.norm(tensors["output"])
    image = np.asarray(operator.matmat(jnp.asarray(tensors["V"])))
    rounding = 1e-4 * tensors["s"][0]
    np.testing.assert_allclose(image, tensors["s"][:, None] * tensors["U"], atol=rounding)
    assert (tensors["U"] @ tensors["output"] >= 0).all()
    assert (np.diff(tensors["s"]) < 0).all()
    assert (tensors["residuals"] <= rounding).all()


def test_summary_has_the_promised_fields(
    finished: Result, model: Path, request: pytest.FixtureRequest
) -> None:
    summary = finished.summary
    expected = {
        "model": str(model),
        "family": "llama",
        "revision": None,
        "weights_sha256": models.weights_hash(models.find(str(model))),
        "policy": "detached",
        "tokens": len(IDS),
        "shape": [WIDTH, len(IDS) * WIDTH],
        "dtype": "float32",
        "method": request.node.callspec.params["finished"],
        "k": K,
        "seed": 4,
        "tolerance": 1e-4,
    }
    assert {key: summary[key] for key in expected} == expected
    assert "matrix" in summary["method_reason"]
    assert (summary["precision"], summary["position"]) == ("float32", len(IDS) - 1)
    assert summary["matmul_algorithm"].startswith("float32")
    assert summary["passes"] >= 2 * K
    assert summary["seconds"] > 0
    assert summary["peak_bytes"] > 2**20
    assert {"python", "jaxlin", "jax", "jaxlib", "flax", "matfree", "transformers", "numpy"} <= set(
        summary["versions"]
    )
    certificate = summary["certificate"]
    assert certificate["holds"] is True
    assert (certificate["converged"], certificate["wanted"]) == (K, K)
    checks = {check["name"]: check for check in certificate["checks"]}
    assert {"adjoint", "repetition", "linearity", "reconstruction"} <= set(checks)
    assert all(0 <= check["value"] <= check["limit"] < 1e-4 for check in list(checks.values())[:4])
    assert 0 < certificate["energy"]["captured"] <= 1
    assert len(summary["triplets"]) == K


def test_summary_reads_every_direction_in_tokens(finished: Result) -> None:
    for i, triplet in enumerate(finished.summary["triplets"]):
        assert triplet["s"] == finished.tensors["s"][i]
        assert triplet["residual"] == finished.tensors["residuals"][i]
        scores = [token["score"] for token in triplet["outputs"]]
        assert len(scores) == 8
        assert scores == sorted(scores, reverse=True)
        for place in triplet["inputs"]:
            assert place["id"] == IDS[place["position"]]
            block = finished.tensors["V"][i, place["position"]]
            assert place["norm"] == pytest.approx(np.linalg.norm(block), rel=1e-5)
            assert all(-1.001 <= token["score"] <= 1.001 for token in place["nearest"])


def test_peak_memory_is_not_that_of_the_parent() -> None:
    """A process starts with the ru_maxrss of what started it, be that a notebook of many gigabytes."""
    ballast = np.ones(2**26)
    code = "from jaxlin.runtime.environment import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < ballast.nbytes


def test_jacobian_only_when_asked_for(start: Start, place: Path) -> None:
    """And it is the matrix: J·x + c = y, and its singular values are the result's."""
    assert start("--save-jacobian") == 0
    tensors = load_file(place / "out" / "result.safetensors")
    jacobian = tensors["jacobian"]
    assert jacobian.shape == (WIDTH, len(IDS), WIDTH)
    y = np.einsum("dte,te->d", jacobian, tensors["embeddings"]) + tensors["offset"]
    np.testing.assert_allclose(y, tensors["output"], atol=1e-5)
    s = np.linalg.svd(jacobian.reshape(WIDTH, -1), compute_uv=False)
    np.testing.assert_allclose(tensors["s"], s[:K], rtol=1e-5)


def dtypes_for_numpy_alone(folder: Path) -> str:
    """What a program sees that has imported neither JAX nor ml_dtypes."""
    code = (
        "import sys; from safetensors.numpy import load_file; tensors = load_file(sys.argv[1]); "
        "assert not {'jax', 'ml_dtypes'} & set(sys.modules); "
        "print(*sorted({a.dtype.name for a in tensors.values()}))"
    )
    command = [sys.executable, "-c", code, folder / "result.safetensors"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_numpy_alone_reads_a_result(finished: Result) -> None:
    assert dtypes_for_numpy_alone(finished.folder) == "float32 int64"


def test_numpy_alone_reads_a_bfloat16_result(place: Path) -> None:
    """numpy has no bfloat16 of its own: the numbers lie there in a wider type, and are the same."""
    operator = jaxlin.linearize(
        lambda x: x[-1] * x.sum(0), jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3) / 3
    )
    operator = replace(operator, labels=Labels((1, 2), ("a", "b"), (0, 1), 1))
    jaxlin.svd(operator, 2).with_jacobian(operator.dense()).write(place)
    assert dtypes_for_numpy_alone(place) == "float32 int64"
    tensors = load_file(place / "result.safetensors")
    for name, array in {"embeddings": operator.x, "output": operator.y, "jacobian": operator.dense()}.items():
        assert array.dtype == jnp.bfloat16
        np.testing.assert_array_equal(tensors[name], np.asarray(array, np.float32))


def test_torch_reads_a_result(finished: Result) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    tensors = load_torch(finished.folder / "result.safetensors")
    assert tensors["token_ids"].dtype == torch.int64
    np.testing.assert_array_equal(tensors["V"].numpy(), finished.tensors["V"])


@pytest.mark.parametrize(
    ("name", "rows"), [("model.embed_tokens.weight", slice(2, None)), ("model.norm.weight", slice(None))]
)
def test_zeros_in_a_checkpoint_leave_no_nan(start: Start, place: Path, name: str, rows: slice) -> None:
    """Unused tokens may have rows of zeros, which have no direction; a norm of zeros makes J zero."""
    copy = write_checkpoint(CHECKPOINT, place / "model")
    tensors = {key: tensor.copy() for key, tensor in load_file(copy / "model.safetensors").items()}
    tensors[name][rows] = 0
    save_file(tensors, copy / "model.safetensors")
    assert start("--model", str(copy)) == 0
    result = read(place / "out")
    assert all(np.isfinite(tensor).all() for tensor in result.tensors.values())
    assert (result.tensors["s"] == 0).all() == (name == "model.norm.weight")


def test_result_can_be_read_by_whom_the_umask_allows(start: Start, place: Path) -> None:
    before = os.umask(0o027)
    try:
        assert start() == 0
    finally:
        os.umask(before)
    out = place / "out"
    assert [oct(path.stat().st_mode & 0o777) for path in (out, *sorted(out.iterdir()))] == [
        "0o750",
        "0o640",
        "0o640",
    ]


# Whole or not at all


def fail(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("a fault of our own")


def interrupt(*_: Any, **__: Any) -> NoReturn:
    raise KeyboardInterrupt


#: Where a run can end early, and what it calls there.
STAGES: dict[str, tuple[ModuleType, str]] = {
    "loading": (models, "load_decoder"),
    "solving": (jaxlin.verbs.svd, "solve"),
    "decoding": (jaxlin.results.svd_readout, "read_inputs"),
    "writing": (store, "write"),
}


@pytest.fixture(params=["nothing", "old"])
def before(request: pytest.FixtureRequest, place: Path) -> dict[str, bytes | None]:
    """What lies in ``place``, which a run that ends early must leave as it is."""
    if request.param == "old":
        request.getfixturevalue("old")
    return contents(place)


@pytest.mark.parametrize("stage", STAGES)
def test_failure_changes_nothing(
    start: Start, place: Path, before: dict[str, bytes | None], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(*STAGES[stage], fail)
    with pytest.raises(RuntimeError, match="a fault of our own"):
        start("--overwrite")
    assert contents(place) == before


@pytest.mark.parametrize("stage", STAGES)
def test_interrupt_changes_nothing(
    start: Start,
    place: Path,
    before: dict[str, bytes | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
) -> None:
    monkeypatch.setattr(*STAGES[stage], interrupt)
    assert start("--overwrite") == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert contents(place) == before


def test_refusal_changes_nothing(start: Start, place: Path, before: dict[str, bytes | None]) -> None:
    assert start("--overwrite", k=WIDTH + 1) == 2
    assert contents(place) == before


@pytest.mark.parametrize("kind", [OSError("no"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_failure_while_the_new_takes_the_place_of_the_old(
    start: Start, place: Path, old: Path, monkeypatch: pytest.MonkeyPatch, kind: BaseException
) -> None:
    """Where names cannot be exchanged: the old result has been moved away already, and must come back."""
    monkeypatch.setattr(staging, "exchange", lambda *_: False)
    before, move = contents(place), os.replace

    def move_once(source: Path, target: Path) -> None:
        move(source, target)
        monkeypatch.setattr(os, "replace", then_fail)

    def then_fail(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", move)
        raise kind

    monkeypatch.setattr(os, "replace", move_once)
    assert start("--overwrite") == (2 if isinstance(kind, OSError) else 130)
    assert contents(place) == before


def test_overwrite_replaces_everything(start: Start, place: Path, old: Path) -> None:
    assert "jacobian" in read(old).tensors
    assert start("--overwrite") == 0
    result = read(old)
    assert "jacobian" not in result.tensors
    assert (result.tensors["s"].shape, result.summary["k"]) == ((K,), K)
    assert sorted(contents(place)) == ["out", "out/result.json", "out/result.safetensors"]


def test_old_result_stays_readable_until_the_new_one_is_whole(
    start: Start, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(old)

    looked = []

    def write_and_look(*arguments: Any) -> None:
        write(*arguments)
        looked.append(contents(old) == before)

    monkeypatch.setattr(store, "write", write_and_look)
    assert start("--overwrite") == 0
    assert looked == [True]
    assert contents(old) != before


def test_result_of_another_run_that_was_faster_is_kept(
    start: Start, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs into one free folder: without --overwrite the second must not replace the first."""
    read_inputs = jaxlin.results.svd_readout.read_inputs

    def read_while_another_run_ends(*arguments: Any, **options: Any) -> Any:
        (place / "out").mkdir()
        (place / "out" / "result.json").write_text("another run's")
        return read_inputs(*arguments, **options)

    monkeypatch.setattr(jaxlin.results.svd_readout, "read_inputs", read_while_another_run_ends)
    assert start() == 2
    assert "choose another --out" in capsys.readouterr().err
    assert contents(place) == {"out": None, "out/result.json": b"another run's"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_nothing_behind(model: Path, place: Path, number: signal.Signals) -> None:
    """The real thing: Ctrl-C, and what a batch system sends when time is up, amid a run."""
    asked = ("--model", model, "--token-ids", "1,2,3", "--progress", "lines", "--out", place / "deep" / "out")
    run = subprocess.Popen(
        [JAXLIN, "svd", *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    assert any(line.startswith("loading weights") for line in run.stderr)
    assert len(contents(place)) > 1
    run.send_signal(number)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "interrupted; nothing was written" in err
    assert contents(place) == {}


def test_full_disk(start: Start, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with file_size_limit(1000):
        assert start() == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("jaxlin: the result cannot be written")
    assert said.endswith("free some space")
    assert contents(place) == {}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow past this many bytes, which looks much like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Where a result may go


@pytest.fixture
def refused(
    model: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs into an --out that must be refused before a model is loaded; returns the sentence."""

    def run(out: Path | str, *arguments: str) -> str:
        before = contents(place)
        monkeypatch.setattr(models, "load_decoder", lambda *_, **__: pytest.fail("loaded a model first"))
        capsys.readouterr()
        code = main(["svd", "--model", str(model), "--token-ids", "1,2", "--out", str(out), *arguments])
        printed = capsys.readouterr()
        assert (code, printed.out) == (2, "")
        assert contents(place) == before
        (line,) = printed.err.splitlines()
        assert line.startswith("jaxlin: ")
        return line.removeprefix("jaxlin: ")

    return run


def test_place_that_holds_a_result(refused: Callable[..., str], old: Path) -> None:
    said = refused(old)
    assert said == f"{old} already holds a result: choose another --out, or add --overwrite"


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("other", ["thesis.tex", ".hidden", "folder/file", "result.json/file"])
def test_place_that_holds_other_files(
    refused: Callable[..., str], place: Path, other: str, overwrite: tuple[str, ...]
) -> None:
    """--overwrite is for results; nothing else is ever deleted."""
    (place / "out" / other).parent.mkdir(parents=True)
    (place / "out" / other).write_text("precious")
    said = refused(place / "out", *overwrite)
    assert f"{place / 'out'} holds other files ({other.split('/')[0]})" in said
    assert "choose an empty or new folder as --out" in said


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_checkpoint_as_place(refused: Callable[..., str], model: Path, overwrite: tuple[str, ...]) -> None:
    assert "holds other files" in refused(model, *overwrite)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_file_as_place(refused: Callable[..., str], place: Path, overwrite: tuple[str, ...]) -> None:
    (place / "file").write_text("precious")
    said = refused(place / "file", *overwrite)
    assert said == f"{place / 'file'} is a file: choose another --out"


@pytest.mark.parametrize("out", ["file/out", "file/deep/out", "n" * 300, "new/" + "n" * 300 + "/out"])
def test_place_that_cannot_be(refused: Callable[..., str], place: Path, out: str) -> None:
    """Not even root can make a folder inside a file, or with a name longer than names may be."""
    (place / "file").write_text("precious")
    said = refused(place / out)
    assert said.startswith(f"cannot write to {place}")
    assert said.endswith("choose another --out")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_place_on_a_file_system_without_folders(refused: Callable[..., str]) -> None:
    assert "cannot write to /proc" in refused("/proc/jaxlin/out")


@pytest.mark.parametrize("out", [".", "", "../here"])
def test_current_folder_as_place(
    refused: Callable[..., str], place: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """A result replaces its whole folder, and the shell would be left in the deleted one."""
    (place / "here").mkdir()
    monkeypatch.chdir(place / "here")
    assert "choose a folder inside it as --out" in refused(out)


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "closed"])
@pytest.mark.parametrize("out", ["out", "deep/out"])
def test_place_without_permission(mode: int, out: str) -> None:
    with tempfile.TemporaryDirectory() as name, without_rights(Path(name)):
        folder = Path(name) / "folder"
        folder.mkdir()
        folder.chmod(mode)
        try:
            with pytest.raises(JaxlinError, match=r"cannot write to .*Permission denied.* choose another"):
                staged(folder / out, overwrite=False).__enter__()
        finally:
            folder.chmod(0o755)
        assert contents(folder) == {}


@contextmanager
def without_rights(home: Path) -> Iterator[None]:
    """As another user than root, whom no permission stops; ``home`` is open to that user."""
    if os.geteuid() != 0:
        yield
        return
    home.chmod(0o777)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("target", ["missing", "empty", "old"])
def test_place_behind_a_link(start: Start, place: Path, older: Path, target: str) -> None:
    """The link stays; the result goes where it points."""
    if target == "old":
        shutil.copytree(older, place / "target")
    elif target == "empty":
        (place / "target").mkdir()
    (place / "out").symlink_to(place / "target")
    assert start("--overwrite") == 0
    assert (place / "out").readlink() == place / "target"
    assert read(place / "target").tensors["s"].shape == (K,)
    assert sorted(os.listdir(place)) == ["out", "target"]


def test_empty_folder_as_place(start: Start, place: Path) -> None:
    (place / "out").mkdir()
    assert start() == 0
    assert sorted(os.listdir(place / "out")) == ["result.json", "result.safetensors"]


@pytest.mark.parametrize("name", ["a b", "ä ü", "[red]", "x[/x]", ":smile:", "n" * 250])
def test_place_with_an_odd_name(
    start: Start, place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert start("--out", str(place / name)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {place / name}"
    assert read(place / name).tensors["s"].shape == (K,)


def test_model_path_that_is_not_utf8(start: Start, place: Path) -> None:
    """It stands in result.json, which is UTF-8 whatever the path is."""
    odd = os.fsdecode(os.fsencode(place) + b"/m\xff")
    write_checkpoint(CHECKPOINT, Path(odd))
    assert start("--model", odd) == 0
    assert read(place / "out").summary["model"] == odd


def test_terminal_without_unicode(start: Start, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is there already: a table that cannot be printed must not look like a failure."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert start() == 0
    sys.stdout.seek(0)
    assert sys.stdout.read().splitlines()[-1] == f"wrote {place / 'out'}"
