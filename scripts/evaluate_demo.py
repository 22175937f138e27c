"""Measure a demo checkpoint: held-out facts, and what its left singular vectors decode to.

    python scripts/evaluate_demo.py models/jaxlin_models/demo/llama

Two figures are published. *Accuracy*: the share of held-out prompts whose whole answer greedy decoding
gives, asked bare and at the end of a passage. *Top-8 share*: of the prompts answered right, the share for
which the answer's first token is among the eight tokens that one of the first three left singular vectors
of the detached Jacobian decodes to; measured on a random sample of them. Both go into figures.json and the
model card beside the weights.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from demo_card import model_card
from demo_world import HELD_OUT, Prompt, ask, held_out_prompts, prompt_in_passage
from flax import nnx
from jaxlin_models import Decoder, weights_hash
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

import jaxlin
from jaxlin.prompts.model import Model

PASSAGE_TOKENS = (64, 448)
SINGULAR_VECTORS, DECODED_TOKENS = 3, 8
# Prompts answered right whose Jacobian is decomposed, in each setting.
SAMPLE = {"bare": 200, "in_passage": 40}
PACKAGES = ("jax", "flax", "optax", "tokenizers", "transformers")
# Rows in a batch, and the multiple that their length is padded to: few shapes, few compilations.
ROWS, MULTIPLE = 64, 32


@dataclass(frozen=True)
class Question:
    """A prompt in token ids, and the ids of its answer."""

    prompt: Prompt
    ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


def bare_questions(tokenizer: PreTrainedTokenizerBase) -> list[Question]:
    """Every held-out (fact, phrasing) pair as a prompt of its own."""
    return [question_of(tokenizer, ask(fact, phrasing)) for fact, phrasing in held_out_prompts()]


def questions_in_passage(tokenizer: PreTrainedTokenizerBase) -> list[Question]:
    """One held-out prompt of every fact, after a passage that does not mention the fact's subject."""
    questions = []
    for fact, phrasings in HELD_OUT.items():
        rng = Random(f"passage {fact.relation} {fact.subject}")
        wanted = rng.randint(*PASSAGE_TOKENS)
        prompt = prompt_in_passage(
            rng, fact, phrasings[0], lambda text, n=wanted: len(tokenizer(text).input_ids) >= n
        )
        questions.append(question_of(tokenizer, prompt))
    return questions


def question_of(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Question:
    """The prompt and its answer in token ids."""
    ids = tokenizer(prompt.text).input_ids
    answer_ids = tokenizer(" " + prompt.answer, add_special_tokens=False).input_ids
    return Question(prompt, tuple(ids), tuple(answer_ids))


def answered_right(decoder: Decoder, questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Whether greedy decoding gives each whole answer.

    One forward pass tells: greedy decoding writes the answer exactly if, after the prompt and after every
    beginning of the answer, the answer's next token is the likeliest. Rows are padded on the right, which a
    causal model does not see.
    """
    rows = [(*q.ids, *q.answer_ids) for q in questions]
    right = np.zeros(len(rows), bool)
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(rows), ROWS):
        batch = by_length[start : start + ROWS]
        width = -(-len(rows[batch[-1]]) // MULTIPLE) * MULTIPLE
        ids = np.zeros((ROWS, width), np.int32)
        for k, i in enumerate(batch):
            ids[k, : len(rows[i])] = rows[i]
        likeliest = np.asarray(_likeliest(decoder, ids))
        for k, i in enumerate(batch):
            written = likeliest[k, len(questions[i].ids) - 1 : len(rows[i]) - 1]
            right[i] = tuple(written) == questions[i].answer_ids
    return right


@nnx.jit
def _likeliest(decoder: Decoder, ids: jax.Array) -> jax.Array:
    return jnp.argmax(decoder.logits(decoder(decoder.embed(ids))), axis=-1)


def vectors_with_answer(model: Model, question: Question) -> NDArray[np.bool_]:
    """For each of the first left singular vectors, whether the answer's first token is among its top ones."""
    result = jaxlin.svd(model.jacobian(question.ids), k=SINGULAR_VECTORS)
    _, top = jax.lax.top_k(model.logits(result.U), DECODED_TOKENS)
    return np.asarray((top == question.answer_ids[0]).any(axis=-1))


def measure(model: Model) -> dict[str, Any]:
    """Both figures of a checkpoint."""
    questions = {
        "bare": bare_questions(model.tokenizer),
        "in_passage": questions_in_passage(model.tokenizer),
    }
    right, found = {}, {}
    for setting, asked in questions.items():
        right[setting] = answered_right(model.decoder, asked)
        print(f"{setting}: {right[setting].mean():.4f} of {len(asked)} answered right", flush=True)
        known = [q for q, ok in zip(asked, right[setting], strict=True) if ok]
        sample = Random(f"sample {setting}").sample(known, min(SAMPLE[setting], len(known)))
        found[setting] = np.array([vectors_with_answer(model, question) for question in sample])
        print(
            f"{setting}: answer decoded from a left vector in {found[setting].any(1).mean():.4f} "
            f"of {len(sample)}",
            flush=True,
        )
    by_relation = defaultdict(list)
    for setting, asked in questions.items():
        for question, ok in zip(asked, right[setting], strict=True):
            by_relation[question.prompt.relation].append(ok)
    every_vector = np.concatenate(list(found.values()))
    return {
        "accuracy": {
            "all": _share(np.concatenate(list(right.values()))),
            **{setting: _share(ok) for setting, ok in right.items()},
            "by_relation": {relation: _share(ok) for relation, ok in by_relation.items()},
        },
        "prompts": {setting: len(asked) for setting, asked in questions.items()},
        "top8_share": {
            "all": _share(every_vector.any(1)),
            **{setting: _share(vectors.any(1)) for setting, vectors in found.items()},
            "by_vector": [_share(vector) for vector in every_vector.T],
        },
        "sample": {setting: len(vectors) for setting, vectors in found.items()},
    }


def _share(true: Sequence[bool] | NDArray[np.bool_]) -> float:
    return round(float(np.mean(true)), 4)


def evaluate(directory: Path, training: Mapping[str, Any]) -> None:
    """Measure the checkpoint in ``directory`` and write figures.json and README.md there.

    Args:
        directory: the checkpoint.
        training: what is known of its training: seed, tokens, loss, seconds.
    """
    model = jaxlin.load(str(directory))
    figures = {
        "family": directory.name,
        "training": dict(training),
        **measure(model),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model.decoder))),
        "weights_sha256": weights_hash(model.checkpoint),
        "packages": {package: version(package) for package in PACKAGES},
    }
    (directory / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (directory / "README.md").write_text(model_card(figures, model.checkpoint.hf_config))


def main() -> None:
    """Measure anew; what is known of the training is kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, nargs="+", help="e.g. models/jaxlin_models/demo/llama")
    for directory in parser.parse_args().directory:
        training = json.loads((directory / "figures.json").read_text())["training"]
        evaluate(directory, training)


if __name__ == "__main__":
    main()
