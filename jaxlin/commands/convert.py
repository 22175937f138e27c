"""``jaxlin convert``: a checkpoint for a mesh of devices."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.runtime.device import use_device
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.verbs.convert import convert
from jaxlin.verbs.options import Convert
from jaxlin.verbs.shared import Screen


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    use_device("cpu")
    options = parsed[Convert]
    with TerminalProgress(options.progress) as progress:
        made = convert(options, progress)
    show(made, parsed[Screen])
    return 0
