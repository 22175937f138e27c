"""What results of every kind can do: be saved and read, shown, drawn, and made again.

A kind says what its tensors, figures and tables are; everything that is made of those is here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from rich.console import RenderableType

from jaxlin.errors import JaxlinError
from jaxlin.results import store
from jaxlin.results.about import About
from jaxlin.results.calls import python_calls
from jaxlin.results.frames import pandas_module
from jaxlin.results.labels import Labels
from jaxlin.results.metric import HIDDEN
from jaxlin.results.page.pieces import View, facts_of, predicted
from jaxlin.results.pictures import Figures, Picture, check_formats
from jaxlin.results.plain import as_plain
from jaxlin.results.prediction import Prediction
from jaxlin.results.saved import entries_of
from jaxlin.results.schema import Schema, check_entries, check_finite, check_tensors, same_values
from jaxlin.results.spelling import ending, file_names
from jaxlin.results.staging import all_or_none, staged
from jaxlin.results.tables import as_html
from jaxlin.runtime.environment import environment, peak_bytes

if TYPE_CHECKING:
    import pandas

#: What a summary begins with, in this order: what the result was made from.
_HEAD = (
    "prediction", "model", "family", "revision", "weights_sha256", "policy", "metric",
    "dtype", "precision", "weights", "offload", "mesh", "seed", "tokens", "token_texts", "span", "position",
    "shape",
    "dial",
)  # fmt: skip
#: Letters of a prompt in the title of a picture.
_LETTERS = 48


#: A result of one kind. (Not ``Self``, which beartype knows in classes alone that it decorates whole.)
SomeResult = TypeVar("SomeResult", bound="Result")


class Result(ABC):
    """The base of all kinds of results, which are frozen dataclasses and pytrees.

    Attributes:
        kind: the verb that makes it.
        labels: the tokens it is about, and what reads vectors as tokens; None where there are none.
        about: further entries of the summary.
    """

    kind: ClassVar[str]
    labels: Labels | None
    about: About

    @property
    @abstractmethod
    def holds(self) -> bool:
        """Whether everything that was checked keeps its limit."""

    @abstractmethod
    def arrays(self) -> dict[str, Any]:
        """Its tensors, by their names in ``result.safetensors``."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """Its own short entries of the summary."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """Its long entries of the summary, which come last: certificates, and tensors in words."""

    #: What its summary has to have beside :data:`jaxlin.results.schema.COMMON`, by name, and its type.
    entries: ClassVar[Mapping[str, Any]]

    @classmethod
    @abstractmethod
    def schema(cls, summary: Mapping[str, Any]) -> Schema:
        """What the tensors have to be beside a summary whose entries are what they have to be."""

    @classmethod
    @abstractmethod
    def repeated(
        cls, arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> Iterator[tuple[str, Sequence[Any], np.ndarray]]:
        """What a summary says of its tensors once more: the name, the entries, the tensor."""

    @classmethod
    @abstractmethod
    def from_saved(
        cls: type[SomeResult], arrays: Mapping[str, np.ndarray], summary: Mapping[str, Any]
    ) -> SomeResult:
        """A result from the tensors and the summary of one that was saved."""

    @abstractmethod
    def table(self) -> RenderableType:
        """What a terminal or a notebook shows, for rich: the certificate first."""

    @abstractmethod
    def pictures(self) -> list[Picture]:
        """All its pictures; none where there is nothing to draw."""

    @abstractmethod
    def shown(self) -> View:
        """What the report shows of this kind, beside what it shows of all; see :meth:`view`."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """The rows of :meth:`to_frame`."""

    @abstractmethod
    def call(self) -> dict[str, Any]:
        """The options that make it again, beside those that all verbs have: ``model.VERB(prompt, …)``."""

    @property
    def prediction(self) -> Prediction | None:
        """What the model predicts after the prompt, or at its output position; None where nobody knows."""
        known = None if self.labels is None else self.labels.predicted
        return None if known is None else known()

    def entry(self, name: str, default: Any = None) -> Any:
        """What was noted about the map or the result under this name of the summary."""
        facts: Mapping[str, Any] = {} if self.labels is None else self.labels.facts
        return facts[name] if name in facts else self.about.get(name, default)

    def with_notes(self: SomeResult, **entries: Any) -> SomeResult:
        """The same result with more entries in its summary, each of what JSON can hold."""
        return replace(self, about=self.about.with_entries(**entries))  # type: ignore[type-var]

    def summary(self) -> dict[str, Any]:
        """Everything about it that is not a tensor, as in ``result.json``.

        Device, versions and memory are measured when this is first asked for, if nobody noted them.
        """
        return {**self.head(), **as_plain(self.details())}

    def head(self) -> dict[str, Any]:
        """The short entries of its summary, which are all but its details."""
        noted = {**self.about.entries, **entries_of(self.labels), **self.figures()}
        if not {"peak_bytes", "device", "versions"} <= noted.keys():
            noted = {**self._environment, **noted}
        first = {name: noted[name] for name in _HEAD if name in noted}
        plain: dict[str, Any] = as_plain({"verb": self.kind, **first, **noted})
        return plain

    @property
    def model_names(self) -> list[str]:
        """The models it is of, as they were asked for; none where nobody knows."""
        name = self.head().get("model")
        return [] if name is None else [name]

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return {"peak_bytes": peak_bytes(), **environment()}

    def save(self, out: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``result.safetensors`` and ``result.json`` into a folder, which appears whole or not at all.

        Raises:
            JaxlinError: ``out`` holds something already, or cannot be written.
        """
        with staged(Path(out), overwrite=overwrite) as folder:
            self.write(folder)
        return Path(out)

    @property
    def narrow(self) -> tuple[str, ...]:
        """The names of its tensors that are stored in bfloat16."""
        return ()

    def write(self, folder: Path) -> None:
        """Put the two files into a folder that is there, as :func:`jaxlin.results.staging.staged` gives one.

        Raises:
            JaxlinError: there is no room.
        """
        store.write(folder, self.arrays(), self.summary(), self.narrow)

    @classmethod
    def read(cls: type[SomeResult], folder: str | Path) -> SomeResult:
        """A result of this kind that was saved; :func:`jaxlin.read` reads one of any kind.

        Raises:
            JaxlinError: there is no result, one of another kind, or one that cannot be read.
        """
        return cls.restore(cls.look(folder))

    @classmethod
    def look(cls, folder: str | Path) -> store.Saved:
        """A saved result of this kind that was checked, its tensors not read yet.

        Raises:
            JaxlinError: there is no result, one of another kind, or one that cannot be read.
        """
        saved = store.look(Path(folder))
        verb = saved.summary.get("verb")
        if verb != cls.kind:
            raise JaxlinError(f"{folder} holds a result of {str(verb)[:40]!r} and not of {cls.kind!r}")
        cls.check(saved)
        return saved

    @classmethod
    def check(cls, saved: store.Saved) -> None:
        """See that the files are what a verb writes, before memory is taken for the tensors.

        Raises:
            JaxlinError: something is missing, or of another type or shape.
        """
        with _in_words(saved.folder):
            check_entries(saved.summary, cls.entries)
            check_tensors(saved.layout, cls.schema(saved.summary))

    @classmethod
    def restore(cls: type[SomeResult], saved: store.Saved) -> SomeResult:
        """A result from one that was checked.

        Raises:
            JaxlinError: its tensors cannot be read, or are of another result than its summary.
        """
        arrays = saved.arrays()
        with _in_words(saved.folder):
            for what, entries, tensor in cls.repeated(arrays, saved.summary):
                same_values(entries, tensor, what)
            result = cls.from_saved(arrays, saved.summary)
            if result.holds:
                check_finite(arrays)
            return result

    def without_model(self: SomeResult) -> SomeResult:
        """The same, read in tokens now, and no longer holding the model whose weights they are read with."""
        arrays = {name: np.asarray(array) for name, array in self.arrays().items()}
        return type(self).from_saved(arrays, self.summary())

    def _repr_html_(self) -> str:
        return as_html(self.table())

    def plot(self, out: str | Path | None = None, formats: Sequence[str] = ("png",)) -> Figures | list[Path]:
        """Its pictures.

        Args:
            out: a folder, made if it is not there; files and links of the same names are replaced. All of the
                pictures appear there or, where one cannot be made, none.
            formats: one or more of ``png``, ``pdf`` and ``svg``.

        Returns:
            The files that were written, a CSV of its numbers after each picture; without ``out`` matplotlib's
            figures, which a notebook shows.

        Raises:
            JaxlinError: there is nothing to draw, an unknown format, or a folder that cannot be written to.
        """
        check_formats(formats)
        pictures = self.pictures()
        if not pictures:
            raise JaxlinError(f"this result of {self.kind!r} has no pictures: show its table instead")
        caption = self.caption()
        pictures = [replace(picture, caption=caption) for picture in pictures]
        if out is None:
            return Figures(picture.figure() for picture in pictures)
        with all_or_none(Path(out)) as folder:
            names = [path.name for picture in pictures for path in picture.save(folder, formats)]
        return [Path(out) / name for name in names]

    def caption(self) -> str:
        """What stands above every picture: the model, the freeze policy, the metric, and the prompt's end."""
        words = "" if self.labels is None else "".join(self.labels.texts)
        told = [self._made_from(), f"“{ending(words, _LETTERS)}”" if words else ""]
        return " · ".join(filter(None, told))

    def _made_from(self) -> str:
        """The model, the freeze policy and the metric."""
        summary = self.head()
        told = [", ".join(file_names(self.model_names).values())]
        told += [f"policy {_words_of(summary['policy'])}"] if summary.get("policy") else []
        told += [f"metric {summary['metric']}"] if summary.get("metric", HIDDEN) != HIDDEN else []
        return " · ".join(filter(None, told))

    def view(self, name: str) -> View:
        """It as the page of the report reads it, under the name that is shown.

        ``predictions`` come first, then ``cards``, which are the certificates, and ``notes`` in words;
        ``directions`` is their table. ``tokens`` are shaded by one of ``shades`` at a time, each with what is
        to be said about it, and by the one of the key ``first`` at first. ``bars``, ``signed``, ``charts``,
        ``grid`` and ``tables`` come below where there are any. ``facts`` is what it was made from, ``about``
        the most of it in one line, ``caption`` the same with the prompt, above pictures; ``python`` makes it
        again.
        """
        empty: View = {"tokens": [], "shades": [], "charts": [], "grid": None, "tables": [], "notes": []}
        empty |= {"bars": [], "signed": [], "directions": None, "first": None}
        facts = {"facts": facts_of(self.head()), "python": self.python()}
        facts |= {"about": self._made_from(), "caption": self.caption()}
        predictions = predicted(self.prediction, self.labels)
        head = {"name": name, "verb": self.kind, "predictions": predictions}
        return empty | head | self.shown() | facts

    def python(self) -> str:
        """The calls that make it again, with ``prompt`` left open: text or ids, up to the output's position.

        Empty where no model is known.
        """
        return python_calls(self.head(), self.call())

    def to_frame(self) -> pandas.DataFrame:
        """The result as a table of pandas.

        Raises:
            JaxlinError: pandas is not installed.
        """
        return pandas_module().DataFrame(self.rows())


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    """An error in words where something is missing."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise JaxlinError(
            f"the result in {folder} lacks something or holds something else ({error}): make it again"
        ) from error


def _words_of(entry: Any) -> str:
    """One name, or several with commas between; nothing where there is none."""
    return ", ".join(map(str, entry)) if isinstance(entry, list | Mapping) else str(entry or "")


def keep_order(result: Result, name: str) -> None:
    """Make a dictionary in a field one whose order JAX keeps: it sorts the keys of an ordinary one."""
    entries = getattr(result, name)
    if type(entries) is dict:
        object.__setattr__(result, name, OrderedDict(entries))
