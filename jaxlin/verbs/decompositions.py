"""The options of the verbs that take a map apart: ``svd``, ``tokens`` and ``layers``; see ``options``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from jaxlin.results.keep import KEPT, VECTORS
from jaxlin.results.metric import HIDDEN, METRICS
from jaxlin.solvers.methods import METHODS
from jaxlin.verbs.declare import RESULT, STEP, Option
from jaxlin.verbs.loading import Load
from jaxlin.verbs.shared import SEEDS, ManyPrompts, Mapped, PromptSource, Work


def tolerance() -> Any:
    """How exact triplets have to be."""
    return Option(
        group="solver",
        decides=RESULT,
        help="largest residual allowed, as a multiple of σ₁; 1e-4 in float32 and 1e-10 in float64 by default",
    )


def triplets(of: str, default: str = "") -> Any:
    """How many triplets."""
    text = f"number of singular triplets{of}"
    return Option(group="solver", decides=RESULT, least=1, help=f"{text}; {default}" if default else text)


@dataclass(frozen=True, kw_only=True)
class Measured(Mapped):
    """By what length outputs are measured."""

    beside = (Load, PromptSource, ManyPrompts, Work)

    metric: Annotated[
        str,
        Option(
            group="map",
            choices=tuple(METRICS),
            decides=STEP,
            help="how outputs are measured: hidden (the length of the hidden state, as in the paper), fisher "
            "(½σ² is the KL divergence, in nats, that a step of length 1 makes in the prediction) or logits "
            "(the length of the change of the centred logits)",
        ),
    ] = HIDDEN


@dataclass(frozen=True, kw_only=True)
class Svd(Measured, verb="svd"):
    """Top-k singular vectors of a prompt's detached Jacobian, with a certificate.

    Example: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
    """

    k: Annotated[int | None, triplets("", "16 by default, or all where there are fewer")] = None
    target: Annotated[
        str | None,
        Option(
            group="map",
            metavar="TARGET",
            decides=STEP,
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
    tol: Annotated[float | None, tolerance()] = None
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
    order: Annotated[
        str,
        Option(
            group="output",
            choices=("sigma", "contribution"),
            decides=RESULT,
            help="the order in which directions are shown: by σ, or by the size of what they contribute to "
            "the logit of the predicted token",
        ),
    ] = "sigma"
    norms: Annotated[
        int,
        Option(
            group="output",
            metavar="COUNT",
            decides=RESULT,
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
            help="also store the matrix itself, [d, T, d]; for short prompts",
        ),
    ] = False
    keep: Annotated[
        str,
        Option(
            group="output",
            choices=tuple(KEPT),
            decides=RESULT,
            help="what `out` holds of the right vectors, which are most of a result: vectors, bf16 (rounded "
            "to bfloat16), norms (their norms and contributions at every position) or none; what is shown in "
            "words stays",
        ),
    ] = VECTORS
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
class Tokens(Measured, verb="tokens"):
    """The SVD of every token's own Jacobian J_t, all tokens at once.

    Example: jaxlin tokens --model demo-llama --prompt "The capital of France is" -k 2 --out results/tokens
    """

    k: Annotated[int, triplets(" of each token")] = 1
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
class Layers(Measured, verb="layers"):
    """Every layer and module of one prompt: spectra, effective dimensions, decoded directions.

    The prompt is recorded once; each layer or module is then a linear map to the last position. The passes
    that are counted are those of that map, which are cheaper than passes of the whole network.

    Example: jaxlin layers --model demo-llama --prompt "The capital of France is" -k 4 --out results/layers
    """

    k: Annotated[int, triplets(" of each map")] = 8
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
    tol: Annotated[float | None, tolerance()] = None
