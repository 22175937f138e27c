"""A solver's state on disk: killed runs go on where they were, and nothing else is ever taken for a state."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from resume_worker import arrays_of
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin import JaxlinError
from jaxlin.commands.main import main
from jaxlin.prompts.model import Model
from jaxlin.runtime.solver_state import SolverState, steps_in
from jaxlin.solvers.choose import choose_method
from jaxlin.verbs.options import Svd
from jaxlin.verbs.resuming import Resumable, resumable

ROOT = Path(__file__).parents[1]
IDENTITY = {
    "version": "1",
    "model": ["a" * 64],
    "prompt": [1, 2, 3],
    "dtype": "float32",
    "span": None,
    "seed": 3,
}
STATE = {
    "basis": jnp.arange(12, dtype=jnp.float32).reshape(3, 1, 4) / 3,
    "right": np.arange(500, dtype=np.float64).reshape(1, 500) / 7,
    "half": jnp.arange(5, dtype=jnp.float16) / 3,
    "steps": jnp.asarray(2, jnp.int32),
}
FILE, UNFINISHED = "state.safetensors", "unfinished-state.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out.state"


@pytest.fixture
def killed(folder: Path) -> Path:
    """What a run leaves that was killed after step 2."""
    SolverState(folder, IDENTITY, 1).save(2, STATE)
    return folder


def resumed(folder: Path, **differences: Any) -> Any:
    return SolverState(folder, IDENTITY | differences, 1, resume=True).restore()


def same_bits(found: Any, expected: Any = STATE) -> bool:
    leaves, tree = jax.tree.flatten(expected)
    others, other_tree = jax.tree.flatten(found)
    return tree == other_tree and all(
        np.asarray(a).dtype == np.asarray(b).dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(leaves, others, strict=True)
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(act: Callable[[], Any]) -> str:
    """The sentence that ``act`` is refused with."""
    with pytest.raises(JaxlinError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    assert not text.endswith(".")
    return text


# Saving and going on


def test_the_same_bits_come_back(killed: Path):
    assert same_bits(resumed(killed))


def test_a_fresh_run_restores_nothing(folder: Path):
    assert SolverState(folder, IDENTITY, 1).restore() is None


def test_only_the_last_checkpoint_stays(folder: Path):
    state = SolverState(folder, IDENTITY, 1)
    for step in (1, 2, 9, 10):
        state.save(step, arrays_of(step))
        assert names(folder) == [FILE]
        assert steps_in(folder) == state.steps == step
        assert same_bits(SolverState(folder, IDENTITY, 1, resume=True).restore(), arrays_of(step))


def test_every_third_step_and_the_last_one_when_interrupted(folder: Path):
    state = SolverState(folder, IDENTITY, 3)
    seen = []
    for step in range(1, 8):
        state.save(step, arrays_of(step))
        seen.append(steps_in(folder))
    assert seen == [None, None, 3, 3, 3, 6, 6]
    state.flush()
    assert steps_in(folder) == 7


def test_every_zero_saves_nothing(folder: Path):
    state = SolverState(folder, IDENTITY, 0)
    state.save(1, arrays_of(1))
    state.flush()
    assert names(folder) == []


def test_discard_leaves_nothing(killed: Path):
    SolverState(killed, IDENTITY, 1, resume=True).discard()
    assert not killed.exists()


def test_what_a_kill_left_is_swept_away(killed: Path):
    """A save that was cut off, or that was whole but for its name."""
    whole = (killed / FILE).read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole):
        (killed / UNFINISHED).write_bytes(content)
        assert same_bits(resumed(killed))
        assert names(killed) == [FILE]


def test_what_never_saved_a_step_is_nothing(folder: Path):
    SolverState(folder, IDENTITY, 1)
    (folder / UNFINISHED).write_bytes(b"half")
    assert "nothing to resume" in refusal(lambda: resumed(folder))
    SolverState(folder, IDENTITY | {"seed": 4}, 1)
    assert names(folder) == []


def test_ctrl_c_waits_for_a_save(folder: Path, monkeypatch: pytest.MonkeyPatch):
    fsync = os.fsync

    def press_and_sync(descriptor: int) -> None:
        signal.raise_signal(signal.SIGINT)
        fsync(descriptor)

    state = SolverState(folder, IDENTITY, 1)
    monkeypatch.setattr(os, "fsync", press_and_sync)
    with pytest.raises(KeyboardInterrupt):
        state.save(2, STATE)
    assert same_bits(resumed(folder))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# What is refused


def test_state_of_an_earlier_run(killed: Path):
    said = refusal(lambda: SolverState(killed, IDENTITY, 1))
    assert said == (
        f"{killed} holds the state of an earlier run after 2 steps: "
        f"add `resume` to go on, or remove it to start afresh"
    )
    assert same_bits(resumed(killed))


def test_nothing_to_resume(folder: Path):
    said = refusal(lambda: resumed(folder))
    assert said == f"there is nothing to resume in {folder}: run without `resume`"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"version": "2"}, "was made with version 1, not 2"),
        ({"model": ["b" * 64]}, "is of another model"),
        ({"prompt": [1, 2, 4]}, "is of another prompt"),
        ({"prompt": [1, 2]}, "is of another prompt"),
        ({"dtype": "float64"}, "was made with dtype float32, not float64"),
        ({"span": "3:"}, "was made without span, not with 3:"),
        ({"seed": None}, "was made with seed 3, not without"),
        ({"seed": 4}, "was made with seed 3, not 4"),
        ({"skip_first": 1}, "was made without skip first, not with 1"),
    ],
)
def test_state_of_something_else(killed: Path, differences: dict[str, Any], said: str):
    assert refusal(lambda: resumed(killed, **differences)) == (
        f"the state in {killed} {said}: "
        f"give the options of the earlier run again, or remove it to start afresh"
    )
    assert same_bits(resumed(killed))


def test_an_option_that_the_earlier_run_knew(killed: Path):
    without = {name: value for name, value in IDENTITY.items() if name != "seed"}
    said = refusal(lambda: SolverState(killed, without, 1, resume=True))
    assert "was made with seed 3, not without" in said


def test_checkpoint_of_another_run_in_its_place(killed: Path, tmp_path: Path):
    """It says itself what it is of, whatever folder it lies in."""
    SolverState(tmp_path / "other", IDENTITY | {"seed": 4}, 1).save(2, STATE)
    shutil.copy(tmp_path / "other" / FILE, killed / FILE)
    assert "was made with seed 4, not 3" in refusal(lambda: resumed(killed))


def test_arrays_or_an_identity_of_another_run(killed: Path):
    """A file that is whole by itself, put together from two."""
    with safe_open(killed / FILE, framework="numpy") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in STATE}
    assert metadata["step"] == "2"
    others = {
        "step": (metadata | {"step": "3"}, arrays),
        "identity": (metadata | {"identity": json.dumps(IDENTITY | {"seed": 4})}, arrays),
        "checksum": ({name: text for name, text in metadata.items() if name != "sha256"}, arrays),
        "values": (metadata, arrays | {"right": arrays["right"] + 1}),
        "shape": (metadata, arrays | {"right": arrays["right"].reshape(-1)}),
        "dtype": (metadata, arrays | {"steps": arrays["steps"].view(np.float32)}),
        "one fewer": (metadata, {name: a for name, a in arrays.items() if name != "half"}),
        "one more": (metadata, arrays | {"more": np.zeros(0)}),
        "names": (metadata, arrays | {"half": arrays["steps"], "steps": arrays["half"]}),
    }
    for tampered, stored in others.values():
        save_file(stored, killed / FILE, tampered)
        assert refusal(lambda: resumed(killed)) == damaged(killed)
    save_file(arrays, killed / FILE, metadata)
    assert same_bits(resumed(killed))


def test_state_of_another_map(folder: Path):
    """For those who give svd a store of their own, and say too little of what it is of."""

    def solve(rows: int, **arguments: Any) -> jaxlin.SVDResult:
        a = jnp.asarray(np.random.default_rng(0).standard_normal((rows, 200)))
        operator = jaxlin.linearize(lambda x, a: a @ x, jnp.ones(200), a)
        return jaxlin.svd(operator, 3, method="lanczos", **arguments)

    solve(60, store=SolverState(folder, IDENTITY, 1), block=2)
    again = solve(60, store=SolverState(folder, IDENTITY, 1, resume=True), block=2)
    np.testing.assert_allclose(again.s, solve(60).s, rtol=1e-8)
    for rows, block in ((61, 2), (60, 3)):
        state = SolverState(folder, IDENTITY, 1, resume=True)
        said = refusal(lambda rows=rows, block=block, state=state: solve(rows, store=state, block=block))
        assert said == "`store` holds the state of another map or block: give an empty one"


def damaged(folder: Path) -> str:
    return f"the state in {folder} is damaged or cannot be read: remove it and run without `resume`"


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


#: What can happen to a file.
DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "first byte": lambda path: flip(path, 0),
    "a byte in the middle": lambda path: flip(path, path.stat().st_size // 2),
    "last byte": lambda path: flip(path, -1),
    "other bytes": lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_never_taken_for_a_state(killed: Path, damage: str, capfd: pytest.CaptureFixture[str]):
    """Whichever file it happens to: refused, or what is in it does not matter and the same bits come back."""
    whole = killed.with_name("whole")
    killed.rename(whole)
    refused = set()
    for file in [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]:
        shutil.rmtree(killed, ignore_errors=True)
        shutil.copytree(whole, killed)
        DAMAGES[damage](killed / file)
        try:
            found = resumed(killed)
        except JaxlinError as error:
            refused.add((file.name, str(error)))
        else:
            assert same_bits(found), file
    nothing = f"there is nothing to resume in {killed}: run without `resume`"
    assert refused == {(FILE, nothing if damage == "missing" else damaged(killed))}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", ["null", "[]", "3", "{}", "", "[" * 10**5])
def test_identity_that_is_something_else(killed: Path, content: str):
    with safe_open(killed / FILE, framework="numpy") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in STATE}
    save_file(arrays, killed / FILE, metadata | {"identity": content})
    assert refusal(lambda: resumed(killed)) == damaged(killed)


def test_any_byte_that_is_changed_is_noticed(killed: Path):
    """Or it does not matter: the same bits come back, after the same number of steps."""
    whole = (killed / FILE).read_bytes()
    for place in range(len(whole)):
        flip(killed / FILE, place)
        with suppress(JaxlinError):
            assert same_bits(resumed(killed))
            assert steps_in(killed) == 2
        (killed / FILE).write_bytes(whole)
    assert same_bits(resumed(killed))


@pytest.mark.parametrize("name", ["thesis.tex", "2.tex", ".hidden"])
@pytest.mark.parametrize("resume", [False, True])
def test_other_files_are_not_touched(killed: Path, name: str, resume: bool):
    if not resume:
        (killed / FILE).unlink()
    (killed / name).write_text("precious")
    said = refusal(lambda: SolverState(killed, IDENTITY, 1, resume=resume))
    assert said == f"{killed} holds other files ({name}): remove them, or choose another `out`"
    assert (killed / name).read_text() == "precious"


def test_file_in_its_place(folder: Path):
    folder.write_text("precious")
    for resume in (False, True):
        said = refusal(lambda resume=resume: SolverState(folder, IDENTITY, 1, resume=resume))
        assert said == f"{folder} is a file: remove it, or choose another `out`"


# A disk that is full, or closed


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow past this many bytes, which looks much like a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [50, 2000])
def test_full_disk_at_the_first_save(folder: Path, size: int, capfd: pytest.CaptureFixture[str]):
    state = SolverState(folder, IDENTITY, 1)

    def run() -> None:
        with file_size_limit(size):
            state.save(2, STATE)

    assert refusal(run) == (
        f"the solver's state cannot be written to {folder} (File too large): "
        f"free some space, choose another `out`, or set `save_every` to 0"
    )
    state.flush()  # as at the end of a run that fails
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")


def test_full_disk_at_a_later_save(killed: Path):
    state = SolverState(killed, IDENTITY, 1, resume=True)

    def run() -> None:
        with file_size_limit(2000):
            state.save(3, STATE)

    assert refusal(run) == (
        f"the solver's state cannot be written to {killed} (File too large): "
        f"free some space, and the same run with `resume` goes on after 2 steps"
    )
    assert names(killed) == [FILE]
    assert same_bits(resumed(killed))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_place_that_cannot_be():
    said = refusal(lambda: SolverState(Path("/proc/jaxlin/out.state"), IDENTITY, 1))
    assert said.startswith("the solver's state cannot be written to /proc/jaxlin/out.state (No such file")


# Killed


def environment(cache: Path) -> dict[str, str]:
    """Of a process that may be started again and again: what one has compiled, the next one finds."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "OPENBLAS_NUM_THREADS": "1",  # its threads would not outlive a fork
    }


class Worker:
    """Processes that can be killed; see resume_worker.py."""

    def __init__(self, cache: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("resume_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(cache),
        )

    def start(self, *job: Any) -> int:
        """Begin a job; its process's id."""
        assert self._process.stdin is not None
        print(json.dumps(job, default=str), file=self._process.stdin, flush=True)
        return int(self._line())

    def status(self) -> int:
        """Wait for the job to end: 0, or what it was killed by."""
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("cache"))
    yield worker
    worker.stop()


def written(file: Path) -> list[int]:
    """The steps that runs have written down, one a line; the last line may still be in the making."""
    return [int(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


def wait_for(step: int, file: Path) -> list[float]:
    """Until the step is written down; how long each step took."""
    seen, times, limit = written(file), [time.perf_counter()], time.perf_counter() + 60
    while step not in seen:
        assert time.perf_counter() < limit
        time.sleep(0.001)
        now = written(file)
        if now != seen:
            seen = now
            times.append(time.perf_counter())
    return list(np.diff(times))


KILLS = 13


def test_killed_at_any_moment_a_run_loses_at_most_one_step(worker: Worker, tmp_path: Path):
    """SIGKILL amid steps and saves over the whole run: it goes on, and ends at the same answer."""
    worker.start("solve", tmp_path / "whole.state", tmp_path / "whole.steps", tmp_path / "whole.npz")
    assert worker.status() == 0
    total = written(tmp_path / "whole.steps")[-1]
    assert total > 2 * KILLS
    rng = random.Random(0)
    state, steps, answer = tmp_path / "out.state", tmp_path / "out.steps", tmp_path / "out.npz"
    pace = 0.05
    for target in sorted(rng.sample(range(1, total), KILLS)):
        kept = steps_in(state) or 0
        before = len(written(steps))
        child = worker.start("solve", state, steps, answer)
        pace = median([pace, *wait_for(target, steps)[1:]])
        time.sleep(rng.random() * pace)
        os.kill(child, signal.SIGKILL)
        assert worker.status() == signal.SIGKILL
        done = written(steps)
        again = done[before:]  # nothing, where the last run had come that far and this one died early
        assert again == list(range(kept + 1, kept + 1 + len(again)))  # it went on from what was kept
        assert (steps_in(state) or 0) >= done[-1] - 1
    worker.start("solve", state, steps, answer)
    assert worker.status() == 0
    with np.load(tmp_path / "whole.npz") as whole, np.load(answer) as found:
        assert_same_answer(found, whole)


def test_killed_before_any_change_of_the_file_system(worker: Worker, tmp_path: Path):
    """Before the first, the second, … file opened, half written, renamed or removed by three saves."""
    first = tmp_path / "first.state"
    SolverState(first, {"seed": 0}, 1).save(2, arrays_of(2))
    kept = []
    for operation in range(10**6):
        folder, saved = tmp_path / f"{operation}.state", tmp_path / f"{operation}.saved"
        shutil.copytree(first, folder)
        saved.write_text("2")
        worker.start("save_and_die", folder, saved, operation)
        status = worker.status()
        if status == 0:
            assert not folder.exists()
            break
        assert status == signal.SIGKILL
        step, last = steps_in(folder), int(saved.read_text() or 2)
        kept.append(step)
        assert step is not None or last == 5  # by then it was being discarded
        if step is None:
            SolverState(folder, {"seed": 1}, 1).discard()
            continue
        assert last <= step <= last + 1
        state = SolverState(folder, {"seed": 0}, 1, resume=True)
        assert same_bits(state.restore(), arrays_of(step))
        assert names(folder) == [FILE]
    assert set(kept) == {2, 3, 4, 5, None}


def assert_same_answer(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """The steps are the same to the last bit; right vectors come from passes after an interruption, and from
    the blocks that were kept without one, which turns the left ones by rounding."""
    rounding = 1e3 * np.finfo(expected["s"].dtype).eps
    np.testing.assert_allclose(found["s"], expected["s"], rtol=0, atol=rounding * expected["s"][0])
    cosines = np.abs(np.einsum("kd,kd->k", found["U"], expected["U"]))
    np.testing.assert_allclose(cosines, 1, atol=1e3 * rounding)


# The command line


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint("llama-biases", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def command(checkpoint: Path, tmp_path: Path) -> Callable[..., int]:
    """Runs jaxlin svd by Lanczos into ``tmp_path / "out"`` with more arguments; returns the exit code."""

    def run(*arguments: str) -> int:
        request = ["svd", "--model", str(checkpoint), "--token-ids", "1,2,3", "--out", str(tmp_path / "out")]
        block = () if "dense" in arguments else ("--block", "1")
        return main([*request, "-k", "3", "--method", "lanczos", *block, *arguments])

    return run


@pytest.fixture
def interrupted_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the solver be interrupted after a step, once."""

    def interrupt(steps: int, kind: BaseException) -> None:
        save = SolverState.save

        def save_and_stop(self: SolverState, step: int, *rest: Any) -> None:
            save(self, step, *rest)
            if step == steps:
                monkeypatch.setattr(SolverState, "save", save)
                raise kind

        monkeypatch.setattr(SolverState, "save", save_and_stop)

    return interrupt


def test_ctrl_c_says_how_to_go_on(
    command: Callable[..., int],
    interrupted_after: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    interrupted_after(5, KeyboardInterrupt())
    assert command("--save-every", "4") == 130
    said = "interrupted after 5 steps; the same command with --resume goes on from there"
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)
    assert names(tmp_path) == ["out.state"]
    assert command() == 2
    assert capsys.readouterr().err == (
        f"jaxlin: {tmp_path / 'out.state'} holds the state of an earlier run after 5 steps: "
        f"add --resume to go on, or remove it to start afresh\n"
    )
    assert command("--resume", "-k", "4", "--tol", "1e-3") == 0
    assert names(tmp_path) == ["out"]
    resumed = load_file(tmp_path / "out" / "result.safetensors")["s"]
    assert command("-k", "4", "--tol", "1e-3", "--overwrite") == 0
    np.testing.assert_allclose(load_file(tmp_path / "out" / "result.safetensors")["s"], resumed, rtol=1e-5)


@pytest.mark.parametrize("kind", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB")])
def test_out_of_memory_keeps_the_state(
    command: Callable[..., int],
    interrupted_after: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: Exception,
):
    interrupted_after(1, kind)
    assert command() == 2
    said = "jaxlin: out of memory after 1 step; the same command with --resume goes on from there; "
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)
    assert names(tmp_path) == ["out.state"]


def test_full_disk_leaves_no_result(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command() == 0  # compiles, and JAX's cache of that may grow as it likes
    shutil.rmtree(tmp_path / "out")
    with file_size_limit(1500):
        assert command() == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(
        f"jaxlin: the solver's state cannot be written to {tmp_path / 'out.state'} (File too"
    )
    assert names(tmp_path) == []


#: Where a run may be cut off beside the solver: at the map, at reading its vectors as tokens, at writing.
STAGES = {
    "load": "jaxlin.verbs.svd.make_map",
    "decode": "jaxlin.results.svd_readout.read_poles",
    "write": "jaxlin.results.store.write",
}


@pytest.mark.parametrize("stage", STAGES)
def test_state_outlives_what_goes_wrong_beside_the_solver(
    command: Callable[..., int],
    interrupted_after: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
):
    interrupted_after(5, KeyboardInterrupt())
    command()

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(STAGES[stage], fail)
    assert command("--resume") == 130
    assert "the same command with --resume goes on from there" in capsys.readouterr().err.splitlines()[-1]
    assert names(tmp_path) == ["out.state"]


def test_methods_without_a_state(
    command: Callable[..., int],
    interrupted_after: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    assert command("--method", "dense", "--resume") == 2
    assert "there is nothing to resume" in capsys.readouterr().err
    interrupted_after(5, KeyboardInterrupt())
    command()
    assert command("--method", "dense", "--resume") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "jaxlin: method dense keeps no state: leave out --resume, or choose --method lanczos"
    )
    assert names(tmp_path) == ["out.state"]


def test_save_every_zero_and_less(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command("--save-every", "-1") == 2
    assert capsys.readouterr().err == ("jaxlin: --save-every is -1: give 0 or more\n")
    assert command("--save-every", "0") == 0
    assert names(tmp_path) == ["out"]


#: Options that a run may be resumed with in place of the earlier run's, and options that it may not.
SAME = [
    "k=9",
    "tol=0.1",
    "max_passes=99",
    "verify_seed=8",
    "save_jacobian=True",
    "order='contribution'",
    "overwrite=True",
    "save_every=7",
]
OTHER = [
    "policy='none'",
    "seed=7",
    "span='1:'",
    "skip_first=1",
    "position=2",
    "metric='fisher'",
    "target='x'",
]


@pytest.mark.parametrize("change", [*SAME, *OTHER])
def test_which_options_may_differ(tiny_model: Callable[[str, str], Model], tmp_path: Path, change: str):
    model = tiny_model("llama-biases", "float32")
    ids = prompt_ids("llama-biases")
    config = Svd(out=tmp_path / "out")
    chosen = choose_method(model.jacobian(ids), 3, "lanczos")
    opened = Resumable(config).store(model, ids, chosen)
    assert opened is not None
    opened.save(2, STATE)
    again = Resumable(replace(config, resume=True, **eval(f"dict({change})")))
    if change in SAME:
        assert again.store(model, ids, chosen) is not None
    else:
        name = change.split("=")[0].replace("_", " ")
        assert f" {name}" in refusal(lambda: again.store(model, ids, chosen))


def test_another_model_prompt_or_block(tiny_model: Callable[[str, str], Model], tmp_path: Path):
    model, ids = tiny_model("llama-biases", "float32"), prompt_ids("llama-biases")
    config = Svd(out=tmp_path / "out")
    chosen = choose_method(model.jacobian(ids), 3, "lanczos")
    opened = Resumable(config).store(model, ids, chosen)
    assert opened is not None
    opened.save(2, STATE)
    again = Resumable(replace(config, resume=True))
    other = tiny_model("qwen3-sliding", "float32")
    assert "is of another model" in refusal(lambda: again.store(other, ids, chosen))
    narrow = tiny_model("llama-biases", "bfloat16")
    said = refusal(lambda: again.store(narrow, ids, chosen))
    assert "was made with dtype float32, not bfloat16" in said
    assert "is of another prompt" in refusal(lambda: again.store(model, ids[1:], chosen))
    wider = replace(chosen, block=chosen.block + 1)
    said = refusal(lambda: again.store(model, ids, wider))
    assert f"was made with block {chosen.block}, not {chosen.block + 1}" in said


def test_a_run_without_trouble_leaves_nothing(tmp_path: Path):
    with resumable(Svd(out=tmp_path / "out")) as state:
        assert state.keep() is None
    assert names(tmp_path) == []


def test_a_run_that_gave_up_goes_on_with_more_passes(tmp_path: Path, capsys):
    folder = write_checkpoint("llama", tmp_path / "model")
    ids = ",".join(map(str, prompt_ids("llama")))
    asked = [
        "svd",
        "--model",
        str(folder),
        "--token-ids",
        ids,
        "--method",
        "lanczos",
        "-k",
        "3",
        "--block",
        "1",
    ]
    asked += ["--out", str(tmp_path / "out")]
    assert main([*asked, "--max-passes", "12"]) == 3
    said = capsys.readouterr().err
    assert "gave up after 6 steps; the same command with --resume --overwrite and more --max-passes" in said
    assert main([*asked, "--max-passes", "400", "--overwrite"]) == 2
    assert "add --resume to go on" in capsys.readouterr().err
    assert main([*asked, "--max-passes", "400", "--overwrite", "--resume"]) == 0
    summary = json.loads((tmp_path / "out" / "result.json").read_text())
    assert summary["resumed_from_step"] == 6
    assert summary["certificate"]["holds"] is True
    assert names(tmp_path) == ["model", "out"]


def test_a_real_kill_through_the_command_line(tmp_path: Path):
    """On an embedded checkpoint: killed once by SIGKILL, once politely, and the same numbers in the end."""
    code = "import sys; from jaxlin.commands.main import main; sys.exit(main(sys.argv[1:]))"
    prompt = ["--prompt", "The capital of France is Paris. The capital of Italy is"]

    def start(out: str, *more: str) -> subprocess.Popen[str]:
        request = ["svd", "--model", "demo-qwen", *prompt, "--method", "lanczos", "-k", "4", "--block", "1"]
        return subprocess.Popen(
            [sys.executable, "-c", code, *request, "--out", str(tmp_path / out), *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tmp_path / "cache"),
        )

    def after(steps: int, run: subprocess.Popen[str], number: signal.Signals) -> str:
        limit = time.perf_counter() + 120
        while (steps_in(tmp_path / "out.state") or 0) < steps:
            assert run.poll() is None
            assert time.perf_counter() < limit
            time.sleep(0.005)
        run.send_signal(number)
        return run.communicate(timeout=60)[1]

    def to_its_end(run: subprocess.Popen[str]) -> None:
        _, said = run.communicate(timeout=240)
        assert run.returncode == 0, said

    to_its_end(start("whole"))
    run = start("out")
    after(3, run, signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    kept = steps_in(tmp_path / "out.state")
    assert kept is not None
    run = start("out", "--resume")
    said = after(kept + 2, run, signal.SIGTERM).splitlines()[-1]
    assert run.returncode == 130
    kept = steps_in(tmp_path / "out.state")
    assert said == f"interrupted after {kept} steps; the same command with --resume goes on from there"
    to_its_end(start("out", "--resume"))
    found, expected = (load_file(tmp_path / name / "result.safetensors") for name in ("out", "whole"))
    assert_same_answer(found, expected)
    # SIGKILL leaves the hidden folder in which the result was to grow.
    assert {name for name in names(tmp_path) if not name.startswith(".")} == {"cache", "out", "whole"}
