"""``jaxlin report``: results as one HTML file that opens from disk."""

from __future__ import annotations

from jaxlin.commands.options import Report
from jaxlin.commands.output import beside, say_written, tell, write_whole
from jaxlin.errors import JaxlinError


def run(config: Report) -> int:
    """Do what the command line asked for; returns the exit code."""
    from jaxlin.results.page.report import report

    if not config.results:
        raise JaxlinError("no result is given: name one folder or more that a verb wrote")
    out = beside(config.results[0], ".html") if config.out is None else config.out
    if out.exists() and not config.overwrite:
        raise JaxlinError(f"{out} is there already: choose another --out, or add --overwrite")
    write_whole(out, report(config.results))
    tell(config, {"wrote": [str(out)]}, say_written)
    return 0
