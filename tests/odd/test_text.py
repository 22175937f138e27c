"""Text as it comes: files byte for byte, JSON lines, marks, halves of letters, two beginnings, templates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from jaxlin_models.checkpoint import DEMOS

import jaxlin
from jaxlin import JaxlinError
from jaxlin.commands.main import main
from jaxlin.commands.prompt import read_prompt
from jaxlin.prompts import files
from jaxlin.prompts.files import read_json_lines, read_text
from jaxlin.prompts.load import locate
from jaxlin.verbs.entries import read_entries
from jaxlin.verbs.options import Svd
from jaxlin.verbs.shard import Shard
from jaxlin.verbs.shared import PromptSource

#: As Llama's, Gemma's and Qwen's are written, in short.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence with which a command is refused."""
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("jaxlin: ")
    assert line.isprintable()
    return line


@pytest.fixture(scope="module")
def gemma() -> Any:
    return locate("demo-gemma")


@pytest.fixture(scope="module", params=sorted(DEMOS))
def with_template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo whose tokenizer brings a chat template."""
    folder = tmp_path_factory.mktemp("chat") / request.param
    shutil.copytree(DEMOS[request.param], folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


# Prompt files


@pytest.mark.parametrize(
    "text",
    ["a\n", "a\r\n", "a\n\n", "\n a", "a\r", "a\x85", "a\u2028", "\ufeffa", "é\t😀\n", "a\x00b", "a\x0c"],
)
def test_a_prompt_file_is_all_of_it(tmp_path: Path, text: str):
    file = tmp_path / "prompt.txt"
    file.write_bytes(text.encode())
    marked = tmp_path / "marked.txt"
    marked.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_prompt(PromptSource(prompt_file=file)) == text.removeprefix("\ufeff")
    assert read_prompt(PromptSource(prompt_file=marked)) == text  # one mark, and not two


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings_are_refused_by_name(tmp_path: Path, encoding: str):
    file = tmp_path / "prompt.txt"
    file.write_bytes("The capital of France is".encode(encoding))
    with pytest.raises(JaxlinError, match=f"it is in {encoding[:6].upper()}, by its .* save it as UTF-8"):
        read_text(file, "prompt_file")


def test_bytes_that_are_no_utf8_are_told_by_their_line(tmp_path: Path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"one\ntwo\ncaf\xe9 is\n")
    with pytest.raises(JaxlinError, match="line 3 has the byte 0xe9, which is none"):
        read_text(file, "prompt_file")


@pytest.mark.parametrize("way", ["--prompt-file", "--prompts"])
def test_what_has_no_end_is_read_to_a_bound(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, way: str
):
    monkeypatch.setattr("jaxlin.prompts.files.PROMPTS_BYTES", 20_000_000)
    assert "it is larger than" in refused(capsys, "svd", "--model", "demo-llama", way, "/dev/zero")


def test_a_pipe_is_read_to_its_end_and_an_endless_one_is_not(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a prompt\n",))
    writer.start()
    assert read_text(pipe, "prompt_file") == "a prompt\n"
    writer.join()

    def endless() -> None:
        try:
            with pipe.open("wb", buffering=0) as file:
                while True:
                    file.write(b"a" * 65536)
        except BrokenPipeError:
            return

    writer = threading.Thread(target=endless)
    writer.start()
    with pytest.raises(JaxlinError, match="larger than 1 MB"):
        read_text(pipe, "prompt_file", most=1_000_000)
    writer.join()


# JSON lines


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one that has a writer is, however long that takes."""
    monkeypatch.setattr(files, "_PATIENCE", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(JaxlinError, match="a pipe that nobody writes to"):
        read_text(pipe, "prompt_file")
    monkeypatch.setattr(files, "_PATIENCE", 60.0)

    def write() -> None:
        with pipe.open("w") as file:
            time.sleep(0.6)
            file.write("late")
            file.flush()
            time.sleep(0.3)
            file.write("r")

    writer = threading.Thread(target=write)
    writer.start()
    assert read_text(pipe, "prompt_file") == "later"
    writer.join()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x7f", "\x0b", "\x0c", "\x1c", "\x1e"])
@pytest.mark.parametrize(("mark", "end"), [("", "\n"), ("\ufeff", "\r\n"), ("", "\n\n \r\n")])
def test_json_lines_end_at_line_feeds_alone(tmp_path: Path, gemma: Any, separator: str, mark: str, end: str):
    text = f"The capital{separator}of France"
    raw = separator not in "\x0b\x0c\x1c\x1e"  # which JSON has to escape
    lines = [json.dumps({"prompt": prompt}, ensure_ascii=not raw) for prompt in (text, "Another")]
    file = tmp_path / "prompts.jsonl"
    file.write_bytes((mark + end.join(lines) + end).encode())
    entries = read_entries(file, gemma, Svd(), Shard()).entries
    assert [entry.ids for entry in entries] == [gemma.tokenize(text), gemma.tokenize("Another")]
    assert entries[0].name == "000001"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (r'{"prompt": "I am happy \ud83d"}', "half of a surrogate pair"),
        (r'{"prompt": "\udcc3\udca9"}', "half of a surrogate pair"),
        (r'{"messages": [{"role": "user", "content": "\ude00"}]}', "no chat template|surrogate"),
        ('{"prompt": ' + "[" * 100_000, "nested too deep"),
        ('{"prompt": "a"', "no JSON"),
        ('{"token_ids": [true, false]}', "list of numbers"),
        ('{"token_ids": [1.5]}', "list of numbers"),
        ('{"token_ids": [' + "9" * 5000 + "]}", "no JSON"),
        ('{"token_ids": [' + "9" * 4000 + "]}", "number of about 4001 digits is out of range"),
        ('{"prompt": "a", "prompt": "b"}', "twice"),
        ('{"prompt": "a", "id": null}', '"id" is text or a whole number'),
        ('{"prompt": "a", "id": true}', '"id" is text or a whole number'),
        ('{"prompt": "a", "id": "\x1b[31m"}'.replace("\x1b", "\\u001b"), r"\x1b[31m"),
        ('["a"]', "no JSON object"),
        ('{"messages": []}', "messages"),
        ('{"messages": ["a"]}', "messages"),
    ],
)
def test_a_bad_line_is_told_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
):
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n" + line + "\n")
    told = refused(
        capsys, "svd", "--model", "demo-llama", "--prompts", str(file), "--out", str(tmp_path / "out")
    )
    assert "prompts.jsonl, line 2: " in told
    assert any(part in told for part in said.split("|"))
    assert not (tmp_path / "out").exists()


def test_a_line_that_is_no_utf8_is_told_by_its_number(tmp_path: Path):
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n')
    with pytest.raises(JaxlinError, match="line 2 has the byte 0xe9"):
        list(read_json_lines(file, "prompts"))


# The command line


@pytest.mark.parametrize("option", ["--prompt", "--target"])
def test_an_argument_that_is_no_utf8(capsys: pytest.CaptureFixture[str], option: str):
    words = {"--prompt": "a", "--target": 'logits:"a"'} | {option: "caf\udce9"}
    told = refused(capsys, "svd", "--model", "demo-llama", *(word for pair in words.items() for word in pair))
    assert f"{option} is no text in UTF-8 (byte 0xe9)" in told


def test_text_is_utf8_whatever_the_locale(tmp_path: Path):
    """Under an ASCII locale its bytes come as halves of surrogate pairs; a path of them stays one."""
    file = tmp_path / "é.txt"
    file.write_text("a")
    code = (
        "from jaxlin.commands.main import command_of; from jaxlin.commands.parser import parse; import sys; "
        "from jaxlin.verbs.shared import PromptSource; "
        "parsed = parse(command_of('svd'), sys.argv[1:])[PromptSource]; "
        "print(ascii(parsed.prompt), parsed.prompt_file.exists())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--model", "m", "--prompt", "café", "--prompt-file", str(file)],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == r"'caf\xe9' True", done.stderr


def test_python_refuses_halves_too(gemma: Any):
    for prompt in ("a\ud83d", "caf\udce9"):
        with pytest.raises(JaxlinError, match="half of a surrogate pair"):
            gemma.tokenize(prompt)
        with pytest.raises(JaxlinError, match="half of a surrogate pair"):
            gemma.token_id(prompt)


# Special tokens


def begins(model: Any, text: str, **options: bool) -> list[int]:
    return list(model.tokenize(text, **options))


@pytest.mark.parametrize(("name", "bos"), [("demo-gemma", "<bos>"), ("demo-llama", "<|begin_of_text|>")])
def test_two_beginnings_are_told(capsys: pytest.CaptureFixture[str], name: str, bos: str):
    model = jaxlin.load(name)
    once, twice = model.tokenize("The capital"), model.tokenize(f"{bos}The capital")
    if twice[1] == twice[0]:  # where the tokenizer knows its own special token in text
        model.svd(f"{bos}The capital", k=1)
        assert f"begins with {bos} twice" in capsys.readouterr().err
    model.svd([once[0], *once], k=1)
    assert f"jaxlin: the prompt begins with {bos} twice" in capsys.readouterr().err
    model.svd(once, k=1)
    model.svd("The capital", k=1, no_special_tokens=True)
    assert capsys.readouterr().err == ""
    assert model.tokenize("The capital", special_tokens=False) == once[1:]


def test_options_about_text_are_refused_with_ids(capsys: pytest.CaptureFixture[str]):
    for option in ("--chat", "--no-special-tokens"):
        told = refused(capsys, "svd", "--model", "demo-gemma", "--token-ids", "2,3", option)
        assert f"leave {option} out" in told


# Chats


def test_a_chat_goes_through_the_checkpoints_own_template(with_template: Path, tmp_path: Path):
    model = jaxlin.load(with_template)
    bos = model.tokenizer.bos_token or ""
    expected = model.tokenize(f"{bos}<user>Hello\n<assistant>", special_tokens=False)
    assert model.tokenize("Hello", chat=True) == expected
    messages = [{"role": "user", "content": "Hello"}]
    assert model.tokenize(messages) == expected
    answer = [*messages, {"role": "assistant", "content": "I am"}]
    assert model.text(model.tokenize(answer)).endswith("<assistant>I am")  # goes on, where it is the last
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"messages": messages}) + "\n" + json.dumps({"prompt": "Hello"}) + "\n")
    entries = read_entries(file, model, Svd(chat=True), Shard()).entries
    assert [entry.ids for entry in entries] == [expected, expected]
    result = model.svd("Hello", k=1, chat=True)
    assert list(result.labels.ids) == expected
    assert result.summary()["chat"] is True
    assert "chat=True" in result.python()


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no such role') }}",
        "{{ messages.__class__.__mro__ }}{{ ''.__class__.__subclasses__() }}",
        "{% for i in range(10**9) %}a{% endfor %}",
        "{{ nothing.at.all }}",
        "{% if %}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_refuses_or_reaches_out_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], template: str
):
    folder = tmp_path / "model"
    shutil.copytree(DEMOS["demo-gemma"], folder)
    (folder / "chat_template.jinja").write_text(template)
    told = refused(capsys, "svd", "--model", str(folder), "--chat", "--prompt", "Hello")
    assert "the checkpoint's chat template cannot be used on these messages" in told


def test_no_template_no_chat(capsys: pytest.CaptureFixture[str]):
    told = refused(capsys, "svd", "--model", "demo-gemma", "--chat", "--prompt", "Hello")
    assert "has no chat template" in told
    assert "--chat" in told
