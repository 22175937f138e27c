"""``jaxlin plot``: pictures of saved results, and the numbers in them."""

from __future__ import annotations

import logging

from jaxlin.commands.options import Plot
from jaxlin.commands.output import beside, say_written, tell
from jaxlin.errors import JaxlinError

FORMATS = ("png", "pdf", "svg")


def run(config: Plot) -> int:
    """Do what the command line asked for; returns the exit code."""
    unknown = [ending for ending in config.format if ending not in FORMATS]
    if unknown or not config.format:
        raise JaxlinError(f"unknown format {unknown}: choose from {', '.join(FORMATS)}")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from jaxlin.results.pictures import pictures_of  # loads matplotlib, which nothing else needs

    pictures = pictures_of(config.result)
    out = beside(config.result, ".pictures") if config.out is None else config.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = [str(path) for picture in pictures for path in picture.save(out, config.format)]
    except OSError as error:
        raise JaxlinError(f"cannot write to {out} ({error.strerror}): choose another --out") from error
    tell(config, {"wrote": written}, say_written)
    return 0
