"""The command line: one verb a job. This file and ``jaxlin.load`` put models and engine together.

Exit codes: 0 done, 2 a request that cannot be met (one sentence says why), 3 finished but not every
triplet met its tolerance (results are saved and flagged), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxlin.errors import JaxlinError


@dataclass(frozen=True)
class Svd:
    """Top-k singular vectors of a prompt's detached Jacobian, certified, on screen and on disk.

    Example: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
    """

    model: str
    """directory, hub id org/name@revision, or demo-llama, demo-gemma, demo-qwen"""
    out: Path
    """folder for result.safetensors and result.json; exists whole or not at all"""
    prompt: str | None = None
    """the prompt, tokenised with the model's own special tokens"""
    prompt_file: Path | None = None
    """a UTF-8 file with the prompt"""
    token_ids: str | None = None
    """comma-separated token ids, used as they are; needs no tokenizer"""
    k: Annotated[int, tyro.conf.arg(aliases=("-k",))] = 16
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    config = _parse(arguments)
    # Set before transformers is imported: its advice about missing torch is not for our users.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        from jaxlin.load import import_models

        models = import_models()
    except JaxlinError as error:
        return _refuse(error)
    from jaxlin.commands.svd import run

    try:
        return run(config)
    except (JaxlinError, models.ModelError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130


def _parse(arguments: Sequence[str] | None) -> Svd:
    app = tyro.extras.SubcommandApp()
    app.command(name="svd")(Svd)
    return app.cli(
        prog="jaxlin",
        description="The exact linear map of a transformer at one prompt, and its singular vectors.",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _refuse(error: Exception) -> int:
    print(f"jaxlin: {error}", file=sys.stderr)
    return 2
