"""``jaxlin report``: results as one HTML file that opens from disk."""

from __future__ import annotations

from jaxlin.commands.parser import Parsed
from jaxlin.commands.show import show
from jaxlin.commands.written import Written
from jaxlin.results.page.report import report
from jaxlin.results.store import beside
from jaxlin.verbs.options import Report
from jaxlin.verbs.shared import Screen


def run(parsed: Parsed) -> int:
    """Do what the command line asked for; returns the exit code."""
    options = parsed[Report]
    out = beside(options.results[0], ".html") if options.out is None else options.out
    report(options.results, out=out, overwrite=options.overwrite)
    show(Written((out,)), parsed[Screen])
    return 0
