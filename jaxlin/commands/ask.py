"""Every verb that asks one model about one prompt, or about many: load, ask, show."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.prompt import read_prompt
from jaxlin.commands.show import show
from jaxlin.prompts.load import locate
from jaxlin.prompts.model import Model
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.entries import read_entries
from jaxlin.verbs.loading import Load
from jaxlin.verbs.model import answer
from jaxlin.verbs.shard import Shard
from jaxlin.verbs.shared import ManyPrompts, PromptSource, Work


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    if parsed.get("prompts") is not None:
        return _many(parsed)
    work, options = parsed[Work], parsed.verb
    prompt = read_prompt(parsed[PromptSource])
    with TerminalProgress(work.progress) as progress:
        result = answer(model_of(parsed[Load], progress), prompt, options, progress)
    show(result, work, options.out)
    return 0 if result.holds else 3


def _many(parsed: Parsed) -> int:
    """The same of the prompts of a file."""
    from jaxlin.verbs.many import answer_many, refuse_alone  # with all solvers, which few verbs need

    work, options = parsed[Work], parsed.verb
    refuse_alone(parsed[PromptSource], options)
    with TerminalProgress(work.progress) as progress:
        model = model_of(parsed[Load], progress)
        asked = parsed[ManyPrompts]
        prompts = read_entries(parsed.get("prompts"), model, options, Shard.of(asked.shard))
        results = answer_many(model, prompts, options, progress, retry_failed=asked.retry_failed)
    show(results, work)
    return 0 if results.holds else 3


def model_of(load: Load, progress: Progress) -> Model:
    """The model that a command is about; its weights are read when they are first needed."""
    return locate(
        load.model, dtype=load.dtype, precision=load.precision, offload=load.offload, weights=load.weights,
        mesh=load.mesh,
        progress=progress,
    )  # fmt: skip
