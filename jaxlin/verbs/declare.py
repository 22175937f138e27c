"""What an option is: one declaration from which its flag, help, checks, record and Python argument follow."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from jaxlin.errors import JaxlinError, shortened
from jaxlin.runtime.sizes import spell_number

_Kind = TypeVar("_Kind", bound="Options")

#: What an option decides about a result, from nothing (where it is computed, what is shown) to every step of
#: the solver. Runs that differ in what decides the result are different requests; a solver's state can go on
#: in a run that differs in anything but what decides a step.
NOTHING, RESULT, STEP = "nothing", "result", "step"

#: No count, position or seed of anything comes near, and messages that quote it would be long.
_BEYOND = 10**40

#: The groups of ``--help``, in their order.
GROUPS = ("prompt", "map", "solver", "memory", "output")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, as it stands in ``Annotated[type, Option(…)]`` in a class of options.

    Attributes:
        help: what it does, in a sentence or two.
        group: one of :data:`GROUPS`, or "" for one that belongs to the command itself.
        decides: what it decides about a result: ``nothing``, ``result`` or ``step``.
        metavar: what stands for its value in help; by its choices or type if not given.
        choices: all values that text may have, if they are few.
        least: the smallest value of a number.
        most: the largest value of a number.
        many: whether it has a meaning for many prompts at once.
        positional: whether the command line takes its values without a flag.
        text: whether it is text for the tokenizer, which is in UTF-8 whatever the locale.
        repeated: whether several values are given one by one, each behind the flag, and not in a row.
    """

    help: str
    group: str = ""
    decides: str = NOTHING
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int | float | None = None
    most: int | float | None = None
    many: bool = True
    positional: bool = False
    text: bool = False
    repeated: bool = False

    def check(self, name: str, value: Any) -> None:
        """:class:`JaxlinError` if this cannot be its value, whatever else is asked for."""
        values = value if isinstance(value, tuple) else (value,)
        for given in values:
            if self.choices and given not in self.choices:
                raise JaxlinError(
                    f"unknown {name} {shortened(str(given))!r}: choose one of {', '.join(self.choices)}"
                )
            if isinstance(given, int | float) and not isinstance(given, bool):
                self._check_number(name, given)

    def _check_number(self, name: str, value: int | float) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise JaxlinError(f"`{name}` is {value}: give a finite number")
        low, high = self.least, self.most
        if (low is not None and value < low) or (high is not None and value > high):
            limits = f"{low} or more" if high is None else f"a number from {low} to {high}"
            raise JaxlinError(f"`{name}` is {spell_number(value)}: give {limits}")
        if isinstance(value, int) and abs(value) >= _BEYOND:
            raise JaxlinError(f"`{name}` is {spell_number(value)}: no number here is that large")


@dataclass(frozen=True)
class Declared:
    """An option with its name, type and default, as the command line and Python see it.

    ``kind`` is the plain type of one value: str, int, float, bool or Path; ``several`` says whether there may
    be more than one.
    """

    name: str
    option: Option
    kind: type
    several: bool
    default: Any

    @property
    def in_a_row(self) -> bool:
        """Whether its flag takes several values at once."""
        return self.several and not self.option.repeated

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is MISSING

    @property
    def flag(self) -> str:
        """Its long flag, like ``--max-passes``; of one letter, ``-k``."""
        return f"-{self.name}" if len(self.name) == 1 else f"--{self.name.replace('_', '-')}"

    def converted(self, value: Any) -> Any:
        """A value as people give it in Python: text for a path, a whole number for a float, a list."""
        if isinstance(value, list | tuple) and self.several:
            return tuple(map(self.converted, value))
        if self.kind is Path and isinstance(value, str):
            return Path(value)
        whole = self.kind is float and isinstance(value, int) and not isinstance(value, bool)
        try:
            return float(value) if whole else value
        except OverflowError as error:
            raise JaxlinError(f"`{self.name}` is {spell_number(value)}: give a smaller number") from error

    @property
    def metavar(self) -> str:
        """What stands for its value in help."""
        if self.option.metavar is not None:
            return self.option.metavar
        if self.option.choices:
            return f"{{{','.join(self.option.choices)}}}"
        return {str: "TEXT", int: "INT", float: "FLOAT", Path: "PATH"}.get(self.kind, "VALUE")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The base of every class of options; values are checked when one is made.

    Raises:
        JaxlinError: a value that no request could have.
    """

    #: What each subclass that stands for a verb is called, see :class:`jaxlin.verbs.options`.
    verb: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for declared in declared_in(type(self)):
            value = getattr(self, declared.name)
            if value is not None or declared.default is not None:
                declared.option.check(declared.name, value)

    @property
    def given(self) -> Mapping[str, Any]:
        """Those that are not what they are by default."""
        values = {declared: getattr(self, declared.name) for declared in declared_in(type(self))}
        return {
            declared.name: value
            for declared, value in values.items()
            if not declared.required and value != declared.default
        }

    def deciding(self, *what: str) -> dict[str, Any]:
        """The values of all options that decide one of these: ``result``, ``step``."""
        return {
            declared.name: getattr(self, declared.name)
            for declared in declared_in(type(self))
            if declared.option.decides in what
        }

    @classmethod
    def of(cls: type[_Kind], **values: Any) -> _Kind:
        """These options from keywords.

        Raises:
            TypeError: a keyword that is none of them; the nearest is named.
            JaxlinError: a value that no request could have.
        """
        known = {declared.name: declared for declared in declared_in(cls)}
        for name in values:
            if name not in known:
                hint = did_you_mean(name, list(known), f"it has {', '.join(known)}")
                raise TypeError(f"{cls.verb} has no option {name!r}{hint}")
        return cls(**{name: known[name].converted(value) for name, value in values.items()})


#: What was read from the annotations of each class of options, which takes a while.
_READ: dict[type[Options], tuple[Declared, ...]] = {}


def declared_in(cls: type[Options]) -> tuple[Declared, ...]:
    """All options of a class, those of its bases first."""
    if cls not in _READ:
        hints = get_type_hints(cls, include_extras=True)
        _READ[cls] = tuple(_declared(field, hints[field.name]) for field in fields(cls))
    return _READ[cls]


def did_you_mean(name: str, known: list[str], otherwise: str) -> str:
    """``: did you mean …?`` where something known is near, and what to do otherwise."""
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f": did you mean {near[0]}?" if near else f": {otherwise}"


def _declared(field: Field[Any], hint: Any) -> Declared:
    assert get_origin(hint) is Annotated, field.name
    kind, option = get_args(hint)
    plain = [member for member in _members(kind) if member is not type(None)]
    several = any(get_origin(member) is tuple for member in plain)
    simple = [get_args(member)[0] if get_origin(member) is tuple else member for member in plain]
    # Python may give an option in more forms than the command line, whose form comes first.
    return Declared(field.name, option, simple[0], several and get_origin(plain[0]) is tuple, field.default)


def _members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in (types.UnionType, typing.Union):
        yield from get_args(kind)
    else:
        yield kind
