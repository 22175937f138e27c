"""The options of every verb, as typed dataclasses from which the command line is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What every verb that runs a model on a prompt is told."""

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
    policy: str = "detached"
    """detached (norms, attention probabilities and gates frozen), detached-gate or half (another factor of
    gated products frozen), or none (ordinary Jacobian)"""
    dtype: str = "float32"
    """float32, float64 or bfloat16: how weights and coefficients are stored"""
    precision: str | None = None
    """float32, tf32, bf16x3, bfloat16 or float64: how products are computed; the dtype's own by default"""
    seed: int = 0
    """seed of every random vector"""
    overwrite: bool = False
    """replace the result that --out already holds"""


@dataclass(frozen=True, kw_only=True)
class Prompted(Asked):
    """What every verb that takes a prompt's map apart is told."""

    span: Annotated[str | None, tyro.conf.arg(metavar="16:")] = None
    """input positions: ranges and numbers like 16: or 0,3,8:12, from the end if negative; all by default"""
    skip_first: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """leave out so many first positions (attention sinks), short for --span INT:"""
    position: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """output position, from 0, or from the end if negative; the last by default"""
    attention: str | None = None
    """probabilities or queries_keys: what is kept of attention; by prompt length and memory if not given"""
    gate: str | None = None
    """stored or recomputed: what becomes of the gates; by memory if not given"""
    memory: Annotated[str | None, tyro.conf.arg(metavar="40GB")] = None
    """the most that may be planned for, like 40GB or 40GiB; what is free by default"""


@dataclass(frozen=True, kw_only=True)
class Svd(Prompted):
    """Top-k singular vectors of a prompt's detached Jacobian, certified, on screen and on disk.

    Example: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
    """

    prompts: Annotated[Path | None, tyro.conf.arg(metavar="JSONL")] = None
    """many prompts instead, one JSON object a line: {"prompt": "…"} or {"token_ids": […]}, with an "id" if
    you like; a folder for each under --out, and index.jsonl. Started again, it goes on"""
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
    norms: Annotated[int, tyro.conf.arg(metavar="COUNT")] = 0
    """also all row and column norms of J, and so many largest rows and columns decoded; d more passes"""
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


@dataclass(frozen=True, kw_only=True)
class Layers(Prompted):
    """Every layer and module of one prompt taken apart: spectra, effective dimensions, decoded directions.

    Coefficients are recorded once; each part is a linear map to the last position. Passes are those of a
    part, which are cheaper than those of the whole network.

    Example: jaxlin layers --model demo-llama --prompt "The capital of France is" -k 4 --out results/layers
    """

    k: Annotated[int, tyro.conf.arg(aliases=("-k",), metavar="INT")] = 8
    """how many singular triplets of each part"""
    parts: Annotated[str, tyro.conf.arg(metavar="NAMES")] = "cumulative,block,rest,attention,mlp"
    """cumulative (embeddings → after the layer), block (the layer alone), rest (before it → the end),
    attention and mlp, with commas between"""
    layers: Annotated[str | None, tyro.conf.arg(metavar="0,8:12")] = None
    """numbers of layers and ranges, from the end if negative; all by default"""
    raw: bool = False
    """leave intermediate outputs as they are in the residual stream; the final norm is applied by default"""
    method: str = "auto"
    """auto, dense, gram, lanczos, matfree or power"""
    tol: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """residual asked of every triplet, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True, kw_only=True)
class Attribute(Prompted):
    """The exact split of a logit, or of the difference of two, over tokens and over layers.

    What each token brings sums to the logit, and so does what each layer's attention and MLP adds.

    Example: jaxlin attribute --model demo-llama --prompt "The capital of France is" --out results/why
    """

    target: Annotated[str | None, tyro.conf.arg(metavar="TARGET")] = None
    """logits:" Paris" or logits:" Paris"-" Rome"; by default the token that the model itself says next"""
    k: Annotated[int | None, tyro.conf.arg(aliases=("-k",), metavar="INT")] = None
    """split so many singular directions over the tokens as well; none by default"""
    tol: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """residual asked of their triplets, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True, kw_only=True)
class Compare(Prompted):
    """Freeze policies of one model, or several models on one prompt, side by side.

    Policies: how much of the output each map gives back, spectra, principal angles, decoded directions.
    Models: spectra, stable ranks and decoded directions, layer by layer.

    Example: jaxlin compare --model demo-llama --policies detached,none --prompt "The capital of France is"
    --out results/policies
    """

    model: str = ""
    """the model whose --policies are compared"""
    policies: Annotated[str | None, tyro.conf.arg(metavar="NAMES")] = None
    """some of detached, detached-gate, half, none, with commas between; angles are to the first"""
    models: Annotated[str | None, tyro.conf.arg(metavar="A,B")] = None
    """the models to compare instead, with commas between"""
    k: Annotated[int, tyro.conf.arg(aliases=("-k",), metavar="INT")] = 8
    """how many singular triplets of each map"""
    tol: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """residual asked of every triplet, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True, kw_only=True)
class Steer(Asked):
    """Continue a prompt while the map of another one, the concept, acts on its tokens.

    The concept's map from its embeddings to the residual stream after a layer is applied to the running
    text's own tokens, and λ‖a‖/(2‖v‖)·v is added to the stream a there, at every position.

    Example: jaxlin steer --model demo-qwen --concept "The capital of Japan is" --prompt "I went to" --layer 2
    --strength 0.5 1 --out results/steer
    """

    concept: Annotated[str, tyro.conf.arg(metavar="TEXT")]
    """the prompt whose map steers"""
    layer: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """after which layer, from 0; the one in the middle by default"""
    strength: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT")] = (1.0,)
    """λ, one or more; 0, which is not steered, is always shown beside them"""
    rank: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """use so many singular triplets of the concept's map; the whole map by default"""
    tokens: Annotated[int, tyro.conf.arg(metavar="INT")] = 32
    """how many tokens to add"""
    temperature: float = 0.0
    """0 takes the most likely token; else logits are divided by it and sampled by --seed"""
    as_published: bool = False
    """as the published code does: a final-normed map, added to the layer's un-normed input, each token
    through the block of its position modulo the concept's length"""


@dataclass(frozen=True)
class Plot:
    """Pictures of a saved result: spectra, reconstruction, tokens, layers, attributions; numbers beside each.

    Example: jaxlin plot results/demo --format png pdf
    """

    result: Annotated[Path, tyro.conf.Positional]
    """the folder that a verb wrote"""
    out: Path | None = None
    """where to write, over pictures of the same names; RESULT.pictures beside the result if not given"""
    format: tuple[str, ...] = ("png",)
    """png, pdf, svg; one or more"""


@dataclass(frozen=True)
class Report:
    """Saved results as one HTML file that opens from disk: certificate, shaded prompt, spectra, layers.

    Example: jaxlin report results/demo results/layers --out report.html
    """

    results: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folders that verbs wrote, one or more"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """the file; that of the first result with .html behind its name if not given"""
    overwrite: bool = False
    """replace the file if it is there already"""


@dataclass(frozen=True)
class Models:
    """What can be loaded and planned for by name, and which architectures are supported.

    Example: jaxlin models
    """

    json: bool = False
    """as JSON"""


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
