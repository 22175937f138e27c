"""The verbs: every option of each, declared once: flag, help, checks, Python argument, and what it decides.

A class with a ``verb`` is one entry of :data:`VERBS`: the command line and :class:`jaxlin.verbs.model.Model`
have that verb. Nothing here imports JAX, so that ``--help`` is fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from jaxlin.solvers.methods import METHODS
from jaxlin.verbs.declare import RESULT, STEP, Option
from jaxlin.verbs.shared import (
    ATTENTION,
    DTYPES,
    GATE,
    OFFLOADS,
    PRECISIONS,
    SEEDS,
    Compared,
    Frozen,
    Kept,
    Load,
    ManyPrompts,
    Mapped,
    PromptSource,
    Screen,
    Seeded,
    Tokenized,
    Verb,
    Work,
)
from jaxlin.verbs.shared import VERBS as VERBS


def _tolerance() -> Any:
    return Option(
        group="solver",
        decides=RESULT,
        help="largest residual allowed, as a multiple of σ₁; 1e-4 in float32 and 1e-10 in float64 by default",
    )


def _triplets(of: str, default: str = "") -> Any:
    text = f"number of singular triplets{of}"
    return Option(group="solver", decides=RESULT, least=1, help=f"{text}; {default}" if default else text)


@dataclass(frozen=True, kw_only=True)
class Svd(Mapped, verb="svd"):
    """Top-k singular vectors of a prompt's detached Jacobian, with a certificate.

    Example: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
    """

    beside = (Load, PromptSource, ManyPrompts, Work)

    k: Annotated[int | None, _triplets("", "16 by default, or all where there are fewer")] = None
    target: Annotated[
        str | None,
        Option(
            group="map",
            metavar="TARGET",
            decides=STEP,
            many=False,
            text=True,
            help='logits:" Paris" or logits:" Paris"-" Rome": one logit, or the difference of two, instead '
            "of the hidden state",
        ),
    ] = None
    method: Annotated[
        str,
        Option(
            group="solver",
            choices=METHODS,
            decides=RESULT,
            help="dense builds the matrix; gram streams its rows; lanczos, matfree and power only "
            "apply it; auto takes the method with the fewest passes that fits in memory and can "
            "use the other options",
        ),
    ] = "auto"
    tol: Annotated[float | None, _tolerance()] = None
    block: Annotated[
        int | None,
        Option(
            group="solver",
            decides=RESULT,
            least=1,
            help="how many probes lanczos sends in one pass; chosen from the length of the prompt by default",
        ),
    ] = None
    max_passes: Annotated[
        int | None,
        Option(
            group="solver",
            decides=RESULT,
            least=1,
            help="number of passes after which an iterative method stops, even if the tolerance is "
            "not met; the result is then flagged, and the exit code is 3",
        ),
    ] = None
    verify_seed: Annotated[
        int | None,
        Option(
            group="solver",
            decides=RESULT,
            least=0,
            most=SEEDS,
            help="solve a second time with this seed and compare the singular values; for iterative methods",
        ),
    ] = None
    norms: Annotated[
        int,
        Option(
            group="output",
            metavar="COUNT",
            decides=RESULT,
            many=False,
            least=0,
            help="also compute the norms of all rows and columns of J, and decode this many of the "
            "largest; takes d more passes",
        ),
    ] = 0
    save_jacobian: Annotated[
        bool,
        Option(
            group="output",
            decides=RESULT,
            many=False,
            help="also store the matrix itself, [d, T, d]; for short prompts",
        ),
    ] = False
    resume: Annotated[
        bool,
        Option(
            group="solver",
            many=False,
            help="continue from the state that an interrupted run of the same command saved next to `out`",
        ),
    ] = False
    save_every: Annotated[
        int | None,
        Option(
            group="solver",
            metavar="STEPS",
            many=False,
            least=0,
            help="steps of lanczos between two saves of its state next to `out`; 1 by default, 0 saves none",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Tokens(Mapped, verb="tokens"):
    """The SVD of every token's own Jacobian J_t, all tokens at once.

    Example: jaxlin tokens --model demo-llama --prompt "The capital of France is" -k 2 --out results/tokens
    """

    k: Annotated[int, _triplets(" of each token")] = 1
    method: Annotated[
        str,
        Option(
            group="solver",
            choices=("exact", "shared"),
            decides=RESULT,
            help="exact takes d passes; shared grows a common left basis until every token meets the "
            "tolerance",
        ),
    ] = "exact"
    tol: Annotated[
        float | None,
        Option(
            group="solver",
            decides=RESULT,
            help="largest error allowed in every σ, as a multiple of its token's σ₁; 1e-4 in float32 and "
            "1e-10 in float64 by default",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Layers(Mapped, verb="layers"):
    """Every layer and module of one prompt: spectra, effective dimensions, decoded directions.

    The prompt is recorded once; each layer or module is then a linear map to the last position. The passes
    that are counted are those of that map, which are cheaper than passes of the whole network.

    Example: jaxlin layers --model demo-llama --prompt "The capital of France is" -k 4 --out results/layers
    """

    k: Annotated[int, _triplets(" of each map")] = 8
    parts: Annotated[
        str | Sequence[str],
        Option(
            group="map",
            metavar="NAMES",
            decides=RESULT,
            help="which maps, separated by commas: cumulative (from the embeddings to the end of the "
            "layer), block (the layer alone), rest (from the layer to the end), attention, mlp",
        ),
    ] = "cumulative,block,rest,attention,mlp"
    layers: Annotated[
        str | Sequence[int] | None,
        Option(
            group="map",
            metavar="0,8:12",
            decides=RESULT,
            help="numbers of layers and ranges, from the end if negative; all by default",
        ),
    ] = None
    raw: Annotated[
        bool,
        Option(
            group="map",
            decides=RESULT,
            help="leave outputs as they are in the residual stream, without the final norm",
        ),
    ] = False
    method: Annotated[
        str,
        Option(
            group="solver",
            choices=METHODS,
            decides=RESULT,
            help="solver of every map; auto computes all singular values if there are few",
        ),
    ] = "auto"
    tol: Annotated[float | None, _tolerance()] = None


@dataclass(frozen=True, kw_only=True)
class Attribute(Mapped, verb="attribute"):
    """The exact split of a logit, or of the difference of two, over tokens and over all heads and MLPs.

    The contributions of the tokens sum to the logit, and so do those of every attention head and MLP of every
    layer. Without a target it splits the difference of the model's two best next tokens.

    Example: jaxlin attribute --model demo-llama --prompt "The capital of France is" --by-token
    --out results/why
    """

    leading = "target"
    beside = (Load, PromptSource, ManyPrompts, Work)

    target: Annotated[
        tuple[str, ...] | tuple[str | int, ...] | str | int | None,
        Option(
            group="map",
            metavar="TARGET",
            decides=RESULT,
            text=True,
            repeated=True,
            help='the token whose logit is split, like " Paris" or #42, or logits:" Paris"-" Rome"; once for '
            "each of several. By default the difference of the two tokens that the model predicts most",
        ),
    ] = None
    minus: Annotated[
        str | int | None,
        Option(
            group="map",
            metavar="TOKEN",
            decides=RESULT,
            text=True,
            help="the token whose logit is subtracted from that of each `target`",
        ),
    ] = None
    by_token: Annotated[
        bool,
        Option(
            group="map",
            decides=RESULT,
            help="also split every head and MLP over the input tokens; takes about a pass for each token, or "
            "half a pass for each head and MLP, whichever is less",
        ),
    ] = False
    k: Annotated[
        int | None,
        Option(
            group="solver",
            decides=RESULT,
            least=1,
            help="also split this many singular directions over the tokens; none by default",
        ),
    ] = None
    tol: Annotated[float | None, _tolerance()] = None


@dataclass(frozen=True, kw_only=True)
class Compare(Mapped, verb="compare"):
    """Freeze policies of one model, or several models on one prompt, next to each other.

    Policies: how much of the output each map gives back, spectra, principal angles, decoded directions.
    Models: spectra, stable ranks and decoded directions, layer by layer.

    Example: jaxlin compare --model demo-llama --policies detached,none --prompt "The capital of France is"
    """

    beside = (Compared, PromptSource, Work)

    policies: Annotated[
        str | Sequence[str] | None,
        Option(
            group="map",
            metavar="NAMES",
            decides=RESULT,
            help="two or more policies, separated by commas; angles are to the first",
        ),
    ] = None
    k: Annotated[int, _triplets(" of each map")] = 8
    tol: Annotated[float | None, _tolerance()] = None


@dataclass(frozen=True, kw_only=True)
class Steer(Tokenized, Frozen, Seeded, Kept, verb="steer"):
    """Continue a prompt while the map of another prompt, the concept, acts on its tokens.

    The map goes from the embeddings of the concept to the residual stream after a layer. It is applied to the
    last tokens of the text, and λ‖a‖/(2‖v‖)·v is added to the residual stream a at every position, where v is
    its output.

    Example: jaxlin steer --model demo-qwen --concept "The capital of Japan is" --prompt "I went to" --layer 2
    --strength 0.5 1 --out results/steer
    """

    leading = "concept"

    concept: Annotated[
        str | Sequence[int],
        Option(
            group="prompt",
            metavar="TEXT",
            decides=RESULT,
            text=True,
            help="the prompt whose map steers; `chat` does not apply to it",
        ),
    ]
    layer: Annotated[
        int | None,
        Option(
            group="map",
            decides=RESULT,
            help="the layer after which the concept's map acts, counted from 0; the middle layer by default",
        ),
    ] = None
    strength: Annotated[
        tuple[float, ...] | float,
        Option(
            group="map",
            metavar="FLOAT",
            decides=RESULT,
            least=-1e6,
            most=1e6,
            help="how strongly the concept's map acts (λ), one or more numbers; the text without "
            "steering (0) is always shown as well",
        ),
    ] = (1.0,)
    rank: Annotated[
        int | None,
        Option(
            group="solver",
            decides=RESULT,
            least=1,
            help="use this many singular triplets of the concept's map; the whole map by default",
        ),
    ] = None
    tokens: Annotated[int, Option(group="prompt", decides=RESULT, least=1, help="how many tokens to add")] = (
        32
    )
    temperature: Annotated[
        float,
        Option(
            group="prompt",
            decides=RESULT,
            least=0,
            most=1e6,
            help="0 takes the most likely token; otherwise logits are divided by it and sampled with `seed`",
        ),
    ] = 0.0
    as_published: Annotated[
        bool,
        Option(
            group="map",
            decides=RESULT,
            help="steer as the published code does: the map goes through the final norm, its output "
            "is added to the un-normed input of the layer, and each token goes through the "
            "block of its position modulo the concept's length",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Plot(Verb, verb="plot"):
    """Pictures of a saved result: spectra, reconstruction, tokens, layers, attributions, with their numbers.

    Example: jaxlin plot results/demo --format png pdf
    """

    beside = (Screen,)

    result: Annotated[
        Path, Option(group="output", metavar="RESULT", positional=True, help="the folder of a result")
    ]
    out: Annotated[
        Path | None,
        Option(
            group="output",
            metavar="FOLDER",
            help="where to write; files of the same names are replaced. RESULT.pictures by default",
        ),
    ] = None
    format: Annotated[
        tuple[str, ...],
        Option(group="output", choices=("png", "pdf", "svg"), help="one or more kinds of files"),
    ] = ("png",)


@dataclass(frozen=True, kw_only=True)
class Report(Verb, verb="report"):
    """Saved results as one HTML file that opens from disk: certificates, shaded prompts, spectra, layers.

    Example: jaxlin report results/demo results/layers --out report.html
    """

    beside = (Screen,)

    results: Annotated[
        tuple[Path, ...],
        Option(group="output", metavar="RESULT", positional=True, help="folders of results, one or more"),
    ]
    out: Annotated[
        Path | None,
        Option(
            group="output",
            metavar="FILE",
            help="the file; the name of the first result with .html after it by default",
        ),
    ] = None
    overwrite: Annotated[bool, Option(group="output", help="replace the file if it is there already")] = False


@dataclass(frozen=True, kw_only=True)
class Plan(Verb, verb="plan"):
    """What a job would cost, from config.json and the length of a prompt alone: no weight is read.

    It says the method, the setting of the memory dial, the passes, the peak memory and the number of
    operations. Programs are compiled for this machine, so on a CPU the memory is that of a CPU. A job that
    does not fit is an answer too: the exit code is 0.

    Example: jaxlin plan --model gemma-3-4b llama-3.1-8b --tokens 400 4096 32768 --memory 40GB
    """

    beside = (Work,)

    model: Annotated[
        tuple[str, ...],
        Option(
            group="prompt",
            metavar="MODEL",
            help="names of configs like gemma-3-4b, directories, hub ids org/name@revision, demos; one or "
            "more",
        ),
    ]
    tokens: Annotated[
        tuple[int, ...] | int, Option(group="prompt", help="lengths of the prompt, one or more")
    ] = (400,)
    k: Annotated[int | None, _triplets("", "16 by default, or all where there are fewer")] = None
    method: Annotated[str, Option(group="solver", choices=METHODS, help="method of the solver")] = "auto"
    dtype: Annotated[
        str | None,
        Option(
            group="memory",
            choices=DTYPES,
            help="how weights are stored; float32 by default, and bfloat16 where that does not fit",
        ),
    ] = None
    precision: Annotated[
        str | None,
        Option(
            group="memory",
            choices=PRECISIONS,
            help="arithmetic of matrix products; that of `dtype` by default",
        ),
    ] = None
    offload: Annotated[
        str,
        Option(
            group="memory",
            choices=OFFLOADS,
            help="what stays in the host's memory: coefficients (what is recorded of the layers), or "
            "all (the layers' weights as well)",
        ),
    ] = "none"
    attention: Annotated[
        str | None,
        Option(
            group="memory",
            choices=ATTENTION,
            help="what is stored of attention: probabilities is faster at short prompts, "
            "queries_keys needs less memory at long ones; the fastest that fits by default",
        ),
    ] = None
    gate: Annotated[
        str | None,
        Option(
            group="memory",
            choices=GATE,
            help="whether gates are stored or computed again in every pass; the fastest that fits by default",
        ),
    ] = None
    memory: Annotated[
        str | None,
        Option(
            group="memory",
            metavar="40GB",
            help="memory that may be used, like 40GB or 40GiB; what is free here by default",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Models(Verb, verb="models"):
    """What can be loaded and planned for by name, and which architectures are supported.

    Example: jaxlin models
    """

    beside = (Screen,)
