"""Results as one HTML file that opens from disk: no network, no server, nothing beside it.

Prompts and tokens are data, never markup: the template escapes what it prints, and the script reads JSON
in which ``<`` cannot occur.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from jaxlin.errors import JaxlinError, printable
from jaxlin.results.base import Result
from jaxlin.results.kinds import read
from jaxlin.results.plain import as_plain
from jaxlin.results.store import spelled_json, write_whole

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
    views = [
        _finite(_result(source).view(_name(source, i, len(sources)))) for i, source in enumerate(sources)
    ]
    here = files(__package__)
    page, style, script = (
        here.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")
    )
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(page)
    # What a certificate that fails may hold and JSON has no number for is text there.
    data = spelled_json(as_plain(views), separators=(",", ":"), allow_nan=False)
    html = template.render(
        views=_spelled(views),
        style=style,
        script=script,
        data=data.replace("<", "\\u003c"),
        version=version("jaxlin"),
    )
    if out is not None:
        write_whole(Path(out), html)
    return html


def _finite(shown: Any) -> Any:
    """A view with None, which JSON has, in place of numbers that are not finite, which it has not."""
    if isinstance(shown, Mapping):
        return {name: _finite(entry) for name, entry in shown.items()}
    if isinstance(shown, list | tuple):
        return [_finite(entry) for entry in shown]
    return None if isinstance(shown, float) and not math.isfinite(shown) else shown


def _spelled(shown: Any) -> Any:
    """The same with what acts spelled out in all words, for the template; the script spells for itself."""
    if isinstance(shown, str):
        return printable(shown, keep="\n\t")
    if isinstance(shown, Mapping):
        return {name: _spelled(entry) for name, entry in shown.items()}
    return [_spelled(entry) for entry in shown] if isinstance(shown, list) else shown


def _result(source: Source) -> Result:
    return source if isinstance(source, Result) else read(source)


def _name(source: Source, number: int, count: int) -> str:
    """A folder's name; a result that lies in none is called by its kind."""
    if not isinstance(source, Result):
        return Path(os.path.abspath(source)).name
    return source.kind if count == 1 else f"{source.kind} {number + 1}"
