"""A hook of mkdocs: these documents are read on a plain git host and as a site.

Documents link to each other, and to files outside ``docs/``, by relative paths, as a git host needs it. For the
site each file that is linked to becomes a page; the notebook becomes one with the outputs that it was saved with;
and api.md gets a docstring for every public name, and the options of every verb.
"""

from __future__ import annotations

import ast
import inspect
import json
import logging
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_log = logging.getLogger("mkdocs.hooks.pages")

ROOT = Path(__file__).parent.parent
#: Documents that stand elsewhere in the repository -> their pages.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "models/README.md": "families.md",
    "docs/tutorial.ipynb": "tutorial.md",
    "examples/umap/glass_box_umap.ipynb": "umap-notebook.md",
    "examples/genotype/genotype_to_phenotype.ipynb": "genotype-notebook.md",
}
#: Comment in api.md -> the list of names that stands for it.
_LISTS = {
    "<!-- names of jaxlin -->": ("jaxlin", "jaxlin/__init__.pyi"),
    "<!-- names of jaxlin_models -->": ("jaxlin_models", "models/jaxlin_models/__init__.pyi"),
}
#: Classes that are shown with what they inherit; what all results inherit is told once.
_WHOLE = ("Model",)
_OPTIONS = "<!-- options of the verbs -->"
_LINK = re.compile(r"(?<!!)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_LANGUAGES = {".py": "python", ".pyi": "python", ".json": "json", ".cff": "yaml", ".toml": "toml"}
#: A role of Sphinx before a name in backquotes, as docstrings have it.
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):(?=<code>)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file that is linked to and is none yet."""
    sources = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    waiting = [*sources, *(source for source in PAGES if source.endswith(".md"))]
    seen = set(waiting)
    for source, page in PAGES.items():
        _add(files, config, source, page)
    while waiting:
        source = waiting.pop()
        for target in _targets(source):
            if target in seen or target in PAGES:
                continue
            seen.add(target)
            if not (ROOT / target).is_file():
                _log.warning("%s links to %s, which is no file", source, target)
                continue
            _add(files, config, target, _page(target))
            if target.endswith(".md"):
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at pages of the site, and fill in what api.md leaves open."""
    source = _SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def on_the_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        folder = posixpath.dirname(page.file.src_uri)
        return f"]({posixpath.relpath(_page(target), folder or '.')}{link[2] or ''})"

    markdown = _LINK.sub(on_the_site, markdown)
    if page.file.src_uri == "api.md":
        for comment, (package, stub) in _LISTS.items():
            markdown = markdown.replace(comment, "\n".join(_directives(package, stub)))
        markdown = markdown.replace(_OPTIONS, "\n".join(_options()))
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Docstrings are written for any reader: what is a role of Sphinx is a name in code here."""
    return _ROLE.sub("", html)


def _directives(package: str, stub: str) -> Iterator[str]:
    """A directive of mkdocstrings for every name that a package loads late: functions first, then classes."""
    tree = ast.parse((ROOT / stub).read_text(encoding="utf-8"))
    origins = {
        alias.asname or alias.name: f"{package}.{statement.module}.{alias.name}"
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom) and statement.level == 1
        for alias in statement.names
    }
    for name in sorted(origins, key=lambda name: (not name.islower(), name)):
        options = {"heading": f"{package}.{name}", "heading_level": 3, "inherited_members": name in _WHOLE}
        lines = [f"      {option}: {json.dumps(value)}" for option, value in options.items()]
        yield "\n".join([f"::: {origins[name]}", "    options:", *lines, ""])


def _options() -> Iterator[str]:
    """A table of options for every verb of a model, from their declarations."""
    sys.path[:0] = [str(ROOT), str(ROOT / "models")]
    from jaxlin.verbs.declare import declared_in  # nothing of this imports JAX
    from jaxlin.verbs.loading import Load
    from jaxlin.verbs.options import VERBS

    for verb, options in VERBS.items():
        if Load not in options.beside:
            continue
        about = inspect.cleandoc(options.__doc__ or "").partition("\n\nExample:")[0]
        yield f"### model.{verb}\n\n{about}\n\n| option | default | |\n| --- | --- | --- |"
        for declared in sorted(declared_in(options), key=lambda option: option.name != options.leading):
            default = "needed" if declared.required else f"`{declared.default!r}`"
            text = declared.option.help.replace("|", "\\|")
            yield f"| `{declared.name}` | {default} | {text} |"
        yield ""


#: Page -> the file it was made from.
_SOURCES: dict[str, str] = {}


def _add(files: Files, config: MkDocsConfig, source: str, page: str) -> None:
    if page in _SOURCES and files.get_file_from_path(page) is not None:
        return
    _SOURCES[page] = source
    files.append(File.generated(config, page, content=_content(source)))


def _targets(source: str) -> list[str]:
    """The files that a document links to and that are no pages of ``docs/``."""
    folder = posixpath.dirname(source)
    text = (ROOT / source).read_text(encoding="utf-8")
    targets = [posixpath.normpath(posixpath.join(folder, link[1])) for link in _LINK.finditer(text)]
    return [target for target in targets if not _in_docs(target)]


def _in_docs(target: str) -> bool:
    return target.startswith("docs/") and target.endswith((".md", ".png"))


def _page(target: str) -> str:
    """Where on the site a file of the repository is, from the site's root."""
    if target in PAGES:
        return PAGES[target]
    if _in_docs(target):
        return target.removeprefix("docs/")
    if target == "README.md":
        return "index.md"
    return f"source/{target}" if target.endswith(".md") else f"source/{target}.md"


def _content(source: str) -> str:
    path = ROOT / source
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return _notebook(json.loads(text))
    if path.suffix == ".md":
        return re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)  # a model card's front matter
    fence = "~~~~"
    return f"# {source}\n\n{fence} {_LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _notebook(notebook: dict[str, Any]) -> str:
    """Cells in their order; of outputs what a browser shows, or else their text."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts.extend(filter(None, map(_output, cell["outputs"])))
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        encoded = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="" src="data:image/png;base64,{encoded}">'
    if "text/html" in data:
        return f"<div>{''.join(data['text/html'])}</div>"
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
