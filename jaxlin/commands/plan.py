"""``jaxlin plan``: what jobs would cost."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.options import Plan
from jaxlin.verbs.plan import plan_jobs
from jaxlin.verbs.shared import Work


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    work = parsed[Work]
    with TerminalProgress(work.progress) as progress:
        result = plan_jobs(parsed[Plan], progress)
    show(result, work)
    return 0
