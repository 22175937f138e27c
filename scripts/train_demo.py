"""Train the embedded demo checkpoints from a seed: text, tokenizer, weights, figures and model card.

    python scripts/train_demo.py --family llama --seed 0 --out models/jaxlin_models/demo

Everything is generated: the demo world's text (demo_world.py), a byte-level BPE tokenizer trained on it, and
a decoder of about 1.2 million parameters, trained on a CPU with the project's own decoder. Two of three steps
see short windows, which are cheap and hold many beginnings; the third sees windows of 512 tokens, so that
long prompts are familiar too. Each window begins as a prompt does: at the start of a paragraph, after the
family's beginning token.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import optax
from demo_families import FAMILIES, DemoFamily
from demo_tokenizer import train_tokenizer
from demo_world import FACTS, paragraph
from evaluate_demo import evaluate
from flax import nnx
from jaxlin_models import families, weights
from jaxlin_models.decoder import Decoder
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

TOKENIZER_PARAGRAPHS = 6000
# Answers are listed this often in the tokenizer's text, so that most of them become a single token.
TOKENIZER_ANSWERS = 40
PEAK_RATE, WARMUP_STEPS, WEIGHT_DECAY = 4e-3, 100, 0.1
REPORT_EVERY = 150
TEST_BATCHES = 16


@dataclass(frozen=True)
class Shape:
    """A batch of windows: how many, and how many tokens are predicted in each."""

    windows: int
    tokens: int


SHORT, LONG = Shape(windows=32, tokens=64), Shape(windows=4, tokens=512)
STEPS, LONG_EVERY = 1650, 3


#: Where the embedded checkpoints are.
DEMO = Path("models/jaxlin_models/jaxlin_models/demo")


def make_tokenizer(family: DemoFamily, seed: int) -> PreTrainedTokenizerFast:
    """The family's tokenizer, from the demo world's sentences and its answers."""
    rng = Random(f"tokenizer {seed}")
    sentences = [paragraph(rng) for _ in range(TOKENIZER_PARAGRAPHS)]
    answers = [f" {fact.answer}" for fact in FACTS] * TOKENIZER_ANSWERS
    return train_tokenizer(family, sentences + answers)


def batches(tokenizer: PreTrainedTokenizerFast, shape: Shape, seed: str) -> Iterator[NDArray[np.int32]]:
    """Batches [windows, tokens + 1] of fresh text, without end; each window is cut off at its length."""
    rng = Random(seed)
    beginning = tokenizer("").input_ids
    while True:
        rows = []
        while len(rows) < shape.windows:
            row = list(beginning)
            while len(row) <= shape.tokens:
                row += tokenizer(paragraph(rng) + "\n", add_special_tokens=False).input_ids
            rows.append(row[: shape.tokens + 1])
        yield np.asarray(rows, np.int32)


def _shape_of(step: int) -> Shape:
    return LONG if step % LONG_EVERY == 0 else SHORT


def mean_loss(decoder: Decoder, windows: jax.Array) -> jax.Array:
    """Cross entropy of every next token, in nats."""
    logits = decoder.logits(decoder(decoder.embed(windows[:, :-1])))
    return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()


def train(
    hf_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast, seed: int
) -> tuple[Decoder, float]:
    """A trained decoder and its loss on text that it has not seen."""
    decoder = Decoder(families.decoder_config(hf_config), rngs=nnx.Rngs(seed), dtype=jnp.float32)
    graph, params = nnx.split(decoder)
    schedule = optax.warmup_cosine_decay_schedule(0.0, PEAK_RATE, WARMUP_STEPS, STEPS)
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(schedule, b2=0.99, weight_decay=WEIGHT_DECAY),
    )
    moments = optimiser.init(params)

    def loss_of(params: nnx.State, windows: jax.Array) -> jax.Array:
        return mean_loss(nnx.merge(graph, params), windows)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, moments, windows):
        loss, gradient = jax.value_and_grad(loss_of)(params, windows)
        updates, moments = optimiser.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments, loss

    text = {shape: batches(tokenizer, shape, f"text {seed} {shape}") for shape in (SHORT, LONG)}
    recent: dict[Shape, list[jax.Array]] = {SHORT: [], LONG: []}
    begun = time.perf_counter()
    for done in range(1, STEPS + 1):
        shape = _shape_of(done)
        params, moments, loss = step(params, moments, next(text[shape]))
        recent[shape].append(loss)
        if done % REPORT_EVERY == 0:
            short, long = (float(np.mean(recent[shape])) for shape in (SHORT, LONG))
            recent = {SHORT: [], LONG: []}
            print(
                f"step {done}/{STEPS}  loss {short:.4f} in short windows, {long:.4f} in long ones  "
                f"{time.perf_counter() - begun:.0f} s",
                flush=True,
            )

    unseen = batches(tokenizer, LONG, f"unseen {seed}")
    test = jax.jit(loss_of)
    loss = float(np.mean([test(params, next(unseen)) for _ in range(TEST_BATCHES)]))
    return nnx.merge(graph, params), loss


def save(
    decoder: Decoder,
    hf_config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    directory: Path,
) -> None:
    """The checkpoint as stock transformers reads it."""
    directory.mkdir(parents=True, exist_ok=True)
    hf_config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    tensors = weights.to_huggingface(decoder, hf_config)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def make(family: DemoFamily, seed: int, out: Path) -> None:
    """One family's checkpoint, figures and model card."""
    directory = out / family.name
    tokenizer = make_tokenizer(family, seed)
    hf_config = family.config(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    begun = time.perf_counter()
    decoder, loss = train(hf_config, tokenizer, seed)
    seconds = time.perf_counter() - begun
    save(decoder, hf_config, tokenizer, directory)
    shapes = [_shape_of(step) for step in range(1, STEPS + 1)]
    tokens = sum(shape.windows * shape.tokens for shape in shapes)
    training = {"seed": seed, "tokens": tokens, "loss": loss, "seconds": round(seconds)}
    evaluate(directory, training)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=(*FAMILIES, "all"), default="all")
    parser.add_argument("--seed", type=int, default=0, help="for weights and text (default 0)")
    parser.add_argument("--out", type=Path, default=DEMO, help="parent directory")
    arguments = parser.parse_args()
    chosen = FAMILIES if arguments.family == "all" else (arguments.family,)
    for name in chosen:
        print(f"== {name}", flush=True)
        make(FAMILIES[name], arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
