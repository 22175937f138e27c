"""``jaxlin contributions``: what every feature of every point contributes to a network's outputs."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.contributions import contributions
from jaxlin.verbs.points import Contributions
from jaxlin.verbs.shared import Work


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    work, options = parsed[Work], parsed[Contributions]
    with TerminalProgress(work.progress) as progress:
        result = contributions(options, progress)
    show(result, work, options.out or options.to)
    return 0 if result.holds else 3
