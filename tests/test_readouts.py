"""What a reader sees of directions: both sides, sinks, near tokens, the order, and the prediction first."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from readers import PlainReader, labels_of
from rich.console import Console
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin.results.base import Result
from jaxlin.results.contributions import Part, contributions_of
from jaxlin.results.directions import Direction, InputPosition
from jaxlin.results.labels import TokenScore
from jaxlin.results.page.report import report
from jaxlin.results.prediction import PredictedToken, Prediction
from jaxlin.results.sinks import spell_sink_of_map, spell_sinks
from jaxlin.results.spelling import ending, percent
from jaxlin.results.svd import SVDResult

SAVED = Path(__file__).parent / "saved_results"
PARIS = Prediction(
    (PredictedToken(3, " Paris", 0.92, 9.0, 27.2), PredictedToken(4, " Rome", 0.05, 6.0, 24.0))
)


def printed(result: Result, width: int = 200) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(result.table())
    return capture.get()


@pytest.fixture
def result() -> SVDResult:
    """Three directions of which the last contributes most; [0] lies at position 0."""
    matrix = jnp.zeros((3, 4, 3)).at[0, 0, 0].set(3.0).at[1, 1, 1].set(2.0).at[2, 2, 2].set(1.0)
    x = jnp.ones((4, 3)).at[0].set(0.1).at[2].set(9.0)
    operator = jaxlin.linearize(lambda x: jnp.einsum("mtd,td->m", matrix, x), x, offset=jnp.zeros(3))
    labels = replace(
        labels_of([7, 8, 9, 5], PlainReader()),
        predicted=lambda: PARIS,
        scoring=lambda: np.eye(3)[[2, 1]],
    )
    return jaxlin.svd(replace(operator, labels=labels), 3)


def test_the_prediction_comes_first_everywhere(result: SVDResult, tmp_path: Path):
    assert repr(result).startswith("SVDResult(predicts ▁Paris 92 %, ")
    lines = printed(result).splitlines()
    assert "certificate: holds" in lines[0]
    assert re.search(r"predicts +▁Paris 92 %  ▁Rome 5 %", lines[1])
    assert list(result.summary())[:2] == ["verb", "prediction"]
    result.save(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "result.json").read_text())
    assert summary["prediction"]["tokens"][0] == {
        "id": 3, "text": " Paris", "probability": 0.92, "logit": 9.0, "centred": 27.2,
    }  # fmt: skip
    html = report(jaxlin.read(tmp_path / "out"))
    assert html.index("▁Paris") < html.index("certificate holds")


def test_directions_are_shown_in_either_order(result: SVDResult):
    assert result.order == (0, 1, 2)
    by_contribution = result.with_notes(order="contribution")
    assert by_contribution.order == (2, 0, 1)
    assert [row["direction"] for row in by_contribution.rows()] == [3, 1, 2]
    numbers = re.findall(r"^│ +(\d) +│", printed(by_contribution), re.MULTILINE)
    assert numbers == ["3", "1", "2"]
    assert by_contribution.view("x")["shades"][0]["name"] == "direction 3"
    np.testing.assert_array_equal(by_contribution.s, result.s)


def test_the_table_ends_with_what_all_make_together(result: SVDResult):
    text = printed(
        replace(result, U=result.U[:2], s=result.s[:2], V=result.V[:2], residuals=result.residuals[:2])
    )
    assert re.search(r"\+0\.00 │ +\+2\.00 │ these 2 together .*\n.* of \+9\.00 │ +of \+2\.00 │", text)
    assert "all other directions: " in text
    assert "+9.00 to ▁Paris" in text.replace("\n", " ")


def test_a_split_is_of_what_it_is_made_of():
    v = np.eye(2)[:, :, None]
    split = contributions_of(
        v, np.array([[2.0], [3.0]]), np.eye(2), np.array([2.5, 3.0]), np.array([0.5, 0.0])
    )
    assert split.along == (2.0, 3.0)
    assert split.directions[0].logits == ()
    assert split.rest.output == pytest.approx(0)
    assert split.order == (1, 0)
    assert Part.sum_of([Part(0.5, (1.0, 2.0)), Part(0.25, (3.0, 4.0))]) == Part(0.75, (4.0, 6.0))


@pytest.mark.parametrize(
    ("outputs", "against", "said"),
    [
        ((-0.1, -0.2), (0.5, 0.4), "no token stands out: all scores are below 0"),
        ((0.3, 0.2), (-0.1, -0.2), "no token stands out: all scores are above 0"),
        ((0.31, 0.2), (0.25, 0.1), "+ ▁a·0.31  ▁b·0.2"),
    ],
)
def test_both_sides_of_a_direction(
    result: SVDResult, outputs: tuple[float, float], against: tuple[float, float], said: str
):
    def tokens(scores: tuple[float, float], words: str) -> tuple[TokenScore, ...]:
        pairs = zip(words, scores, strict=True)
        return tuple(TokenScore(i, f" {word}", score) for i, (word, score) in enumerate(pairs))

    direction = Direction(tokens(outputs, "ab"), (), tokens(against, "cd"))
    assert direction.one_sided == ("no token" in said)
    text = printed(replace(result, decoded=(direction,) * 3))
    assert said in text
    assert ("− ▁c·0.25  ▁d·0.1" in text) == (not direction.one_sided)


def test_near_tokens_are_named_where_they_are_near_and_keep_their_blank():
    tokens = TokenScore(1, " Gate", 0.45), TokenScore(2, "x", 0.29)
    place = InputPosition(3, 7, " Golden", 0.5, 1.25, tokens)
    assert str(place) == "3 ▁Golden 0.50 (+1.25) → ▁Gate·0.45"
    assert "→" not in str(replace(place, nearest=tokens[1:]))


def test_sinks_are_named(result: SVDResult):
    text = " ".join(printed(result).split())
    assert "attention sink: position 0 (<7>) holds 100 % of the squared length of the right vector of" in text
    assert "direction 1; skip_first 1 leaves it out" in text
    weights = np.sqrt(np.array([[0.49, 0.51], [0.6, 0.4], [0.9, 0.1]]))
    labels = labels_of([1, 2], None)
    said = spell_sinks(weights, labels, ["1", "2", "3"])
    assert "holds 60 % to 90 % of the squared length of the right vector of directions 2, 3" in said
    assert spell_sinks(weights[:1], labels, ["1"]) == ""
    assert spell_sinks(weights, replace(labels, positions=(3, 4)), ["1", "2", "3"]) == ""
    assert spell_sinks(weights, None, ["1", "2", "3"]) == ""
    assert spell_sink_of_map(np.array([2.0, 1.0]), labels, "J")[0].startswith(
        "attention sink: position 0 (<1>) holds 80 % of ‖J‖²_F"
    )
    assert result.summary()["triplets"][0]["first_position"] == pytest.approx(1)


def test_what_older_results_do_not_say_is_left_out():
    old = jaxlin.read(SAVED / "svd")
    assert isinstance(old, SVDResult)
    assert old.prediction is None
    assert old.split is None
    assert old.metric == "hidden"
    text = printed(old)
    assert "predicts" not in text
    assert "together" not in text
    assert old.view("x")["predictions"] == []


def test_pictures_say_what_they_are_of(tiny_model: Callable[..., Any], tmp_path: Path):
    model = tiny_model("gemma3-text", "float64")
    ids = prompt_ids("gemma3-text", 60)
    result = model.svd(ids, k=2, metric="fisher")
    assert "policy detached · metric fisher · “…" in result.caption()
    pictures = {picture.name: picture for picture in result.pictures()}
    assert set(pictures) == {"spectrum", "rank", "directions"}
    shares = np.stack([pictures["directions"].numbers[f"direction_{i}"] for i in (1, 2)])
    logits = [part.logits[0] for part in result.split.directions]
    np.testing.assert_allclose(shares.sum(1), logits, atol=1e-9)
    for figure in result.plot():
        (title,) = [text for text in figure.texts if "metric fisher" in text.get_text()]
        assert title.get_text().startswith(Path(model.name).name)
    rank = pictures["rank"].figure().axes[0]
    assert "reconstruct" not in rank.get_title() + rank.get_ylabel()
    assert [ending("a  long\nline", length) for length in (6, 11)] == ["…line", "a long line"]
    assert [percent(part) for part in (0.5, 0.9996, -0.012)] == ["50 %", "100 %", "-1.2 %"]
