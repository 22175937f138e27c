"""Several processes compute one result together; one of them writes it, and a lost one ends the run.

Real processes on the loopback device, each of them ``jaxlin`` itself with one or two virtual CPU devices.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import jaxlin
from jaxlin.commands.main import main
from jaxlin.prompts.model import Model

pytestmark = pytest.mark.once

IDS = [3, 1, 4, 1, 5, 9, 2]
#: Seconds after which a process is stuck, on a machine with much else to do.
_STUCK = 540


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes, which are gone at the end whatever happens."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def start(words: Sequence[str], devices: int, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "jaxlin", *words],
        env={**os.environ, "XLA_FLAGS": flags, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def two(words: Sequence[str]) -> list[subprocess.Popen[str]]:
    """The same command in two processes of two devices."""
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2", "--process-id"]
    return [start([*words, *where, str(i)], 2, {}) for i in range(2)]


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit codes, stdout and stderr."""
    said = [process.communicate(timeout=_STUCK) for process in processes]
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


def test_a_lost_process_ends_the_run_and_the_next_goes_on(
    tiny_model: Callable[[str, str], Model], tmp_path: Path, started: list[subprocess.Popen[str]]
):
    """The one that is left ends with one sentence; started again, both go on from the state of the first."""
    model, out = tiny_model("llama-biases", "float64"), tmp_path / "out"
    folder = str(model.checkpoint.directory) if model.checkpoint is not None else ""
    ids = ",".join(map(str, IDS))
    words = ["svd", "--model", folder, "--token-ids", ids, "--dtype", "float64"]
    words += ["--mesh", "sequence=2,tensor=2"]
    words += ["-k", "16", "--method", "lanczos", "--block", "1", "--out", str(out)]
    started += two(words)
    state = tmp_path / "out.state" / "state.safetensors"
    until = time.monotonic() + _STUCK
    while not state.exists():
        assert time.monotonic() < until
        assert all(process.poll() is None for process in started), ended(started)
        time.sleep(0.01)
    started[1].send_signal(signal.SIGKILL)
    (code, shown, told), (killed, _, _) = ended(started)
    assert (code, killed, shown) == (2, -signal.SIGKILL, "")
    # Of Python's error this process tells itself; of an abort of C++, its parent.
    assert re.match(r"jaxlin(, process 0)?: another process of this run ended, or cannot be reached", told)
    assert told.count("\n") == 1
    assert not out.exists()

    started[:] = two([*words, "--resume", "--json"])
    (code, shown, told), (other, nothing, silent) = ended(started)
    assert (code, told, other, nothing, silent) == (0, "", 0, "", "")
    summary = json.loads(shown)
    assert summary["mesh"] == "sequence=2,tensor=2"
    assert summary["resumed_from_step"] >= 1
    matrix = np.asarray(model.jacobian(IDS).dense())
    expected = np.linalg.svd(matrix.reshape(len(matrix), -1), compute_uv=False)[:16]
    np.testing.assert_allclose(jaxlin.read(out).s, expected, rtol=0, atol=1e-12 * expected[0])
    assert not state.parent.exists()


def test_slurm_says_who_is_who(
    tiny_model: Callable[[str, str], Model], tmp_path: Path, started: list[subprocess.Popen[str]]
):
    """Four processes of one device, as ``srun`` starts them: an attribution is that of one process."""
    model, out = tiny_model("llama-biases", "float64"), tmp_path / "out"
    folder = str(model.checkpoint.directory) if model.checkpoint is not None else ""
    words = ["attribute", "--model", folder, "--token-ids", ",".join(map(str, IDS)), "--dtype", "float64"]
    words += ["--target", "#5", "--by-token", "--mesh", "data=2,tensor=2", "--out", str(out), "--json"]
    words += ["--coordinator", "slurm"]
    # JAX makes the coordinator's port of the job's number: one between 61,440 and 65,535.
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "4"}
    job["SLURM_STEP_NUM_TASKS"] = "4"
    started += [start(words, 1, {**job, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)}) for i in range(4)]
    (code, shown, told), *others = ended(started)
    assert (code, told) == (0, "")
    assert others == [(0, "", "")] * 3
    ours, theirs = jaxlin.read(out), model.attribute(IDS, "#5", by_token=True)
    for name in ("value", "tokens", "heads", "branch_tokens"):
        a, b = (np.asarray(getattr(each.splits[0], name)) for each in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())  # stored in float32
    assert json.loads(shown)["mesh"] == "data=2,tensor=2"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--process-id", "0"], "--process-id is about the devices of a --mesh"),
        (["--mesh", "tensor=2", "--process-id", "0"], "goes with --coordinator"),
        (["--mesh", "tensor=2", "--coordinator", "here"], "'here' is no --coordinator: give HOST:PORT"),
        (["--mesh", "tensor=2", "--coordinator", "a:1"], "give --process-id"),
        (
            ["--mesh", "tensor=2", "--coordinator", "a:1", "--process-id", "2", "--num-processes", "2"],
            "numbered from 0 to 1",
        ),
        (["--mesh", "tensor=2", "--coordinator", "slurm"], "there is no SLURM job here"),
        (["--mesh", "tensor=2", "--device", "cpu:0"], "leave the number of --device out"),
        (
            ["--mesh", "tensor=2", "--coordinator", "a:1", "--prompts", "x.jsonl"],
            "--prompts are divided by --shard",
        ),
    ],
)
def test_what_is_no_group_of_processes_is_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert main(["svd", "--model", "demo-llama", *words]) == 2
    assert sentence in capsys.readouterr().err
