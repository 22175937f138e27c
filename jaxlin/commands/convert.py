"""``jaxlin convert``: a checkpoint for a mesh of devices."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.runtime.device import use_device
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.convert import convert
from jaxlin.verbs.options import Convert
from jaxlin.verbs.shared import Watched


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    use_device("cpu")
    watched = parsed[Watched]
    with TerminalProgress(watched.progress) as progress:
        made = convert(parsed[Convert], progress)
    show(made, watched)
    return 0
