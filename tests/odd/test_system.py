"""What surrounds the command: streams that are closed or full, a folder that is gone, limits, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_checkpoints import write_checkpoint

from jaxlin import JaxlinError
from jaxlin.commands.main import main
from jaxlin.prompts.span import parse_layers, parse_span
from jaxlin.prompts.target import parse_target
from jaxlin.runtime.failure import in_words, is_out_of_memory
from jaxlin.runtime.sizes import parse_size
from jaxlin.runtime.stderr import tell
from jaxlin.runtime.terminal import TerminalProgress

DIGITS = "9" * 5000


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = write_checkpoint("llama", tmp_path_factory.mktemp("llama"))
    return ["svd", "--model", str(folder), "--token-ids", "1,2,3", "-k", "2"]


def shell(command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command of the shell in which ``jaxlin`` is this Python's."""
    line = f'jaxlin() {{ {sys.executable} -m jaxlin "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", line],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("jaxlin models >/dev/full", 2, "stdout cannot be written (No space left on device)"),
        ("jaxlin models >&-", 2, "stdout is closed"),
        ("jaxlin models | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("jaxlin models --json | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("jaxlin nothing 2>/dev/full", 2, ""),
        ("jaxlin nothing 2>&-", 2, ""),
        ("cd $(mktemp -d); rmdir $PWD; jaxlin models", 2, "the working directory is gone"),
        ("JAX_PLATFORMS=nonsense jaxlin svd --model demo-llama --prompt a", 2, "JAX_PLATFORMS is 'nonsense'"),
        ("JAX_ENABLE_X64=nonsense jaxlin models", 2, "JAX cannot be imported"),
        ("XLA_FLAGS=--xla_nonsense=1 jaxlin models", 2, "--xla_nonsense=1): mend XLA_FLAGS"),
        ("XLA_FLAGS=--xla_force_host_platform_device_count=x jaxlin models", 2, "value x for flag xla_force"),
        (
            "JAX_COMPILATION_CACHE_DIR=/dev/null/x jaxlin svd --model demo-llama --prompt a -k 1",
            0,
            "cannot be used",
        ),
        ("ulimit -v 200000; jaxlin svd --model demo-llama --prompt a", 2, "out of memory"),
        ("ulimit -v 1000000; jaxlin svd --model demo-llama --prompt a", 2, "out of memory"),
    ],
)
def test_what_surrounds_the_command(command: str, code: int, said: str):
    done = shell(command)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == bool(said), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["report"],
        ["svd", "--model"],
        ["svd", "--model", "demo-llama", "--token-ids", "1,2", "--out"],
        ["svd", "--model", "demo-llama", "--prompts"],
        ["svd", "--model", "demo-llama", "--token-ids", "1,2", "--gate"],
    ],
)
def test_a_message_is_a_sentence_whatever_it_quotes(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*words, "word " * 2000]) == 2
    said = capsys.readouterr().err
    assert len(said) < 1800
    assert ": " in said[-401:]  # it still says what to do


@pytest.mark.parametrize("end", ["/dev/full", "&-"])
def test_progress_that_cannot_be_written_ends_no_work(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, end: str
):
    full = open("/dev/full", "w") if end == "/dev/full" else None  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", full)
    assert main([*asked, "--progress", "lines", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "result.json").exists()
    with TerminalProgress("lines") as progress:
        progress("rows", 1, 1)
    tell("lost")
    monkeypatch.undo()
    if full is not None:
        with suppress(OSError):  # what is left in its buffer has no room either
            full.close()


def test_the_result_is_whole_where_stdout_is_full(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        assert main([*asked, "--out", str(tmp_path / "out")]) == 2
    assert f"the result itself is whole, in {tmp_path / 'out'}" in capsys.readouterr().err
    assert (tmp_path / "out" / "result.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_amid_imports_is_130(number: signal.Signals):
    """Sent at once when the first line of the command runs, which an import of ours tells by a file."""
    code = (
        "import sys, runpy, os; sys.argv = ['jaxlin', 'models']\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'jaxlin.verbs.options':\n"
        "            print('now', flush=True); import time; time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "runpy.run_module('jaxlin', run_name='__main__')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n"
        time.sleep(0.1)
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
    assert (child.returncode, said) == (130, "interrupted; nothing was written\n")


def test_a_child_that_memory_ended_is_a_sentence():
    """As C++ ends it; run apart, because it forks."""
    code = (
        "import os; from jaxlin.commands.limited import supervised\n"
        "for work in (os.abort, lambda: 3, lambda: os._exit(127)): print(supervised(work, 2), flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split()[-3:] == ["2", "3", "2"]
    assert [line[:22] for line in done.stderr.splitlines()] == ["jaxlin: out of memory:"] * 2


def test_out_of_memory_is_said_only_where_it_is():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"))
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))
    for error in (
        RuntimeError("INTERNAL: a bug"),
        OSError(28, "No space left on device"),
        ImportError("no x"),
    ):
        assert not is_out_of_memory(error)
    assert "No space left on device" in in_words(OSError(28, "No space left on device", "/x"))
    with pytest.raises(RuntimeError, match="a bug"):
        in_words(RuntimeError("INTERNAL: a bug"))


@pytest.mark.parametrize("verb", ["svd", "tokens", "layers", "attribute", "steer"])
def test_every_verb_says_that_memory_is_out(
    asked: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"jaxlin.verbs.{verb}.tokenized", fail)
    more = ["--concept", "a"] if verb == "steer" else []
    words = [word for word in asked[1:] if verb != "steer" or word not in ("-k", "2")]
    assert main([verb, *words, *more]) == 2
    assert "out of memory" in capsys.readouterr().err


# Numbers that cannot be, before any memory is taken


@pytest.mark.parametrize(
    "text", ["0:3000000000", "3000000000", ":3000000000", "-3000000000:", f"0:{'9' * 30}"]
)
def test_spans_and_layers_are_checked_before_there_is_a_list_of_them(text: str):
    with pytest.raises(JaxlinError, match="outside the input: choose from 0 to 2"):
        parse_span(text, 3)
    with pytest.raises(JaxlinError, match=r"there is no layer -?[0-9]+: choose from 0 to 2"):
        parse_layers(text, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: parse_span(DIGITS, 3),
        lambda: parse_span(f"0:{DIGITS}", 3),
        lambda: parse_layers(f"-{DIGITS}:", 3),
        lambda: parse_target(f"logits:#{DIGITS}"),
        lambda: parse_target(r'logits:"\x41"'),
        lambda: parse_size("9" * 400),
        lambda: parse_size("9" * 400 + "GB"),
    ],
)
def test_numbers_of_many_digits_are_a_sentence(call):
    with pytest.raises(JaxlinError) as refused:
        call()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "flag", ["-k", "--seed", "--position", "--tol", "--block", "--skip-first", "--memory"]
)
@pytest.mark.parametrize("digits", [400, 5000])
def test_flags_of_many_digits_are_a_sentence(
    asked: list[str], capsys: pytest.CaptureFixture[str], flag: str, digits: int
):
    assert main([*asked, flag, "9" * digits]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 300


def test_tabs_and_line_breaks_stand_in_targets_as_they_are():
    assert parse_target('logits:"a\tb"-"\\n"').plus == "a\tb"
    assert parse_target('logits:"a"-"\\n"').minus == "\n"
