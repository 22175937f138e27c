"""The judge notices everything that it is there for, and a world is as before after every case."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hostile import judge
from hostile.case import FIFO, FOLDER, GONE, Case, Link, from_text
from hostile.judge import run
from hostile.kinds import KINDS, drawn
from hostile.limits import MEMORY
from hostile.mutate import join_tensors, split_tensors
from hostile.process import Process, Unit
from hostile.requests import request
from hostile.values import Raw, as_json
from hostile.world import SECRET, World
from jaxlin.verbs.options import VERBS


@pytest.fixture
def small_world(tmp_path: Path) -> World:
    """A world of a few files, for which nothing has to be computed."""
    world = World.of(
        tmp_path / "world", {SECRET: b"secret", "work/a": b"a", "work/folder": FOLDER, "work/link": Link("a")}
    )
    assert world.contents == {"a": b"a"}
    return world


Program = Callable[[list[str]], int]


def refused(_: list[str]) -> int:
    print("jaxlin: no", file=sys.stderr)
    return 2


def raising(_: list[str]) -> int:
    raise ValueError("oops")


def panicking(_: list[str]) -> int:
    raise BaseException("a panic of a library")


def saying(stdout: str = "", stderr: str = "", code: int = 0) -> Program:
    def program(_: list[str]) -> int:
        print(stdout, end="")
        print(stderr, end="", file=sys.stderr)
        return code

    return program


def underneath(_: list[str]) -> int:
    os.write(2, b"thread panicked at 'oops'\n")  # as a library does that is not written in Python
    return 0


def warning(_: list[str]) -> int:
    warnings.warn("nothing to draw", UserWarning, stacklevel=1)
    return 0


def dividing(_: list[str]) -> int:
    np.ones(1) / np.zeros(1)
    return 0


def sleeping(_: list[str]) -> int:
    time.sleep(30)
    return 0


def greedy(_: list[str]) -> int:
    np.ones(MEMORY // 8 + (1 << 20))
    return 0


def too_greedy(_: list[str]) -> int:
    np.zeros(1 << 50)
    return 0


def writing(path: str, code: int = 0) -> Program:
    def program(_: list[str]) -> int:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("mine")
        return refused([]) if code == 2 else code

    return program


BROKEN: dict[str, tuple[Program, str]] = {
    "raising": (raising, "traceback: ValueError"),
    "panicking": (panicking, "traceback: BaseException"),
    "underneath": (underneath, "traceback: printed on stderr"),
    "code": (saying(code=1), "code: 1"),
    "silent": (saying(code=2), "sentence: ''"),
    "two sentences": (saying(stderr="jaxlin: a\njaxlin: b\n", code=2), "sentence: "),
    "nameless": (saying(stderr="no\n", code=2), "sentence: "),
    "on stdout": (saying(stdout="x", stderr="jaxlin: a\n", code=2), "sentence: something on stdout"),
    "noise": (saying(stderr="a library says\n"), "sentence: "),
    "escape": (saying(stdout="\x1b[31m"), "characters: "),
    "C1": (saying(stderr="jaxlin: \x9b\n"), "characters: "),
    "bidi": (saying(stdout="\u202e"), "characters: "),
    "separator": (saying(stdout="\u2028"), "characters: "),
    "warning": (warning, "warning: UserWarning"),
    "dividing": (dividing, "warning: RuntimeWarning"),
    "sleeping": (sleeping, "time: "),
    "greedy": (greedy, "memory: "),
    "too greedy": (too_greedy, "traceback: "),
    "out of memory": (saying(stderr="jaxlin: out of memory\n", code=2), "memory: "),
    "outside": (writing("../outside/new"), "written: "),
    "changed": (writing("../" + SECRET), "written: "),
    "beside": (writing("other"), "written: "),
    "through a link": (writing("link"), "written: "),
    "refused and written": (writing("out/x", 2), "written: "),
}
KEPT: dict[str, Program] = {
    "refused": refused,
    "done": saying(stdout="日本語 👩\u200d🔬 \n", stderr="jaxlin: a note\n"),
    "flagged": saying(code=3),
    "written": writing("out/x"),
    "written deep": writing("out/a/b/x"),
    "state": writing("out.state/x"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_noticed(name: str, small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    program, says = BROKEN[name]
    monkeypatch.setattr(judge, "main", program)
    before = small_world.signatures().keys()
    outcome = run(Case(("svd", "--out", "out")), small_world, seconds=1)
    assert [broken for broken in outcome.broken if broken.startswith(says)], outcome
    assert small_world.signatures().keys() == before
    assert (small_world.root / SECRET).read_bytes() == b"secret"


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_is_no_fault(name: str, small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "main", KEPT[name])
    assert run(Case(("svd", "--out=out")), small_world).broken == ()
    assert not (small_world.work / "out").exists()


def test_another_code_than_the_known_one(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "main", refused)
    assert run(Case(("svd",)), small_world, 0).broken == ("code: 2 for 0",)


def test_a_world_is_restored(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "main", refused)
    files = {
        "a": FIFO,
        "folder": b"a file",
        "link": FOLDER,
        "link/inner": b"",
        "new/deep": b"x",
        "a/..": GONE,
    }
    del files["a/.."]
    before = {name: signature[0] for name, signature in small_world.signatures().items()}
    run(Case(("svd",), files), small_world)
    assert {name: signature[0] for name, signature in small_world.signatures().items()} == before
    assert (small_world.work / "a").read_bytes() == b"a"
    assert os.readlink(small_world.work / "link") == "a"


def test_a_case_is_the_same_from_its_text() -> None:
    case = Case(("svd", "\udcff"), {"a": b"\xff", "b\udcff": Link("x"), "c": FIFO})
    assert from_text(case.text()) == case


def test_json_with_raw_parts() -> None:
    assert as_json({"a": [Raw("1e400"), None, 1.5, "\ud800"]}) == '{"a":[1e400,null,1.5,"\\ud800"]}'


def test_safetensors_in_parts() -> None:
    data = join_tensors('{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}', b"xy")
    header, body = split_tensors(data)
    assert (header["a"]["shape"], body, len(data) % 8) == ([2], b"xy", 2)


@pytest.fixture(scope="module")
def contents() -> World:
    """What strategies see of a world; nothing of it is on disk."""
    index = b'{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}'
    tensors = join_tensors('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"abcd")
    files = {"model/config.json": b'{"a": 1}', "model/model.safetensors": tensors,
             "sharded/model-1.safetensors": tensors,
             "sharded/model.safetensors.index.json": index, "model/tokenizer.json": b"{}",
             "model/tokenizer_config.json": b"{}",
             "model.gguf": b"GGUF" + bytes(range(60)) + b"blk.0.weight" + bytes(80),
             "prompts.jsonl": b'{"prompt": "a"}\n', "results/svd/result.json": b"{}",
             "results/svd/result.safetensors": tensors,
             "results/old-steer/result.json": b"{}", "results/old-steer/result.safetensors": tensors,
             "batch/index.jsonl": b"{}\n", "run.state/state.safetensors": tensors}  # fmt: skip
    return World(Path("/nowhere"), files, {}, {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_cases(kind: str, contents: World) -> None:
    first, second, other = (drawn(kind, contents, number, 12) for number in (1, 1, 2))
    assert first == second
    assert first != other


def test_every_verb_is_asked() -> None:
    """A new verb needs an entry in ``GIVEN`` if it needs options that no verb has had."""
    assert [verb for verb in VERBS if request(verb) is None] == []


@pytest.mark.parametrize(
    ("program", "says"), [("import os; os.abort()", "death: SIGABRT"), ("pass", "death: 0")]
)
def test_a_worker_that_dies_is_recorded(program: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the case that it was at; what is left of its unit is handed back."""
    worker = f"""
import os, sys, json
def tell(**told): os.write(int(sys.argv[1]), (json.dumps(told) + "\\n").encode())
tell(ready=True)
sys.stdin.readline()
tell(start=3)
{program}
"""
    outcomes = []
    monkeypatch.setattr("hostile.process.COMMAND", (sys.executable, "-c", worker))
    process = Process({})
    left = process.do(
        Unit("config", 7), lambda unit, told, case: outcomes.append((unit.kind, told["done"], told["broken"]))
    )
    assert outcomes == [("config", 3, [says])]
    assert (left, process.alive) == (Unit("config", 7, first=4), False)


def test_a_worker_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(int(sys.argv[1]), b'{"ready": true}\\n{"start": 0}\\n')
time.sleep(60)
"""
    outcomes = []
    monkeypatch.setattr("hostile.process.CASE", 0.2)
    monkeypatch.setattr("hostile.process.COMMAND", (sys.executable, "-c", worker))
    Process({}).do(Unit("config", 7, end=1), lambda unit, told, case: outcomes.append(told["broken"]))
    assert outcomes == [["time: no signal ends it"]]
