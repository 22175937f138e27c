"""``jaxlin plot``: pictures of a saved result, and the numbers in them."""

from __future__ import annotations

import logging

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.commands.written import Written
from jaxlin.results.kinds import read
from jaxlin.results.store import beside
from jaxlin.verbs.options import Plot
from jaxlin.verbs.shared import Screen


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    options = parsed[Plot]
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    out = beside(options.result, ".pictures") if options.out is None else options.out
    show(Written(tuple(read(options.result).plot(out, options.format))), parsed[Screen])
    return 0
