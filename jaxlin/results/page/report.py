"""Results as one HTML file that opens from disk: no network, no server, nothing beside it.

Prompts and tokens are data, never markup: the template escapes what it prints, and the script reads JSON
in which ``<`` cannot occur.
"""

from __future__ import annotations

import base64
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader

from jaxlin.errors import JaxlinError, printable
from jaxlin.results.base import Result
from jaxlin.results.kinds import read
from jaxlin.results.page.pieces import View
from jaxlin.results.spelling import file_names
from jaxlin.results.store import SUMMARY, spelled_json, summary_text, write_whole

__all__ = ["report"]

#: A result, or the folder of one.
Source = Result | str | Path

#: The parts of the script and of the style, in their order: one file each.
_SCRIPTS = ("words", "address", "take", "picture", "prompt", "directions", "chart", "grids", "page")
_STYLES = ("page", "prompt", "tables", "paper")
#: Bytes of a page up to which results are embedded whole, for their download.
_LARGEST = 2_800_000
#: By what factor compression shortens them at most, and this is generous.
_SHORTENED = 8
#: What the script draws; the template has no need of it.
_DRAWN = ("tokens", "shades", "words", "charts", "grid", "signed")


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
    views, saved = [], []
    for i, source in enumerate(sources):
        result = source if isinstance(source, Result) else read(source)
        names = file_names(result.model_names)
        view = result.view(_name(source, i, len(sources)))
        for model, name in names.items():
            view["python"] = view["python"].replace(repr(model), repr(name))
        views.append(_finite(view))
        saved.append(_embedded(source, result, names))
    html = _page(views, saved)
    if out is not None:
        write_whole(Path(out), html)
    return html


def _page(views: Sequence[View], saved: Sequence[str | None]) -> str:
    """The page, with those of the results in it, for their download, that there is room for."""
    template = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_source)
    ).get_template("page.html")
    data = spelled_json(views, separators=(",", ":"), allow_nan=False)
    room = _LARGEST - len(data.encode("utf-8", "backslashreplace"))
    kept = []
    for text in saved:
        fits = text is not None and len(text) < room
        kept.append(text if fits else None)
        room -= len(text or "") * fits
    return template.render(
        views=[_spelled(_printed(view)) for view in views],
        style="\n".join(_source(f"style/{name}.css") for name in _STYLES),
        script="\n".join(_source(f"script/{name}.js") for name in _SCRIPTS),
        data=data.replace("<", "\\u003c"),
        saved=spelled_json(kept),
        summary=SUMMARY,
        version=version("jaxlin"),
    )


@cache
def _source(name: str) -> str:
    """One of the files beside this one."""
    return files(__package__).joinpath(name).read_text("utf-8")


def _embedded(source: Source, result: Result, names: Mapping[str, str]) -> str | None:
    """``result.json``, compressed, without the folders of models; None if no page has room for it."""
    longest = _SHORTENED * _LARGEST
    if isinstance(source, Result):
        text = summary_text(result.summary())
    elif (Path(source) / SUMMARY).stat().st_size > longest:
        return None
    else:
        text = (Path(source) / SUMMARY).read_text("utf-8")
    if len(text) > longest:
        return None
    for model, name in names.items():
        text = text.replace(spelled_json(model), spelled_json(name))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "backslashreplace"))).decode()


def _printed(view: View) -> View:
    """What the template prints of a view."""
    return {name: view[name] for name in view if name not in _DRAWN} | {"prompted": bool(view["tokens"])}


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


def _name(source: Source, number: int, count: int) -> str:
    """A folder's name; a result that lies in none is called by its kind."""
    if not isinstance(source, Result):
        return Path(os.path.abspath(source)).name
    return source.kind if count == 1 else f"{source.kind} {number + 1}"
