"""Every verb that asks one model about one prompt: load, ask, show."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.prompt import read_prompt
from jaxlin.commands.show import show
from jaxlin.prompts.load import locate
from jaxlin.prompts.model import Model
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.model import answer
from jaxlin.verbs.shared import Load, PromptSource, Work


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    work, options = parsed[Work], parsed.verb
    prompt = read_prompt(parsed[PromptSource])
    with TerminalProgress(work.progress) as progress:
        result = answer(model_of(parsed[Load], progress), prompt, options, progress)
    show(result, work, options.out)
    return 0 if result.holds else 3


def model_of(load: Load, progress: Progress) -> Model:
    """The model that a command is about; its weights are read when they are first needed."""
    return locate(
        load.model, dtype=load.dtype, precision=load.precision, offload=load.offload, progress=progress
    )
