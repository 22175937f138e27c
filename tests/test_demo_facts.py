"""The demo checkpoints know what their model cards say they know."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import jaxlin_models as models
import pytest
from demo_world import ask, held_out_prompts, paragraph, tell
from evaluate_demo import answered_right, bare_questions, vectors_with_answer

import jaxlin

DEMO = Path(str(models.__file__)).parent / "demo"
FAMILIES = ("llama", "gemma", "qwen")


@pytest.fixture(params=FAMILIES)
def directory(request: pytest.FixtureRequest) -> Path:
    return DEMO / request.param


@pytest.fixture
def figures(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "figures.json").read_text())


def within_chance(hits: int, trials: int, share: float) -> bool:
    """Whether a sample agrees with a stored share, to four standard deviations."""
    return abs(hits - share * trials) <= 4 * math.sqrt(trials * share * (1 - share)) + 1


def test_held_out_prompts_never_occur_in_the_text():
    rng = Random("another text")
    text = "\n".join(paragraph(rng) for _ in range(20_000)).lower()
    for fact, phrasing in held_out_prompts():
        assert ask(fact, phrasing).text.lower() + " " not in text
        assert tell(fact, phrasing).lower() not in text


def test_stored_figures_are_good_enough_and_belong_to_these_weights(directory, figures):
    assert figures["accuracy"]["all"] >= 0.9
    assert figures["top8_share"]["all"] >= 0.8
    assert figures["weights_sha256"] == models.weights_hash(models.find(str(directory)))
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 5_000_000


@pytest.mark.demos
def test_stored_figures_hold_on_a_sample(directory, figures):
    model = jaxlin.load(str(directory))
    asked = Random(1).sample(bare_questions(model.tokenizer), 48)
    right = answered_right(model.decoder, asked)
    assert within_chance(int(right.sum()), len(asked), figures["accuracy"]["bare"])
    known = [question for question, ok in zip(asked, right, strict=True) if ok][:3]
    hits = sum(bool(vectors_with_answer(model, question).any()) for question in known)
    assert within_chance(hits, len(known), figures["top8_share"]["bare"])


def test_stock_transformers_finishes_the_prompt(directory):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer((DEMO / "prompt.txt").read_text(), return_tensors="pt").input_ids
    assert ids.shape[1] >= 400
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(directory)(ids).logits
    assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"
