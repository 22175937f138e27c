"""Options that belong to the command itself, and those that several verbs share; each is declared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from jaxlin.errors import JaxlinError
from jaxlin.verbs.declare import RESULT, STEP, Option, Options
from jaxlin.verbs.loading import Load

POLICIES = ("detached", "detached-gate", "half", "none")
ATTENTION, GATE = ("probabilities", "queries_keys"), ("stored", "recomputed")
#: The largest seed.
SEEDS = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Screen(Options):
    """How a command shows what it does."""

    json: Annotated[bool, Option(group="output", help="print the summary as JSON instead of tables")] = False


@dataclass(frozen=True, kw_only=True)
class Watched(Screen):
    """How long work is watched."""

    progress: Annotated[
        str,
        Option(
            group="output",
            choices=("auto", "lines", "none"),
            help="progress on stderr: auto (bars on a terminal, nothing elsewhere), lines (for logs) or none",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Work(Watched):
    """Where long work is done."""

    device: Annotated[
        str | None,
        Option(
            group="memory",
            metavar="{cpu,gpu,gpu:1}",
            help="where to compute; the first GPU by default, or the CPU where there is none",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class PromptSource(Options):
    """The three ways to give the command line a prompt."""

    prompt: Annotated[
        str | None,
        Option(
            group="prompt",
            many=False,
            text=True,
            help="the prompt; the tokenizer adds its own special tokens",
        ),
    ] = None
    prompt_file: Annotated[
        Path | None,
        Option(
            group="prompt",
            metavar="FILE",
            many=False,
            help="a UTF-8 file with the prompt, which is all of it: a line break at its end is part of it",
        ),
    ] = None
    token_ids: Annotated[
        str | None,
        Option(
            group="prompt",
            metavar="1,2,3",
            many=False,
            help="token ids separated by commas, used as they are; needs no tokenizer",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ManyPrompts(Options):
    """Many prompts in place of one."""

    prompts: Annotated[
        Path | None,
        Option(
            group="prompt",
            metavar="FILE",
            help='many prompts, one JSON object a line (or a Parquet file): {"prompt": "…"}, '
            '{"token_ids": […]} or {"messages": […]}, with an optional "id"; other fields go into the index. '
            "Each gets a folder in `out`, and index.jsonl lists them. Run the same command again after an "
            "interruption: it skips the prompts that are done",
        ),
    ] = None
    shard: Annotated[
        str | None,
        Option(
            group="prompt",
            metavar="I/N",
            text=True,
            help="of `prompts`: do every N-th prompt alone, from the I-th, so that N processes or hosts do "
            "all of them into one `out`; all by default",
        ),
    ] = None
    retry_failed: Annotated[
        bool,
        Option(group="prompt", help="of `prompts`: try those again that failed before"),
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("shard", "retry_failed") if name in self.given]
        if self.prompts is None and given:
            raise JaxlinError(
                f"`{given[0]}` is about many prompts: give `prompts`, or leave `{given[0]}` out"
            )


class Verb(Options):
    """The options of one verb; a subclass that is called something is entered in :data:`VERBS`."""

    #: The options that its command takes beside its own.
    beside: ClassVar[tuple[type[Options], ...]] = (Load, PromptSource, Work)
    #: The option that Python may give behind the prompt without its name.
    leading: ClassVar[str] = "k"

    def __init_subclass__(cls, verb: str = "", **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if verb:
            cls.verb = verb
            VERBS[verb] = cls


#: Verb -> its options: the verbs of the command line and of :class:`jaxlin.verbs.model.Model`.
VERBS: dict[str, type[Verb]] = {}


@dataclass(frozen=True, kw_only=True)
class Kept(Verb):
    """Where a result is kept."""

    out: Annotated[
        Path | None,
        Option(
            group="output",
            metavar="FOLDER",
            help="folder for result.safetensors and result.json, written whole or not at all; without it the "
            "result is only shown",
        ),
    ] = None
    overwrite: Annotated[bool, Option(group="output", help="replace the result that `out` already holds")] = (
        False
    )


@dataclass(frozen=True, kw_only=True)
class Tokenized(Verb):
    """How text becomes tokens."""

    chat: Annotated[
        bool,
        Option(
            group="prompt",
            decides=RESULT,
            help="put the prompt, as one message of a user, through the checkpoint's own chat template, "
            "which writes its own special tokens",
        ),
    ] = False
    no_special_tokens: Annotated[
        bool,
        Option(
            group="prompt",
            decides=RESULT,
            help="leave out the special tokens that the tokenizer adds to text, for text that has them "
            "already",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Seeded(Verb):
    """Random vectors."""

    seed: Annotated[
        int,
        Option(group="solver", decides=STEP, least=0, most=SEEDS, help="seed of every random vector"),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class Frozen(Verb):
    """What is frozen."""

    policy: Annotated[
        str,
        Option(
            group="map",
            choices=POLICIES,
            decides=STEP,
            help="what is frozen: detached (norms, attention probabilities and gates), detached-gate or half "
            "(another factor of gated products), or none (the ordinary Jacobian)",
        ),
    ] = "detached"


@dataclass(frozen=True, kw_only=True)
class Mapped(Tokenized, Frozen, Seeded, Kept):
    """Which map of a prompt is meant, and how it is held."""

    span: Annotated[
        str | Sequence[int] | None,
        Option(
            group="map",
            metavar="16:",
            decides=STEP,
            help="input positions: numbers and ranges like 16: or 0,3,8:12, from the end if "
            "negative; all by default. The contributions of the other positions are added to "
            "the offset",
        ),
    ] = None
    skip_first: Annotated[
        int,
        Option(
            group="map",
            decides=STEP,
            least=0,
            help="leave out this many first positions (attention sinks); the same as `span` INT:",
        ),
    ] = 0
    position: Annotated[
        int | None,
        Option(
            group="map",
            decides=STEP,
            help="output position, from 0, or from the end if negative; the last by default",
        ),
    ] = None
    attention: Annotated[
        str | None,
        Option(
            group="memory",
            choices=ATTENTION,
            help="what is stored of attention: probabilities is faster at short prompts, "
            "queries_keys needs less memory at long ones; chosen by prompt length and memory by "
            "default",
        ),
    ] = None
    gate: Annotated[
        str | None,
        Option(
            group="memory",
            choices=GATE,
            help="whether gates are stored or computed again in every pass; chosen by memory by default",
        ),
    ] = None
    memory: Annotated[
        str | None,
        Option(
            group="memory",
            metavar="40GB",
            help="the most memory to plan for, like 40GB or 40GiB; what is free by default",
        ),
    ] = None
