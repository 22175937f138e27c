"""Which prompts of many are done, and the list of them.

A prompt is done if its whole result is there and answers this very request: the weights, the revision, the
tokens and every option that decides it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import Certificate, Check
from jaxlin.prompts.model import Model
from jaxlin.results.attribute import Attribution, Share, Target
from jaxlin.results.base import Result
from jaxlin.results.contributions import Contributions
from jaxlin.results.metric import HIDDEN
from jaxlin.results.plain import as_plain, restored
from jaxlin.results.prediction import NAMED, Prediction
from jaxlin.results.staging import check_free
from jaxlin.results.store import SUMMARY, TENSORS, Saved, read_summary, spelled_json, write_whole
from jaxlin.results.svd import SVDResult
from jaxlin.verbs.declare import RESULT, STEP, declared_in
from jaxlin.verbs.entries import INDEX, Entry
from jaxlin.verbs.options import Attribute, Svd
from jaxlin.verbs.shared import Mapped

#: The most of the time that goes into writing the index while there is work to do.
_SHARE = 0.02
#: Tokens of an attribution in its line.
_TOKENS = 4
#: The result of each verb that takes many prompts.
_RESULTS: Mapping[type[Mapped], type[Result]] = {Svd: SVDResult, Attribute: Attribution}


def asked_of(model: Model, options: Mapped) -> dict[str, Any]:
    """What a result depends on apart from the prompt; reads the weights where only they say which they are.

    Raises:
        JaxlinError: weights that cannot be had or read.
    """
    alone = {declared.name for declared in declared_in(type(options)) if not declared.option.many}
    decided = {name: value for name, value in options.deciding(RESULT, STEP).items() if name not in alone}
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
    """The identity of one prompt's result."""
    return hashlib.sha256(json.dumps({**asked, "ids": entry.ids}, sort_keys=True).encode()).hexdigest()


def done_before(
    out: Path, asked: Mapping[str, Any], entries: Sequence[Entry], verb: type[Mapped], *, overwrite: bool
) -> dict[str, dict[str, Any]]:
    """The row of the index for every prompt that is done; every result is looked at once.

    Raises:
        JaxlinError: a folder that cannot be written over: a link, a result of another request or one that
            cannot be read (unless ``overwrite``), or other files.
    """
    rows = {}
    for entry in entries:
        folder = out / entry.name
        if folder.is_symlink():
            raise JaxlinError(f"{folder} is a link to another place: remove it, or choose another `out`")
        summary = _finished(folder, fingerprint(asked, entry), verb, overwrite)
        if summary is not None:
            rows[entry.name] = row_of(entry.name, summary, verb)
        elif folder.exists():
            check_free(folder, overwrite=overwrite or is_half(folder))
    return rows


def is_half(folder: Path) -> bool:
    """Whether this is what somebody left of a result: words without the tensors they are about."""
    return (folder / SUMMARY).exists() and not os.path.lexists(folder / TENSORS)


def _finished(folder: Path, request: str, verb: type[Mapped], overwrite: bool) -> Mapping[str, Any] | None:
    """The summary of a whole result of this request; None where there is none, or it is to be replaced."""
    if not os.path.lexists(folder / SUMMARY):
        return None
    try:
        summary = read_summary(folder)
        if summary.get("request") == request:
            return None if is_half(folder) else _of_a_prompt(_RESULTS[verb].look(folder))
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


def _of_a_prompt(saved: Saved) -> Mapping[str, Any]:
    if "token_texts" not in saved.summary:
        raise JaxlinError(f"the result in {saved.folder} says nothing of its tokens: make it again")
    return saved.summary


@dataclass
class Index:
    """The list of the results that are there: a file that is whole whenever somebody looks.

    Attributes:
        out: the folder that it lists.
        shop: a hidden folder of this run in there, where the file may grow.
        order: the names of all prompts, in their order.
        rows: of those that are done.
        verb: the options of the verb whose results they are.
    """

    out: Path
    shop: Path
    order: Sequence[str]
    rows: dict[str, dict[str, Any]]
    verb: type[Mapped]
    _pause: float = field(default=0.0, init=False)
    _written: float = field(default=0.0, init=False)
    _stale: bool = field(default=True, init=False)

    def add(self, name: str) -> None:
        """One more is done. The file follows at once, or soon where it is long and prompts are quick.

        Raises:
            JaxlinError: its result cannot be read back, or the file cannot be written.
        """
        summary = _of_a_prompt(_RESULTS[self.verb].look(self.out / name))
        self.rows[name] = row_of(name, summary, self.verb)
        self._stale = True
        if time.monotonic() - self._written >= self._pause:
            self.write()

    def write(self) -> tuple[dict[str, Any], ...]:
        """The rows, in the order of the prompts, and on disk.

        Raises:
            JaxlinError: it cannot be written.
        """
        rows = tuple(self.rows[name] for name in self.order if name in self.rows)
        if self._stale:
            began = time.monotonic()
            text = "".join(spelled_json(row) + "\n" for row in rows)
            write_whole(self.out / INDEX, text, within=self.shop)
            self._written, self._stale = time.monotonic(), False
            self._pause = (self._written - began) / _SHARE
        return rows


def row_of(name: str, summary: Mapping[str, Any], verb: type[Mapped]) -> dict[str, Any]:
    """One line of the index, of a summary that was checked."""
    row = _row_of_splits if verb is Attribute else _row_of_triplets
    prediction = restored(Prediction | None, summary.get("prediction"))
    predicts = {} if prediction is None else {"predicts": predicted_row(prediction)}
    return {"id": name, **predicts, "tokens": summary["tokens"], **row(summary)}


def _row_of_triplets(summary: Mapping[str, Any]) -> dict[str, Any]:
    certificate = restored(Certificate, summary["certificate"])
    split = restored(Contributions | None, summary.get("contributions"))
    shown = split.order[0] if split is not None and summary.get("order") == "contribution" else 0
    return {
        "metric": summary.get("metric", HIDDEN),
        "holds": certificate.holds,
        "worst_residual": as_plain(certificate.worst_residual),
        "captured_energy": as_plain(certificate.energy.captured),
        "s": [triplet["s"] for triplet in summary["triplets"]],
        "writes": [score["text"] for score in summary["triplets"][shown]["outputs"]],
        **({} if split is None else {"contributions": as_plain(split_row(split))}),
        "passes": summary["passes"],
        "seconds": summary["seconds"],
    }


def _row_of_splits(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Every target with its value; of the first, the tokens that contribute most."""
    targets = restored(tuple[Target, ...], summary.get("targets", [summary]))
    shares = restored(tuple[Share, ...], summary["per_token"])
    order = np.argsort([-abs(share.contribution) for share in shares], kind="stable")[:_TOKENS]
    return {
        "holds": all(check.holds for check in restored(tuple[Check, ...], summary["checks"])),
        "targets": [target.target for target in targets],
        "values": [as_plain(target.value) for target in targets],
        "texts": [summary["token_texts"][t] for t in order],
        "positions": [int(summary["per_token"][t]["position"]) for t in order],
        "contributions": [as_plain(shares[t].contribution) for t in order],
    }


def predicted_row(prediction: Prediction) -> list[dict[str, Any]]:
    """The most likely next tokens in one line of the index."""
    return [{"text": token.text, "probability": token.probability} for token in prediction.tokens[:NAMED]]


def split_row(split: Contributions) -> dict[str, Any]:
    """What the directions contribute to the predicted token's centred logit: one by one, and of how much."""
    if not split.whole.logits:
        return {"output": [part.output for part in split.directions]}
    logits = [part.logits[0] for part in split.directions]
    return {"logit": logits, "together": split.together.logits[0], "whole": split.whole.logits[0]}


def _digest(model: Model) -> str:
    """sha256 over the weights of a decoder that comes from no files, as they are now."""
    total = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(nnx.state(model.decoder)):
        values = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}".encode())
        total.update(np.ascontiguousarray(values).view(np.uint8).data)
    return total.hexdigest()
