"""``jaxlin compare``: freeze policies of one model, or several models."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.prompt import read_prompt
from jaxlin.commands.show import show
from jaxlin.errors import JaxlinError
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.compare import compare, two_or_more
from jaxlin.verbs.loading import Compared
from jaxlin.verbs.options import Compare
from jaxlin.verbs.shared import PromptSource, Work


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    compared, options, work = parsed[Compared], parsed[Compare], parsed[Work]
    prompt = read_prompt(parsed[PromptSource])
    if (options.policies is None) == (compared.models is None):
        raise JaxlinError("say what to compare: `policies` of one `model`, or several `models`")
    if (compared.model is None) != (options.policies is None):
        raise JaxlinError("`model` goes with `policies`, and `models` stands alone")
    several = None if compared.models is None else two_or_more(compared.models, "models")
    with TerminalProgress(work.progress) as progress:
        result = compare(
            compared.model or several or [], prompt, options, progress,
            dtype=compared.dtype, precision=compared.precision, offload=compared.offload,
            weights=compared.weights,
            mesh=compared.mesh,
        )  # fmt: skip
    show(result, work, options.out)
    return 0 if result.holds else 3
