"""What is shown of words and numbers: nothing acts, no text is computed, of zeros nothing is drawn."""

from __future__ import annotations

import csv
import json
import unicodedata
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_checkpoints import write_checkpoint

import jaxlin
from jaxlin import JaxlinError
from jaxlin.commands.main import main
from jaxlin.commands.show import show
from jaxlin.errors import printable
from jaxlin.results.attribute import Attribution
from jaxlin.results.labels import Labels
from jaxlin.results.output_pictures import along_prompt, reconstruction
from jaxlin.results.page.report import report
from jaxlin.results.pictures import Picture, bars_of_tokens, cell, lines, spectra, spectrum
from jaxlin.results.split import Split
from jaxlin.results.steer import Continuation, SteeringResult
from jaxlin.verbs.shared import Screen

#: What acts on a terminal or on a page: escapes, C0, DEL, C1, reversals of direction, separators, halves.
ACTING = "\x1b[31m\x07\x08\r\x7f\x9b2J\x85\u202e\u2066\u200f\u2028\ufeff\U000e0041"
WORDS = ["=1+1", "@a", "[/bold]", ":smile:", "$x$", "<script>", ACTING, "😀", "مرحبا", " a"]


def acting(text: str, keep: str = "\n") -> set[str]:
    """Characters that act, by their Unicode category."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in keep}


@pytest.fixture
def steered() -> SteeringResult:
    entries = tuple(Continuation(float(i), (1,), f"{word}\nnext") for i, word in enumerate(WORDS))
    return SteeringResult(
        prompt_ids=(1,), prompt=f"go {ACTING}", concept_ids=(1,), concept=f"[/red]{ACTING}", layer=0,
        layers=1, rank=None, as_published=False, temperature=0.0, continuations=entries,
    )  # fmt: skip


@pytest.fixture
def attributed() -> Attribution:
    count = len(WORDS)
    labels = Labels(tuple(range(count)), tuple(WORDS), tuple(range(count)), count - 1)
    shares = np.linspace(-1, 1, count)
    split = Split(
        value=1.0, offset=0.0, tokens=shares, embedding=0.0, branches=np.ones((2, 2)), row=np.ones(2),
        heads=np.ones((2, 1)), branch_tokens=np.ones((2, 2, count)), branch_offsets=np.zeros((2, 2)),
    )  # fmt: skip
    result = Attribution(
        splits=(split,), checks=(), labels=labels, x=np.ones((count, 2)), y=np.ones(2), c=np.zeros(2),
    )  # fmt: skip
    return result.with_notes(target=f'logits:"$[/x]{ACTING}$"', model=f"m{ACTING}$a$")


def test_spelling_leaves_words_alone():
    for text in ("The capital", "é 日本 😀 👩\u200d👩\u200d👧 می\u200cخواهم", "a\\nb", "½ $x$"):
        assert printable(text) == text
    assert printable("a\x1b[0m\nb\u202e\udce9") == r"a\x1b[0m\nb\u202e\udce9"
    assert printable("a\nb\r", keep="\n") == "a\nb\\r"
    assert str(JaxlinError("no \x1b[2J here\n")) == r"no \x1b[2J here\n"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("kind", ["steered", "attributed"])
def test_nothing_acts_on_a_terminal(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], kind: str, as_json: bool
):
    result = request.getfixturevalue(kind)
    show(result, Screen(json=as_json))
    told = capsys.readouterr()
    assert acting(told.out) == set()
    assert told.err == ""
    if as_json:
        assert json.loads(told.out) == json.loads(json.dumps(result.summary()))  # and nothing is lost
    else:
        assert "[/" in told.out  # no markup
        assert ":smile:" in told.out.replace("\n", "") or kind == "attributed"
    assert acting(result._repr_html_()) == set()


def test_a_page_holds_words_exactly_and_nothing_acts_in_it(attributed: Attribution, steered: SteeringResult):
    html = report([attributed, steered])
    assert acting(html, keep="\n\t") == set()
    start = html.index('id="views">') + len('id="views">')
    views = json.loads(html[start : html.index("</script>", start)])
    assert [text for _, text in views[0]["tokens"]] == WORDS


def test_a_csv_has_no_formulas(tmp_path: Path, attributed: Attribution):
    attributed.plot(tmp_path)
    text = (tmp_path / "over_tokens.csv").read_text(encoding="utf-8")
    assert acting(text, keep="\r\n") == set()
    rows = list(csv.DictReader(text.splitlines()))
    assert not [row["text"] for row in rows if row["text"].startswith(("=", "+", "-", "@", "\t"))]
    assert float(rows[0]["contribution"]) == -1.0  # numbers are numbers
    for formula in ("=a", "+1", "-1", "@x", "\ta", "\ra", "\na", "＝a", "'a"):
        assert cell(formula) == f"'{printable(formula)}"
    assert [cell(value) for value in ("a", " a", -1, -1.5)] == ["a", " a", -1, -1.5]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_pictures_take_any_words(tmp_path: Path, attributed: Attribution, ending: str):
    """Dollars are no mathematics, where a wrong one would be an error; letters without a font no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of libraries among each other; users see none
        attributed.plot(tmp_path, (ending,))
        name = r"$\frac{$ $a^$ _x"
        for picture in (
            lines("a", [0, 1], {name: [1, 2], "b": [1, 2]}, f"{name}: stable rank"),
            spectra("b", name, [0], np.ones((1, 2))),
            along_prompt("c", *[np.ones((2, len(WORDS)))] * 2, range(len(WORDS)), WORDS, [1, 0], name),
            bars_of_tokens("d", range(len(WORDS)), WORDS, np.ones(len(WORDS)), name),
        ):
            picture.save(tmp_path, (ending,))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e-45, 1e30, 1e300])
def test_numbers_of_any_size_are_drawn_or_said_not_to_be(tmp_path: Path, value: float):
    numbers = np.full(3, value)
    pictures = [
        spectrum(numbers, numbers, numbers),
        lines("log", [0, 1, 2], {"a": numbers}, "a", log=True),
        lines("plain", [0, 1, 2], {"a": numbers}, "a"),
        along_prompt("along", numbers[None], numbers[None], [0, 1, 2], ["a", "b", "c"], [0], "a"),
        bars_of_tokens("bars", [0, 1, 2], ["a", "b", "c"], numbers, "a"),
        reconstruction({"a": numbers}, numbers),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of libraries among each other; users see none
        for picture in pictures:
            picture.save(tmp_path, ("svg",))
            says = "there is nothing to draw" in "".join(text.get_text() for text in texts(picture))
            assert says is (value == 0 or not np.isfinite(value))


def texts(picture: Picture) -> list[Any]:
    (axes,) = picture.figure().axes[:1]
    return list(axes.texts)


@pytest.fixture(scope="module")
def zero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose weights are all 0, and so is every map of it."""
    from safetensors.numpy import load_file, save_file

    folder = write_checkpoint("llama", tmp_path_factory.mktemp("zero"))
    weights = load_file(folder / "model.safetensors")
    save_file({name: np.zeros_like(tensor) for name, tensor in weights.items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "verb",
    [("svd",), ("tokens",), ("attribute",), ("compare", "--policies", "detached,half"),
     ("layers", "--parts", "cumulative", "--layers", "0")],
)  # fmt: skip
def test_a_map_of_zeros_is_silent_and_nothing_is_drawn_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zero: Path, verb: tuple[str, ...]
):
    out = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # of libraries among each other; users see none
        assert main([*verb, "--model", str(zero), "--token-ids", "1,2,3", "-k", "1", "--out", str(out)]) == 0
        result = jaxlin.read(out)
        for picture in result.pictures():
            assert picture.nothing, picture.name
        assert main(["plot", str(out)]) == 0
        assert main(["report", str(out)]) == 0
    assert capsys.readouterr().err == ""


def test_names_that_break_markup_are_drawn(tmp_path: Path, attributed: Attribution):
    """As a folder of a model with two dollar signs in its name gave an error of matplotlib."""
    folder = tmp_path / "a$b$\\frac{c"
    replace(attributed).save(folder)
    assert main(["plot", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0
