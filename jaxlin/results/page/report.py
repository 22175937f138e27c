"""Results as one HTML file that opens from disk: no network, no server, nothing beside it.

Prompts and tokens are data, never markup: the template escapes what it prints, and the script reads JSON
in which ``<`` cannot occur.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from jaxlin.results.page.views import view_of
from jaxlin.results.store import read

__all__ = ["report"]


def report(folders: Sequence[Path]) -> str:
    """The report of one result or more, as HTML.

    Args:
        folders: where verbs wrote their results, in the order they are shown in.

    Raises:
        JaxlinError: a folder without a result, or with one that cannot be shown.
    """
    views = [view_of(folder, *read(folder)) for folder in folders]
    here = files(__package__)
    page, style, script = (
        here.joinpath(name).read_text("utf-8") for name in ("page.html", "page.css", "page.js")
    )
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(page)
    data = json.dumps(views, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return template.render(
        views=views,
        style=style,
        script=script,
        data=data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"),
        version=version("jaxlin"),
    )
