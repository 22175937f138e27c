"""The options of every verb, as typed dataclasses from which the command line is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


def _flag(metavar: str | None = None, *short: str) -> Any:
    """A flag whose help says itself what becomes of it when it is left out."""
    return tyro.conf.arg(metavar=metavar, aliases=short, help_behavior_hint="")


#: A flag that is given or not.
_Switch = Annotated[bool, _flag()]

#: What several options may be; JaxlinError names them where another is given.
_DTYPE, _PRECISION = "{float32,float64,bfloat16}", "{float32,tf32,bf16x3,bfloat16,float64}"
_ATTENTION, _GATE = "{probabilities,queries_keys}", "{stored,recomputed}"
_METHODS = "{auto,dense,gram,lanczos,matfree,power}"


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a verb tells what it found."""

    json: _Switch = False
    """print the summary as JSON (what result.json holds, where there is one) instead of tables"""


@dataclass(frozen=True, kw_only=True)
class Work(Output):
    """How work that takes long is done and watched."""

    device: Annotated[str | None, _flag("{cpu,gpu,gpu:1}")] = None
    """where to compute; the first GPU by default, or the CPU where there is none"""
    progress: Annotated[str, tyro.conf.arg(metavar="{auto,lines,none}")] = "auto"
    """on stderr: auto (bars on a terminal, nothing elsewhere), lines (for logs) or none"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What every verb that runs a model on a prompt is told."""

    model: str
    """directory, hub id org/name@revision, or demo-llama, demo-gemma, demo-qwen"""
    out: Path
    """folder for result.safetensors and result.json; exists whole or not at all"""
    prompt: Annotated[str | None, _flag("TEXT")] = None
    """the prompt, tokenised with the model's own special tokens"""
    prompt_file: Annotated[Path | None, _flag("FILE")] = None
    """a UTF-8 file with the prompt"""
    token_ids: Annotated[str | None, _flag("1,2,3")] = None
    """comma-separated token ids, used as they are; needs no tokenizer"""
    policy: Annotated[str, tyro.conf.arg(metavar="{detached,detached-gate,half,none}")] = "detached"
    """detached (norms, attention probabilities and gates frozen), detached-gate or half (another factor of
    gated products frozen), or none (ordinary Jacobian)"""
    dtype: Annotated[str, tyro.conf.arg(metavar=_DTYPE)] = "float32"
    """float32, float64 or bfloat16: how weights and coefficients are stored"""
    precision: Annotated[str | None, _flag(_PRECISION)] = None
    """float32, tf32, bf16x3, bfloat16 or float64: how products are computed; the dtype's own by default"""
    offload: Annotated[str, tyro.conf.arg(metavar="{none,coefficients,all}")] = "none"
    """what waits in the host's memory and is fetched layer by layer, on a GPU too small for it: coefficients,
    or all (the layers' weights as well)"""
    seed: int = 0
    """seed of every random vector"""
    overwrite: _Switch = False
    """replace the result that --out already holds"""


@dataclass(frozen=True, kw_only=True)
class Prompted(Asked):
    """What every verb that takes a prompt's map apart is told."""

    span: Annotated[str | None, _flag("16:")] = None
    """input positions: ranges and numbers like 16: or 0,3,8:12, from the end if negative; all by default"""
    skip_first: Annotated[int, tyro.conf.arg(metavar="INT")] = 0
    """leave out so many first positions (attention sinks), short for --span INT:"""
    position: Annotated[int | None, _flag("INT")] = None
    """output position, from 0, or from the end if negative; the last by default"""
    attention: Annotated[str | None, _flag(_ATTENTION)] = None
    """probabilities or queries_keys: what is kept of attention; by prompt length and memory if not given"""
    gate: Annotated[str | None, _flag(_GATE)] = None
    """stored or recomputed: what becomes of the gates; by memory if not given"""
    memory: Annotated[str | None, _flag("40GB")] = None
    """the most that may be planned for, like 40GB or 40GiB; what is free by default"""


@dataclass(frozen=True, kw_only=True)
class Svd(Work, Prompted):
    """Top-k singular vectors of a prompt's detached Jacobian, certified, on screen and on disk.

    Example: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
    """

    prompts: Annotated[Path | None, _flag("JSONL")] = None
    """many prompts instead, one JSON object a line: {"prompt": "…"} or {"token_ids": […]}, with an "id" if
    you like; a folder for each under --out, and index.jsonl. Started again, it goes on"""
    k: Annotated[int | None, _flag("INT", "-k")] = None
    """how many singular triplets; 16, or all where there are fewer"""
    target: Annotated[str | None, _flag("TARGET")] = None
    """logits:" Paris" or logits:" Paris"-" Rome": one row instead of the hidden state, exactly attributed"""
    method: Annotated[str, tyro.conf.arg(metavar=_METHODS)] = "auto"
    """auto, dense (builds the matrix), gram (streams it), lanczos (never sees it), matfree or power"""
    tol: Annotated[float | None, _flag("FLOAT")] = None
    """residual asked of every triplet, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""
    block: Annotated[int | None, _flag("INT")] = None
    """probes at once in lanczos; by prompt length if not given"""
    max_passes: Annotated[int | None, _flag("INT")] = None
    """passes after which an iterative method gives up, flags its result and exits with 3"""
    verify_seed: Annotated[int | None, _flag("INT")] = None
    """solve once more from this seed and compare"""
    norms: Annotated[int, tyro.conf.arg(metavar="COUNT")] = 0
    """also all row and column norms of J, and so many largest rows and columns decoded; d more passes"""
    save_jacobian: _Switch = False
    """also store the matrix itself, [d, T, d]; small prompts only"""
    resume: _Switch = False
    """go on from the state that a run of the same command left beside --out when it was cut off"""
    save_every: Annotated[int, tyro.conf.arg(metavar="STEPS")] = 1
    """steps of an iterative method between two saves of its state; 0 for none"""


@dataclass(frozen=True, kw_only=True)
class Tokens(Work, Prompted):
    """The SVD of every token's own Jacobian J_t, all tokens at once, on screen and on disk.

    Example: jaxlin tokens --model demo-llama --prompt "The capital of France is" -k 2 --out results/tokens
    """

    k: Annotated[int, tyro.conf.arg(aliases=("-k",), metavar="INT")] = 1
    """how many singular triplets of each token"""
    method: Annotated[str, tyro.conf.arg(metavar="{exact,shared}")] = "exact"
    """exact (d passes) or shared (a common left basis, grown until every token keeps the tolerance)"""
    tol: Annotated[float | None, _flag("FLOAT")] = None
    """error allowed in every σ, as a multiple of its token's σ₁; 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True, kw_only=True)
class Layers(Work, Prompted):
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
    layers: Annotated[str | None, _flag("0,8:12")] = None
    """numbers of layers and ranges, from the end if negative; all by default"""
    raw: _Switch = False
    """leave intermediate outputs as they are in the residual stream; the final norm is applied by default"""
    method: Annotated[str, tyro.conf.arg(metavar=_METHODS)] = "auto"
    """auto, dense, gram, lanczos, matfree or power"""
    tol: Annotated[float | None, _flag("FLOAT")] = None
    """residual asked of every triplet, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True, kw_only=True)
class Attribute(Work, Prompted):
    """The exact split of a logit, or of the difference of two, over tokens and over layers.

    What each token brings sums to the logit, and so does what each layer's attention and MLP adds.

    Example: jaxlin attribute --model demo-llama --prompt "The capital of France is" --out results/why
    """

    target: Annotated[str | None, _flag("TARGET")] = None
    """logits:" Paris" or logits:" Paris"-" Rome"; by default the token that the model itself says next"""
    k: Annotated[int | None, _flag("INT", "-k")] = None
    """split so many singular directions over the tokens as well; none by default"""
    tol: Annotated[float | None, _flag("FLOAT")] = None
    """residual asked of their triplets, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True, kw_only=True)
class Compare(Work, Prompted):
    """Freeze policies of one model, or several models on one prompt, side by side.

    Policies: how much of the output each map gives back, spectra, principal angles, decoded directions.
    Models: spectra, stable ranks and decoded directions, layer by layer.

    Example: jaxlin compare --model demo-llama --policies detached,none --prompt "The capital of France is"
    --out results/policies
    """

    model: str = ""
    """the model whose --policies are compared"""
    policies: Annotated[str | None, _flag("NAMES")] = None
    """some of detached, detached-gate, half, none, with commas between; angles are to the first"""
    models: Annotated[str | None, _flag("A,B")] = None
    """the models to compare instead, with commas between"""
    k: Annotated[int, tyro.conf.arg(aliases=("-k",), metavar="INT")] = 8
    """how many singular triplets of each map"""
    tol: Annotated[float | None, _flag("FLOAT")] = None
    """residual asked of every triplet, as a multiple of σ₁; by default 1e-4 in float32, 1e-10 in float64"""


@dataclass(frozen=True, kw_only=True)
class Steer(Work, Asked):
    """Continue a prompt while the map of another one, the concept, acts on its tokens.

    The concept's map from its embeddings to the residual stream after a layer is applied to the running
    text's own tokens, and λ‖a‖/(2‖v‖)·v is added to the stream a there, at every position.

    Example: jaxlin steer --model demo-qwen --concept "The capital of Japan is" --prompt "I went to" --layer 2
    --strength 0.5 1 --out results/steer
    """

    concept: Annotated[str, tyro.conf.arg(metavar="TEXT")]
    """the prompt whose map steers"""
    layer: Annotated[int | None, _flag("INT")] = None
    """after which layer, from 0; the one in the middle by default"""
    strength: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT")] = (1.0,)
    """λ, one or more; 0, which is not steered, is always shown beside them"""
    rank: Annotated[int | None, _flag("INT")] = None
    """use so many singular triplets of the concept's map; the whole map by default"""
    tokens: Annotated[int, tyro.conf.arg(metavar="INT")] = 32
    """how many tokens to add"""
    temperature: float = 0.0
    """0 takes the most likely token; else logits are divided by it and sampled by --seed"""
    as_published: _Switch = False
    """as the published code does: a final-normed map, added to the layer's un-normed input, each token
    through the block of its position modulo the concept's length"""


@dataclass(frozen=True, kw_only=True)
class Plot(Output):
    """Pictures of a saved result: spectra, reconstruction, tokens, layers, attributions; numbers beside each.

    Example: jaxlin plot results/demo --format png pdf
    """

    result: Annotated[Path, tyro.conf.Positional]
    """the folder that a verb wrote"""
    out: Annotated[Path | None, _flag("FOLDER")] = None
    """where to write, over pictures of the same names; RESULT.pictures beside the result if not given"""
    format: tuple[str, ...] = ("png",)
    """png, pdf, svg; one or more"""


@dataclass(frozen=True, kw_only=True)
class Report(Output):
    """Saved results as one HTML file that opens from disk: certificate, shaded prompt, spectra, layers.

    Example: jaxlin report results/demo results/layers --out report.html
    """

    results: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folders that verbs wrote, one or more"""
    out: Annotated[Path | None, _flag("FILE")] = None
    """the file; that of the first result with .html behind its name if not given"""
    overwrite: _Switch = False
    """replace the file if it is there already"""


@dataclass(frozen=True, kw_only=True)
class Models(Output):
    """What can be loaded and planned for by name, and which architectures are supported.

    Example: jaxlin models
    """


@dataclass(frozen=True, kw_only=True)
class Plan(Work):
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
    memory: Annotated[str | None, _flag("40GB")] = None
    """bytes that may be used, like 40GB or 40GiB; what is free here by default"""
    k: Annotated[int | None, _flag("INT", "-k")] = None
    """how many singular triplets; 16, or all where there are fewer"""
    method: Annotated[str, tyro.conf.arg(metavar=_METHODS)] = "auto"
    """auto, dense, gram, lanczos or matfree"""
    dtype: Annotated[str | None, _flag(_DTYPE)] = None
    """float32, float64 or bfloat16; by default float32, and bfloat16 where that does not fit"""
    precision: Annotated[str | None, _flag(_PRECISION)] = None
    """float32, tf32, bf16x3, bfloat16 or float64: how products are computed; the dtype's own by default"""
    offload: Annotated[str, tyro.conf.arg(metavar="{none,coefficients,all}")] = "none"
    """what waits in the host's memory and is fetched layer by layer, on a GPU too small for it: coefficients,
    or all (the layers' weights as well)"""
    attention: Annotated[str | None, _flag(_ATTENTION)] = None
    """probabilities or queries_keys; the fastest that fits if not given"""
    gate: Annotated[str | None, _flag(_GATE)] = None
    """stored or recomputed; the fastest that fits if not given"""
