"""One case: files laid over the valid ones, and a command line."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Special:
    """``fifo``, ``folder``, or ``gone``: nothing at all."""

    what: str


Content = bytes | Link | Special
FIFO, FOLDER, GONE = Special("fifo"), Special("folder"), Special("gone")


@dataclass(frozen=True)
class Case:
    """What is tried.

    Attributes:
        argv: the words after ``jaxlin``; paths are relative to the folder of the world.
        files: path -> what is there instead of what the world has there.
    """

    argv: tuple[str, ...]
    files: Mapping[str, Content] = field(default_factory=dict)

    def __repr__(self) -> str:
        files = {name: content if not isinstance(content, bytes) or len(content) < 400
                 else f"{len(content)} bytes: {content[:300]!r}…" for name,
                         content in self.files.items()}  # fmt: skip
        return f"Case({' '.join(map(repr, self.argv))[:600]}, {files})"

    def lay(self, root: Path) -> None:
        """Put its files into a world."""
        for name, content in self.files.items():
            put(root / name, content)

    def text(self) -> str:
        """As JSON, from which :func:`from_text` makes it again."""
        files = {name: _packed(content) for name, content in self.files.items()}
        return json.dumps({"argv": self.argv, "files": files}, indent=1)


def from_text(text: str) -> Case:
    """A case that :meth:`Case.text` wrote."""
    told = json.loads(text)
    return Case(tuple(told["argv"]), {name: _unpacked(content) for name, content in told["files"].items()})


def put(path: Path, content: Content) -> None:
    """This at this place, whatever was there."""
    remove(path)
    if content == GONE:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, Link):
        path.symlink_to(content.target)
    elif content == FIFO:
        os.mkfifo(path)
    else:
        path.mkdir()


def remove(path: Path) -> None:
    """Nothing at this place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def _packed(content: Content) -> Any:
    if isinstance(content, bytes):
        return base64.b64encode(content).decode()
    return {"link": content.target} if isinstance(content, Link) else {"special": content.what}


def _unpacked(told: Any) -> Content:
    if isinstance(told, str):
        return base64.b64decode(told)
    return Link(told["link"]) if "link" in told else Special(told["special"])
