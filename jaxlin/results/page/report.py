"""Results as one HTML file that opens from disk: no network, no server, nothing beside it.

Prompts and tokens are data, never markup: the template escapes what it prints, and the script reads JSON
in which ``<`` cannot occur.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from jaxlin.errors import JaxlinError
from jaxlin.results.base import Result
from jaxlin.results.kinds import read
from jaxlin.results.plain import as_plain
from jaxlin.results.store import write_whole

__all__ = ["report"]

#: A result, or the folder of one.
Source = Result | str | Path


def report(
    results: Source | Sequence[Source], out: str | Path | None = None, *, overwrite: bool = False
) -> str:
    """The report of one result or more, as HTML.

    Args:
        results: results, or folders of saved ones, in the order they are shown in.
        out: a file to write it to as well.
        overwrite: whether a file that is there already is replaced.

    Raises:
        JaxlinError: no result, a folder without one or with one that cannot be shown, or a file that is there
            already or cannot be written.
    """
    sources = [results] if isinstance(results, Source) else list(results)
    if not sources:
        raise JaxlinError("no result is given: name one or more, or their folders")
    if out is not None and Path(out).exists() and not overwrite:
        raise JaxlinError(f"{out} is there already: choose another `out`, or add `overwrite`")
    views = [_result(source).view(_name(source, i, len(sources))) for i, source in enumerate(sources)]
    here = files(__package__)
    page, style, script = (
        here.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")
    )
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(page)
    # What a certificate that fails may hold and JSON has no number for is text there.
    data = json.dumps(as_plain(views), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    html = template.render(
        views=views,
        style=style,
        script=script,
        data=data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"),
        version=version("jaxlin"),
    )
    if out is not None:
        write_whole(Path(out), html)
    return html


def _result(source: Source) -> Result:
    return source if isinstance(source, Result) else read(source)


def _name(source: Source, number: int, count: int) -> str:
    """A folder's name; a result that lies in none is called by its kind."""
    if not isinstance(source, Result):
        return Path(os.path.abspath(source)).name
    return source.kind if count == 1 else f"{source.kind} {number + 1}"
