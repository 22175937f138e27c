"""The options of every verb, as typed dataclasses from which the command line is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """What every verb that works on a prompt is told."""

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
    span: Annotated[str | None, tyro.conf.arg(metavar="16:")] = None
    """input positions: ranges and numbers like 16: or 0,3,8:12, from the end if negative; all by default"""
    skip_first: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """leave out so many first positions (attention sinks), short for --span INT:"""
    position: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """output position, from 0, or from the end if negative; the last by default"""
    policy: str = "detached"
    """detached (norms, attention probabilities and gates frozen) or none (ordinary Jacobian)"""
    dtype: str = "float32"
    """float32, float64 or bfloat16: how weights and coefficients are stored"""
    precision: str | None = None
    """float32, tf32, bf16x3, bfloat16 or float64: how products are computed; the dtype's own by default"""
    attention: str | None = None
    """probabilities or queries_keys: what is kept of attention; by prompt length and memory if not given"""
    gate: str | None = None
    """stored or recomputed: what becomes of the gates; by memory if not given"""
    memory: Annotated[str | None, tyro.conf.arg(metavar="40GB")] = None
    """the most that may be planned for, like 40GB or 40GiB; what is free by default"""
    seed: int = 0
    """seed of every random vector"""
    overwrite: bool = False
    """replace the result that --out already holds"""


@dataclass(frozen=True, kw_only=True)
class Svd(Prompted):
    """Top-k singular vectors of a prompt's detached Jacobian, certified, on screen and on disk.

    Example: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
    """

    k: Annotated[int | None, tyro.conf.arg(aliases=("-k",), metavar="INT")] = None
    """how many singular triplets; 16, or all where there are fewer"""
    target: Annotated[str | None, tyro.conf.arg(metavar="TARGET")] = None
    """logits:" Paris" or logits:" Paris"-" Rome": one row instead of the hidden state, exactly attributed"""
    method: str = "auto"
    """auto, dense (builds the matrix), gram (streams it), lanczos (never sees it), matfree or power"""
    tol: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """residual asked of every triplet, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""
    block: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """probes at once in lanczos; by prompt length if not given"""
    max_passes: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """passes after which an iterative method gives up, flags its result and exits with 3"""
    verify_seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """solve once more from this seed and compare"""
    save_jacobian: bool = False
    """also store the matrix itself, [d, T, d]; small prompts only"""
    resume: bool = False
    """go on from the state that a run of the same command left beside --out when it was cut off"""
    save_every: Annotated[int, tyro.conf.arg(metavar="STEPS")] = 1
    """steps of an iterative method between two saves of its state; 0 for none"""


@dataclass(frozen=True, kw_only=True)
class Tokens(Prompted):
    """The SVD of every token's own Jacobian J_t, all tokens at once, on screen and on disk.

    Example: jaxlin tokens --model demo-llama --prompt "The capital of France is" -k 2 --out results/tokens
    """

    k: Annotated[int, tyro.conf.arg(aliases=("-k",), metavar="INT")] = 1
    """how many singular triplets of each token"""
    method: str = "exact"
    """exact (d passes) or shared (a common left basis, grown until every token keeps the tolerance)"""
    tol: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """error allowed in every σ, as a multiple of its token's σ₁; 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True)
class Plan:
    """What a job would cost, from config.json and a prompt length alone: no weight is read.

    Method, setting of the memory dial, passes, peak memory and arithmetic. Memory is what the programs need
    that this machine's backend compiles, so on a CPU it is a CPU's. What does not fit is an answer too: the
    exit code is 0 all the same.

    Example: jaxlin plan --model gemma-3-4b llama-3.1-8b --tokens 400 4096 32768 --memory 40GB
    """

    model: tuple[str, ...]
    """config names like gemma-3-4b, directories, hub ids org/name@revision, demos; one or more"""
    tokens: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT")] = (400,)
    """lengths of the prompt, one or more"""
    memory: Annotated[str | None, tyro.conf.arg(metavar="40GB")] = None
    """bytes that may be used, like 40GB or 40GiB; what is free here by default"""
    k: Annotated[int | None, tyro.conf.arg(aliases=("-k",), metavar="INT")] = None
    """how many singular triplets; 16, or all where there are fewer"""
    method: str = "auto"
    """auto, dense, gram, lanczos or matfree"""
    dtype: str | None = None
    """float32, float64 or bfloat16; by default float32, and bfloat16 where that does not fit"""
    precision: str | None = None
    """float32, tf32, bf16x3, bfloat16 or float64: how products are computed; the dtype's own by default"""
    attention: str | None = None
    """probabilities or queries_keys; the fastest that fits if not given"""
    gate: str | None = None
    """stored or recomputed; the fastest that fits if not given"""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """write the figures there as well, in bytes and operations"""
