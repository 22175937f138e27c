"""What can be run in the documents runs: Python blocks, the tutorial, commands on embedded models."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from jaxlin.commands import main as cli
from jaxlin.commands.options import Svd

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = ("README.md", "docs/paper.md", "docs/coming-from.md", "CONTRIBUTING.md")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def commands(document: str) -> list[list[str]]:
    """The ``jaxlin`` lines of a document, comments and continued lines resolved."""
    text = "\n".join(blocks(document, "bash")).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [line[1:] for line in lines if line and line[0] == "jaxlin"]


def test_python_blocks_of_the_readme_run(capsys):
    """In order and in one namespace, as somebody would paste them."""
    namespace: dict[str, object] = {}
    for block in blocks("README.md", "python"):
        exec(block, namespace)
    assert "converged=4" in capsys.readouterr().out
    assert namespace["result"].certificate.holds


@pytest.mark.demos
def test_python_blocks_of_the_notes_run():
    (block,) = blocks("docs/coming-from.md", "python")
    exec(block, {})


@pytest.mark.demos
def test_the_tutorial_runs(capsys):
    exec((ROOT / "docs" / "tutorial.py").read_text(), {})
    assert "[' Paris', ' Ireland'" in capsys.readouterr().out


def test_the_notebook_is_the_tutorial():
    jupytext = pytest.importorskip("jupytext")
    script, notebook = (jupytext.read(ROOT / "docs" / f"tutorial.{end}") for end in ("py", "ipynb"))
    pairs = [[(cell.cell_type, cell.source) for cell in each.cells] for each in (script, notebook)]
    assert pairs[0] == pairs[1]


@pytest.mark.demos
def test_commands_on_embedded_models_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One after the other, so that each finds what an earlier one wrote.

    Of a command on weights from the hub, that it is one: there is no network here.
    """
    monkeypatch.chdir(tmp_path)
    (prompts,) = blocks("README.md", "json")
    (tmp_path / "prompts.jsonl").write_text(prompts)
    (tmp_path / "models").symlink_to(ROOT / "models")
    given = [command for document in DOCUMENTS for command in commands(document)]
    ran = 0
    for command in given:
        if any(word.startswith("meta-llama/") for word in command):
            assert isinstance(cli._parse(command), Svd)
            continue
        assert cli.main(command) == 0, command
        ran += 1
    assert ran >= 15


def test_links_between_documents_lead_somewhere():
    for document in (*DOCUMENTS, "models/README.md"):
        folder = (ROOT / document).parent
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", (ROOT / document).read_text()):
            assert (folder / link).exists(), (document, link)


def test_no_placeholder_is_left():
    assert re.findall(r"@[A-Z_0-9]+@", README) == []
