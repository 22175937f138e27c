"""The options of every verb, as typed dataclasses from which the command line is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Svd:
    """Top-k singular vectors of a prompt's detached Jacobian, certified, on screen and on disk.

    Example: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
    """

    model: str
    """directory, hub id org/name@revision, or demo-llama, demo-gemma, demo-qwen"""
    out: Path
    """folder for result.safetensors and result.json; exists whole or not at all"""
    prompt: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """the prompt, tokenised with the model's own special tokens"""
    prompt_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """a UTF-8 file with the prompt"""
    token_ids: Annotated[str | None, tyro.conf.arg(metavar="1,2,3")] = None
    """comma-separated token ids, used as they are; needs no tokenizer"""
    k: Annotated[int, tyro.conf.arg(aliases=("-k",), metavar="INT")] = 16
    """how many singular triplets"""
    method: str = "auto"
    """auto, dense (builds the matrix) or matfree (Golub-Kahan bidiagonalisation)"""
    policy: str = "detached"
    """detached (norms, attention probabilities and gates frozen) or none (ordinary Jacobian)"""
    dtype: str = "float32"
    """float32, float64 or bfloat16, for weights and passes alike"""
    seed: int = 0
    """seed of the start vector and of the adjoint test"""
    save_jacobian: bool = False
    """also store the matrix itself, [d, T, d]; small prompts only"""
    overwrite: bool = False
    """replace the result that --out already holds"""
