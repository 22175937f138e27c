"""Where results appear: never missing, never two runs at once, and nothing dead stays."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin import JaxlinError
from jaxlin.commands.main import main
from jaxlin.results import staging, store
from jaxlin.results.staging import staged
from jaxlin.runtime import files, workshop
from jaxlin.runtime.files import exchange

NAME = "llama-biases"
# What is killed is a fork, which writes files and computes nothing.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
Killed = Callable[..., None]


def make(out: Path, text: str, *, overwrite: bool = False) -> None:
    """Something that looks like a result."""
    with staged(out, overwrite=overwrite) as folder:
        (folder / "result.json").write_text(text)


def text_in(out: Path) -> str:
    return (out / "result.json").read_text()


@pytest.fixture
def killed_at() -> Killed:
    """Makes a result in a child process that dies without a word before one of its steps."""

    def run(out: Path, dies: Callable[[], None], overwrite: bool) -> None:
        child = os.fork()
        if child == 0:
            dies()
            make(out, "new", overwrite=overwrite)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    return run


def dying(*_: Any, **__: Any) -> None:
    os._exit(9)


def at_the_exchange() -> None:
    staging.exchange = dying


def after_the_exchange() -> None:
    staging.exchange = lambda *names: dying(files.exchange(*names))


def between_two_renames() -> None:
    staging.exchange = lambda *_: False
    moved = os.replace
    os.replace = lambda *names: (moved(*names), dying())


def at_the_first_file() -> None:
    Path.write_text = dying


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "dies", [at_the_exchange, after_the_exchange, between_two_renames, at_the_first_file]
)
def test_a_kill_leaves_the_old_or_the_new_and_the_next_run_no_trace(
    tmp_path: Path, killed_at: Killed, dies: Callable[[], None], overwrite: bool
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    if overwrite:
        make(out, "old")
    elif dies in (at_the_exchange, after_the_exchange):
        pytest.skip("there is nothing to exchange")
    killed_at(out, dies, overwrite)
    assert len(list(tmp_path.glob(".jaxlin-*"))) == 1
    make(other, "another")  # any run in the same place puts back and sweeps
    wanted = "new" if dies is after_the_exchange or (not overwrite and dies is between_two_renames) else "old"
    if overwrite or dies is between_two_renames:
        assert text_in(out) == wanted
    assert {path.name for path in tmp_path.iterdir()} == {"other", *(["out"] if out.exists() else [])}


def test_reading_puts_back_what_a_kill_had_moved_away(tmp_path: Path, killed_at: Killed) -> None:
    out = tmp_path / "out"
    make(out, "old")
    killed_at(out, between_two_renames, True)
    assert not out.exists()
    with pytest.raises(JaxlinError, match="cannot be read"):  # it says no more than "old"
        jaxlin.read(out)
    assert text_in(out) == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_names_swap_in_one_step(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot")
    assert (os.listdir(tmp_path / "a"), os.listdir(tmp_path / "b")) == (["b"], ["a"])
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")


def test_two_runs_into_one_place(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out, overwrite=False) as folder:
        (folder / "result.json").write_text("first")
        with pytest.raises(JaxlinError, match="another run is writing here at this moment"):
            make(out, "second")
        make(tmp_path / "beside", "third")
    assert text_in(out) == "first"
    assert sorted(os.listdir(tmp_path)) == ["beside", "out"]


def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There nobody can tell the dead from the living: nothing is refused, and nothing swept."""

    def none(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with staged(tmp_path / "out", overwrite=False) as folder:
        make(tmp_path / "beside", "third")
        (folder / "result.json").write_text("first")
    assert text_in(tmp_path / "out") == "first"
    assert sorted(os.listdir(tmp_path)) == ["beside", "out"]


def test_what_came_in_the_last_moment_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    make(out, "old")

    def too_late(*names: Path) -> bool:
        (out / "thesis.tex").write_text("precious")
        monkeypatch.setattr(staging, "exchange", exchange)
        return exchange(*names)

    monkeypatch.setattr(staging, "exchange", too_late)
    with pytest.raises(JaxlinError, match=r"holds other files \(thesis.tex\)"):
        make(out, "new", overwrite=True)
    assert text_in(out) == "old"
    assert sorted(os.listdir(out)) == ["result.json", "thesis.tex"]


def test_hidden_folders_that_are_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with workshop.workshop(tmp_path / "out") as shop:
        pass
    (tmp_path / shop.name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JaxlinError, match="is no folder of jaxlin"):
        make(tmp_path / "out", "new")
    assert os.listdir(tmp_path / "elsewhere") == []


# Many prompts


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and a finished run over three prompts."""
    place = tmp_path_factory.mktemp("batch")
    model = write_checkpoint(NAME, place / "model")
    assert main(asked(model, prompts(place), place / "out")) == 0
    return model, place / "out"


def prompts(place: Path) -> Path:
    file, ids = place / "prompts.jsonl", prompt_ids(NAME)
    file.write_text("".join(json.dumps({"id": f"p{n}", "token_ids": ids[:n]}) + "\n" for n in (4, 5, 6)))
    return file


def asked(model: Path, file: Path, out: Path, *more: str) -> list[str]:
    return ["svd", "--model", str(model), "-k", "2", "--prompts", str(file), "--out", str(out), *more]


@pytest.fixture
def again(batch: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the same command over a copy of it; returns the last line on stderr, empty for exit code 0."""
    out = shutil.copytree(batch[1], tmp_path / "out")

    def run(*more: str, model: Path = batch[0]) -> str:
        assert out.exists()
        capsys.readouterr()
        code = main(asked(model, prompts(tmp_path), out, *more))
        said = capsys.readouterr().err.splitlines()
        assert (code, len(said)) in ((0, 0), (2, 1)), said
        return said[-1] if said else ""

    return run


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]


def test_other_weights_under_the_same_path_are_not_gone_on_with(
    batch: tuple[Path, Path], again: Callable[..., str], tmp_path: Path
) -> None:
    model = shutil.copytree(batch[0], tmp_path / "model")
    assert "holds a result of another request" in again(model=model)  # another path
    before = (tmp_path / "out" / "index.jsonl").read_bytes()
    weights = load_file(batch[0] / "model.safetensors")
    save_file(
        {name: tensor * np.float32(1.01) for name, tensor in weights.items()}, model / "model.safetensors"
    )
    shutil.rmtree(tmp_path / "kept", ignore_errors=True)
    moved = batch[0].rename(batch[0].with_name("kept"))
    try:
        model.rename(batch[0])
        assert "holds a result of another request (other weights" in again()
        assert (tmp_path / "out" / "index.jsonl").read_bytes() == before
        assert again("--overwrite") == ""
        hashes = {
            json.loads((tmp_path / "out" / row["id"] / "result.json").read_text())["weights_sha256"]
            for row in rows(tmp_path / "out")
        }
        assert len(hashes) == 1
        assert (tmp_path / "out" / "index.jsonl").read_bytes() != before
    finally:
        shutil.rmtree(batch[0], ignore_errors=True)
        moved.rename(batch[0])


def test_a_decoder_in_memory_is_its_weights(tiny_model: Callable[..., Any], tmp_path: Path) -> None:
    import jax
    from flax import nnx

    decoder = nnx.clone(tiny_model(NAME, "float64").decoder)
    ids = [prompt_ids(NAME)[:4]]
    model = jaxlin.load(decoder)
    first = model.svd_many(ids, k=1, out=tmp_path / "out").rows
    assert model.svd_many(ids, k=1, out=tmp_path / "out").rows == first
    nnx.update(decoder, jax.tree.map(lambda leaf: leaf * 1.01, nnx.state(decoder)))
    with pytest.raises(JaxlinError, match="another request"):
        jaxlin.load(decoder).svd_many(ids, k=1, out=tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"[" * 10**5, b'{"request": 3}'])
def test_a_damaged_result_is_named(again: Callable[..., str], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out" / "p5" / "result.json").write_bytes(content)
    before = (tmp_path / "out" / "index.jsonl").read_bytes()
    said = again()
    assert f"{tmp_path / 'out' / 'p5'}" in said
    assert "--overwrite" in said
    assert (tmp_path / "out" / "index.jsonl").read_bytes() == before
    assert again("--overwrite") == ""
    assert [row["id"] for row in rows(tmp_path / "out")] == ["p4", "p5", "p6"]


def test_a_prompt_without_its_tensors_is_not_done(again: Callable[..., str], tmp_path: Path) -> None:
    tensors = tmp_path / "out" / "p5" / "result.safetensors"
    whole = load_file(tensors)
    tensors.unlink()
    assert again() == ""
    np.testing.assert_allclose(load_file(tensors)["s"], whole["s"], rtol=1e-5)
    tensors.write_bytes(tensors.read_bytes()[:-4])
    assert "p5 cannot be read" in again()


def test_links_out_of_the_folder(again: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(tmp_path / "out" / "p5")
    for target in ("elsewhere", "missing"):
        (tmp_path / "out" / "p5").symlink_to(tmp_path / target)
        assert "p5 is a link to another place" in again()
        assert "p5 is a link to another place" in again("--overwrite")
        (tmp_path / "out" / "p5").unlink()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out" / "index.jsonl").unlink()
    (tmp_path / "out" / "index.jsonl").symlink_to(tmp_path / "precious")
    assert again() == ""
    assert (tmp_path / "precious").read_text() == "precious"
    assert (os.listdir(tmp_path / "elsewhere"), (tmp_path / "missing").exists()) == ([], False)


def test_a_folder_in_the_place_of_the_index(again: Callable[..., str], tmp_path: Path) -> None:
    """It is refused before any prompt is worked on."""
    shutil.rmtree(tmp_path / "out" / "p5")
    (tmp_path / "out" / "index.jsonl").unlink()
    (tmp_path / "out" / "index.jsonl").mkdir()
    assert "index.jsonl is a folder: remove it" in again()
    assert not (tmp_path / "out" / "p5").exists()


def test_a_link_in_a_result_is_not_replaced(again: Callable[..., str], tmp_path: Path) -> None:
    """Refused before any work, though it can be read: it would point elsewhere once its folder has moved."""
    (tmp_path / "notes").write_text("precious")
    (tmp_path / "out" / "p6" / "result.json").unlink()
    (tmp_path / "out" / "p6" / "result.json").symlink_to("../../notes")
    before = (tmp_path / "out" / "index.jsonl").stat().st_ino
    assert "p6 holds other files (result.json)" in again("--overwrite")
    assert (tmp_path / "notes").read_text() == "precious"
    assert (tmp_path / "out" / "index.jsonl").stat().st_ino == before


def test_two_batches_at_once(again: Callable[..., str], tmp_path: Path) -> None:
    with workshop.workshop(tmp_path / "out" / "index.jsonl"):
        assert "another run is writing here at this moment" in again()
    assert again() == ""


def test_every_result_is_read_once(
    again: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it was just written, and not again."""
    read, looked = store.read_summary, []
    monkeypatch.setattr(store, "read_summary", lambda folder: looked.append(folder.name) or read(folder))
    for name in ("p5", "p6"):
        shutil.rmtree(tmp_path / "out" / name)
    assert again() == ""
    assert sorted(looked) == ["p5", "p6"]  # the index lists p4
