"""Which prompts of many are done: those whose whole result is there and answers this very request.

A request is the weights, the revision, the tokens and every option that decides the result.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxlin.errors import JaxlinError
from jaxlin.prompts.model import Model
from jaxlin.results.staging import check_free
from jaxlin.results.store import SUMMARY, TENSORS, read_summary
from jaxlin.verbs.declare import RESULT, STEP, declared_in
from jaxlin.verbs.entries import Entry
from jaxlin.verbs.index_rows import RESULTS, row_of
from jaxlin.verbs.shared import Mapped

#: Options that many prompts did not have in earlier versions, whose results are of the same request.
_LATER: Mapping[str, tuple[str, ...]] = {
    "svd": ("span", "position", "target", "norms", "save_jacobian", "keep"),
    "attribute": ("span", "position"),
}


def asked_of(model: Model, options: Mapped) -> dict[str, Any]:
    """What a result depends on apart from the prompt; reads the weights where only they say which they are.

    Raises:
        JaxlinError: weights that cannot be had or read.
    """
    without = {declared.name for declared in declared_in(type(options)) if not declared.option.many}
    without |= {name for name in _LATER.get(options.verb, ()) if name not in options.given}
    decided = {name: value for name, value in options.deciding(RESULT, STEP).items() if name not in without}
    checkpoint = model.checkpoint
    if checkpoint is None or checkpoint.revision is not None:
        _ = model.decoder
    return decided | {
        "model": model.name,
        "revision": None if checkpoint is None else checkpoint.revision,
        "weights": model.weights_sha256 or _digest(model),
        "architecture": hashlib.sha256(repr(model.config).encode()).hexdigest(),
        "dtype": model.dtype_name,
        "precision": model.asked_precision,
    }


def fingerprint(asked: Mapping[str, Any], entry: Entry) -> str:
    """The identity of one prompt's result, or of why there is none."""
    of_prompt = {"ids": entry.ids} if entry.refused is None else {"refused": entry.refused}
    return hashlib.sha256(json.dumps({**asked, **of_prompt}, sort_keys=True).encode()).hexdigest()


def finished_row(
    out: Path, entry: Entry, request: str, listed: Mapping[str, Any] | None, verb: type[Mapped], *,
    overwrite: bool,
) -> dict[str, Any] | None:  # fmt: skip
    """The row of the index for a prompt that is done; None where it is still to do.

    What the index lists of this request is not read again, if its files have the sizes that it says.

    Args:
        out: where the folders of all prompts are.
        entry: the prompt.
        request: its fingerprint.
        listed: what the index says of it.
        verb: the options of the verb.
        overwrite: whether what is there may be replaced.

    Raises:
        JaxlinError: a folder that cannot be written over: a link, a result of another request or one that
            cannot be read (unless ``overwrite``), or other files.
    """
    folder = out / entry.name
    if folder.is_symlink():
        raise JaxlinError(f"{folder} is a link to another place: remove it, or choose another `out`")
    size = bytes_of(folder)
    known = listed is not None and listed.get("request") == request and "failed" not in listed
    if listed is not None and known and size is not None and listed.get("bytes") == size:
        return {name: value for name, value in listed.items() if name != "fields"} | _of_line(entry)
    summary = _finished(folder, request, verb, overwrite)
    if summary is not None:
        return written_row(out, entry, request, summary, verb)
    if folder.exists():
        check_free(folder, overwrite=overwrite or is_half(folder))
    return None


def written_row(
    out: Path, entry: Entry, request: str, summary: Mapping[str, Any], verb: type[Mapped]
) -> dict[str, Any]:
    """The row of the index for a whole result."""
    size = bytes_of(out / entry.name)
    return {**row_of(entry.name, summary, verb), **_of_line(entry), "bytes": size, "request": request}


def failed_row(entry: Entry, request: str, sentence: str) -> dict[str, Any]:
    """The row of the index for a prompt that has no result, and why."""
    return {"id": entry.name, "holds": False, "failed": sentence, **_of_line(entry), "request": request}


def look_at(folder: Path, verb: type[Mapped]) -> Mapping[str, Any]:
    """The summary of a whole result, checked.

    Raises:
        JaxlinError: there is none, or it cannot be read.
    """
    saved = RESULTS[verb].look(folder)
    if "token_texts" not in saved.summary:
        raise JaxlinError(f"the result in {folder} says nothing of its tokens: make it again")
    return saved.summary


def bytes_of(folder: Path) -> int | None:
    """What both files of a result take; None where one is missing."""
    try:
        return sum((folder / name).stat().st_size for name in (SUMMARY, TENSORS))
    except OSError:
        return None


def is_half(folder: Path) -> bool:
    """Whether this is what somebody left of a result: words without the tensors they are about."""
    return (folder / SUMMARY).exists() and not os.path.lexists(folder / TENSORS)


def _of_line(entry: Entry) -> dict[str, Any]:
    return {"fields": dict(entry.fields)} if entry.fields else {}


def _finished(folder: Path, request: str, verb: type[Mapped], overwrite: bool) -> Mapping[str, Any] | None:
    """The summary of a whole result of this request; None where there is none, or it is to be replaced."""
    if not os.path.lexists(folder / SUMMARY):
        return None
    try:
        summary = read_summary(folder)
        if summary.get("request") == request:
            return None if is_half(folder) else look_at(folder, verb)
    except JaxlinError as error:
        if overwrite:
            return None
        raise JaxlinError(f"{error}, or add `overwrite`") from error
    if overwrite:
        return None
    raise JaxlinError(
        f"{folder} holds a result of another request (other weights, tokens or options): choose another "
        f"`out`, or add `overwrite`"
    )


def _digest(model: Model) -> str:
    """sha256 over the weights of a decoder that comes from no files, as they are now."""
    total = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(nnx.state(model.decoder)):
        values = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}".encode())
        total.update(np.ascontiguousarray(values).view(np.uint8).data)
    return total.hexdigest()
