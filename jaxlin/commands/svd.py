"""``jaxlin svd``: of one prompt, or of many."""

from __future__ import annotations

from jaxlin.commands import ask
from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.entries import read_entries
from jaxlin.verbs.many import refuse_alone, svd_many
from jaxlin.verbs.options import Svd
from jaxlin.verbs.shared import Load, ManyPrompts, PromptSource, Work


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    prompts, work = parsed[ManyPrompts].prompts, parsed[Work]
    if prompts is None:
        return ask.run(parsed)
    options = parsed[Svd]
    refuse_alone(parsed[PromptSource], options)
    with TerminalProgress(work.progress) as progress:
        model = ask.model_of(parsed[Load], progress)
        results = svd_many(model, read_entries(prompts, model, options), options, progress)
    show(results, work)
    return 0 if results.holds else 3
