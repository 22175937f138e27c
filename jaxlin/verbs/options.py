"""The verbs: every option of each, declared once: flag, help, checks, Python argument, and what it decides.

A class with a ``verb`` is one entry of :data:`VERBS`: the command line and :class:`jaxlin.verbs.model.Model`
have that verb. Nothing here imports JAX, so that ``--help`` is fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jaxlin.runtime.weights import WEIGHTS
from jaxlin.solvers.methods import METHODS
from jaxlin.verbs.declare import RESULT, Option
from jaxlin.verbs.decompositions import Layers as Layers
from jaxlin.verbs.decompositions import Svd as Svd
from jaxlin.verbs.decompositions import Tokens as Tokens
from jaxlin.verbs.decompositions import tolerance, triplets
from jaxlin.verbs.loading import DTYPES, OFFLOADS, PRECISIONS, Compared, Load
from jaxlin.verbs.points import Contributions as Contributions
from jaxlin.verbs.shared import (
    ATTENTION,
    GATE,
    Frozen,
    Kept,
    ManyPrompts,
    Mapped,
    PromptSource,
    Screen,
    Seeded,
    Tokenized,
    Verb,
    Watched,
    Work,
)
from jaxlin.verbs.shared import VERBS as VERBS


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
    tol: Annotated[float | None, tolerance()] = None


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
    k: Annotated[int, triplets(" of each map")] = 8
    tol: Annotated[float | None, tolerance()] = None


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
    operations. It is for the machine that it runs on; with --for-gpu for a GPU, which need not be there. A
    job that does not fit is an answer too: the exit code is 0.

    Example: jaxlin plan --model gemma-3-4b llama-3.1-8b --tokens 400 4096 32768 --for-gpu --memory 40GB
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
    k: Annotated[int | None, triplets("", "16 by default, or all where there are fewer")] = None
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
    weights: Annotated[
        str,
        Option(
            group="memory",
            choices=WEIGHTS,
            help="whether weights stay quantised: packed (those of a GGUF file as they are, of a config by "
            "name as in files of Q4_K_M), unpacked, or auto (a GGUF file's where they would not fit "
            "otherwise)",
        ),
    ] = "auto"
    mesh: Annotated[
        tuple[str, ...] | str | None,
        Option(
            group="memory",
            metavar="tensor=4",
            help="several devices to spread a model over, like tensor=4 or data=2,tensor=4, one mesh or "
            "more; all bytes are those of one device then, and so is `memory`. One device by default",
        ),
    ] = None
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
    for_gpu: Annotated[
        bool,
        Option(
            group="memory",
            help="plan for a GPU with this `memory` of its own, in which nothing counts that waits in the "
            "host's, like right vectors. The programs are those of this machine",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Convert(Verb, verb="convert"):
    """A checkpoint for many devices: its weights as Orbax stores them, read straight onto any mesh.

    The folder is then a model like any other, with the hash of its source; changed files are refused. It
    needs the extra jaxlin[orbax], and memory of the host for all weights.

    Example: jaxlin convert --model meta-llama/Llama-3.1-8B --out models/llama-8b --dtype bfloat16
    """

    beside = (Watched,)

    model: Annotated[
        str,
        Option(
            group="prompt", metavar="MODEL", help="directory or hub id org/name@revision with safetensors"
        ),
    ]
    out: Annotated[Path, Option(group="output", metavar="FOLDER", help="an empty or new folder")]
    dtype: Annotated[
        str, Option(group="memory", choices=DTYPES, help="how weights are stored, and later loaded")
    ] = "float32"


@dataclass(frozen=True, kw_only=True)
class Models(Verb, verb="models"):
    """What can be loaded and planned for by name, and which architectures are supported.

    Example: jaxlin models
    """

    beside = (Screen,)
