"""What can be run in the documents runs; flags, links and verbs in them are there; their words are plain."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import jaxlin
from jaxlin.commands import main as cli
from jaxlin.verbs.declare import declared_in
from jaxlin.verbs.options import VERBS

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "models/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
#: Documents with something to run, and whether it takes long.
QUICK = ("README.md", "docs/coming-from.md", "docs/formats.md", "docs/networks.md")
LONG = ("docs/analyses.md", "docs/command-line.md", "docs/memory.md", "docs/models.md")
#: Riddles, and words that say less than the field's own.
AVOIDED = (
    r"without ever being built",
    r"until the result does",
    r"lies beside",
    r"so many (tokens|singular|first|largest|times)",
    r"without a thought",
    r"\bbrings?\b",
    r"\b(taken|takes?|taking) (\w+ ){0,4}apart\b",
    r"earned its keep",
    r"in sight\b",
    r"what becomes of",
    r"one likes",
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def commands(block: str) -> list[list[str]]:
    """The ``jaxlin`` lines of a block of shell, comments and continued lines resolved."""
    lines = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    return [line[1:] for line in lines if line and line[0] == "jaxlin"]


def local(word: str) -> str:
    """There is no network here: a checkpoint from the hub stands for one that is embedded."""
    return "demo-llama" if word.startswith("meta-llama/") else word


def run_blocks(document: str, folder: Path) -> dict[str, object]:
    """All of a document in its order, in one folder and one namespace; returns the namespace."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks = _BLOCK.findall(text_of(document))
    for language, block in blocks:
        if language == "json":
            (folder / "prompts.jsonl").write_text(block, encoding="utf-8")
    for language, block in blocks:
        if language == "bash":
            for command in commands(block):
                assert cli.main([local(word) for word in command]) == 0, command
        elif language == "python":
            if "AutoModelForCausalLM" in block:
                pytest.importorskip("torch")
            exec(block, namespace)
    return namespace


def has_something_to_run(document: str) -> bool:
    blocks = _BLOCK.findall(text_of(document))
    return any(language == "python" or (language == "bash" and commands(block)) for language, block in blocks)


def test_every_document_with_something_to_run_is_run():
    assert sorted((*QUICK, *LONG)) == sorted(filter(has_something_to_run, DOCUMENTS))


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    namespace = run_blocks("README.md", tmp_path)
    assert namespace["result"].certificate.holds  # type: ignore[attr-defined]
    assert namespace["triplets"].certificate.converged == 4  # type: ignore[attr-defined]
    assert (tmp_path / "results" / "both.html").exists()


@pytest.mark.parametrize("document", QUICK[1:])
def test_short_documents_run(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(document, tmp_path)


@pytest.mark.demos
@pytest.mark.parametrize("document", LONG)
def test_long_documents_run(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(document, tmp_path)


@pytest.mark.demos
def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]):
    exec(text_of("docs/tutorial.py"), {})
    assert "[' Paris', ' French'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path", ["docs/tutorial", "examples/umap/glass_box_umap", "examples/genotype/genotype_to_phenotype"]
)
def test_a_notebook_is_its_script_with_outputs(path: str):
    jupytext = pytest.importorskip("jupytext")
    script, notebook = (jupytext.read(ROOT / f"{path}.{end}") for end in ("py", "ipynb"))
    pairs = [[(cell.cell_type, cell.source) for cell in document.cells] for document in (script, notebook)]
    assert pairs[0] == pairs[1]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert outputs
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_every_flag_is_in_the_command_line_page_and_no_other():
    section = text_of("docs/command-line.md").partition("\n## Flags\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    shown = [flag for row in rows for flag in re.findall(r"`(--?[a-z][a-z-]*)`", row)]
    declared = {
        option.flag
        for verb in VERBS.values()
        for options in (*verb.beside, verb)
        for option in declared_in(options)
        if not option.option.positional
    }
    assert sorted(shown) == sorted(declared)


def test_every_verb_is_in_the_command_line_page():
    section = text_of("docs/command-line.md").partition("## Exit codes")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(VERBS)


def test_the_readme_fits_on_a_page():
    assert len(text_of("README.md").splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str):
    folder = (ROOT / document).parent
    for link, heading in re.findall(r"\]\((?!\w+:)([^)#\s]*)(#[^)\s]+)?\)", text_of(document)):
        target = folder / link if link else ROOT / document
        assert target.is_file(), (document, link)
        if heading:
            assert heading[1:] in headings(target), (document, link, heading)


def headings(path: Path) -> list[str]:
    """The anchors of a document's headings, as git hosts and mkdocs both write them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles]


def helps(capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[str, str]]:
    for verb in VERBS:
        with suppress(SystemExit):
            assert cli.main([verb, "--help"]) == 0
        yield f"jaxlin {verb} --help", capsys.readouterr().out


def docstrings() -> Iterator[tuple[str, str]]:
    for name in dir(jaxlin):
        public = getattr(jaxlin, name)
        if inspect.getdoc(public) and not name.startswith("_"):
            yield name, inspect.getdoc(public) or ""
        if inspect.isclass(public):
            for member, value in inspect.getmembers(public):
                if not member.startswith("_"):
                    yield f"{name}.{member}", inspect.getdoc(value) or ""


def test_words_are_plain(capsys: pytest.CaptureFixture[str]):
    texts = [*((document, text_of(document)) for document in DOCUMENTS), *helps(capsys), *docstrings()]
    assert len(texts) > len(DOCUMENTS) + len(VERBS)
    riddles = [
        (where, found[0])
        for where, text in texts
        for phrase in AVOIDED
        if (found := re.search(phrase, " ".join(text.split())))
    ]
    assert not riddles


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_placeholder_is_left(document: str):
    assert re.findall(r"@[A-Z_0-9]+@|\bTODO\b", text_of(document)) == []
