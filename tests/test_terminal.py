"""What a person or a machine reads of a verb: tables or JSON on stdout, progress or silence on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import FAMILIES
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
import jaxlin.runtime.terminal as progress_module
from jaxlin import JaxlinError
from jaxlin.commands.main import command_of, main
from jaxlin.runtime.device import device, use_device
from jaxlin.runtime.interrupt import interruptible
from jaxlin.runtime.terminal import TerminalProgress, spell_time
from jaxlin.verbs.options import VERBS
from jaxlin.verbs.shared import Screen, Watched, Work

NAME = FAMILIES[0]
#: Verb -> what it is asked beside a model, a prompt and a place.
ASKED = {
    "svd": ("-k", "2"),
    "tokens": ("-k", "1"),
    "layers": ("-k", "2", "--parts", "mlp", "--layers", "0"),
    "attribute": (),
    "compare": ("-k", "2", "--policies", "detached,half"),
}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = write_checkpoint(NAME, tmp_path_factory.mktemp(NAME))
    return ("--model", str(folder), "--token-ids", ",".join(map(str, prompt_ids(NAME, 6))))


@pytest.mark.parametrize("verb", ASKED)
def test_json_is_the_summary_on_disk(tmp_path: Path, capsys, ask: tuple[str, ...], verb: str):
    out = tmp_path / "out"
    assert main([verb, *ask, *ASKED[verb], "--json", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == json.loads((out / "result.json").read_text())
    assert told.err == ""


def test_files_written_are_told_in_json_too(
    tmp_path: Path, capsys, ask: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    assert main(["svd", *ask, "-k", "2", "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["report"]) == 2
    assert "RESULT is missing" in capsys.readouterr().err
    monkeypatch.chdir(out)  # a result is found from inside it too, and what is made of it lies beside it
    for command in (["report", "."], ["plot", "."]):
        assert main([*command, "--json"]) == 0
        written = json.loads(capsys.readouterr().out)["wrote"]
        assert written
        assert all(Path(file).stat().st_size > 0 for file in written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.html", "out.pictures"]


def test_every_verb_takes_json_and_long_work_a_device_and_progress():
    def verbs_with(kind: type) -> set[str]:
        return {name for name in VERBS if any(issubclass(takes, kind) for takes in command_of(name).takes)}

    assert verbs_with(Screen) == set(VERBS)
    assert set(VERBS) - verbs_with(Watched) == {"report", "plot", "models"}
    assert verbs_with(Watched) - verbs_with(Work) == {"convert"}


def test_help_lists_verbs_in_a_line_each_and_one_verb_with_its_example(capsys):
    for arguments, has_example in ((["--help"], False), (["steer", "--help"], True)):
        assert main(arguments) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert ("example: jaxlin steer" in printed) is has_example
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "exit codes:\n  0    done\n  2    a request that cannot be met" in printed
    for name, options in VERBS.items():
        line = str(options.__doc__).partition("\n")[0]
        assert re.search(rf"^  {name} +{re.escape(line)}$", printed, re.MULTILINE)


def test_what_is_no_verb_names_the_nearest_and_the_version_is_told(capsys):
    assert main(["layer"]) == 2
    assert capsys.readouterr().err == "jaxlin: jaxlin has no verb 'layer': did you mean layers?\n"
    assert main([]) == 2
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"jaxlin {jaxlin.__version__}"


def test_a_closed_pipe_is_no_error():
    """As after ``jaxlin --help | head -1``."""
    command = f"{sys.executable} -m jaxlin svd --help | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: jaxlin svd")


def lines(monkeypatch: pytest.MonkeyPatch, capsys, calls: list[tuple]) -> list[str]:
    """What progress says of calls, each a time in seconds and the arguments."""
    clock = iter([at for at, *_ in calls])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    with TerminalProgress("lines") as progress:
        for _, *arguments in calls:
            progress(*arguments)
    return [re.sub(r"[\d.]+ [MG]B", "N GB", line) for line in capsys.readouterr().err.splitlines()]


def test_lines_tell_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys):
    said = lines(
        monkeypatch,
        capsys,
        [
            (100.0, "rows", 10, 110, "rows"),
            (110.0, "rows", 20, 110, "rows"),  # soon after the last line: nothing
            (140.0, "rows", 30, 110, "rows"),
            (180.0, "rows", 50, 110, "rows", 7.0),
            (181.0, "rows", 110, 110, "rows"),
        ],
    )
    assert said == [
        "rows: 10/110 rows (N GB)",
        "rows: 30/110 rows (3 min left, N GB)",  # 20 of them took 40 s, and 80 are left
        "rows: 50/110 rows (7 s left, N GB)",
        "rows: 110/110 rows (81 s, N GB)",
    ]


@pytest.mark.parametrize("mode", ["auto", "none"])
def test_no_terminal_no_progress(capsys, mode: str):
    with TerminalProgress(mode) as progress:
        progress("rows", 1, 1)
    assert capsys.readouterr() == ("", "")


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    with TerminalProgress("auto") as progress:
        progress("planning", 1, 1, "why and how, " + "at length, " * 9)
        progress("rows", 1, 4, "of J", 7.0)
        progress("rows", 2, 4, "a note that is too long for what there is of the line " * 2, 5.0)
        progress._bars.refresh()
        progress("rows", 4, 4, "of J")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert shown.replace("\n", " ").count("length, ") == 9  # said once, whole
    assert re.search(r"rows +━+.* 2/4 5 s left, [\d.]+ [MG]B a note that .*…", shown)
    assert re.search(r"4/4 \d s, [\d.]+ [MG]B of J", shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_python_dropped_comes_again(number: signal.Signals):
    """As it does when it arrives amid a callback of the garbage collector."""
    before = signal.getsignal(number)
    progress = TerminalProgress("none")
    with interruptible():
        progress("rows", 1, 2)
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            pytest.fail("nothing was raised")
        with pytest.raises(KeyboardInterrupt):
            progress("rows", 2, 2)
    assert signal.getsignal(number) is before
    with interruptible():  # the next command of this process
        progress("rows", 1, 2)


def test_times():
    assert [spell_time(s) for s in (0.4, 99, 100, 5940, 7500)] == [
        "0 s",
        "99 s",
        "2 min",
        "99 min",
        "2 h 5 min",
    ]


def test_unknown_progress_and_devices(tmp_path: Path, capsys, ask: tuple[str, ...]):
    out = ("--out", str(tmp_path / "out"))
    assert main(["svd", *ask, *out, "--progress", "some"]) == 2
    assert "unknown progress 'some': choose one of auto, lines, none" in capsys.readouterr().err
    assert main(["svd", *ask, *out, "--device", "tpu:3"]) == 2
    assert "there is no device 'tpu:3': choose cpu:0" in capsys.readouterr().err
    for name in ("cuda", "cpu:1", "cpu:one", ""):
        with pytest.raises(JaxlinError, match=f"there is no device '{name}'"):
            use_device(name)
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_what_everything_is_computed_on():
    before = jax.config.jax_default_device
    try:
        use_device("cpu:0")
        assert jax.config.jax_default_device == device() == jax.local_devices()[0]
    finally:
        jax.config.update("jax_default_device", before)
