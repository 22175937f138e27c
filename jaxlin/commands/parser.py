"""The command line from the declarations of options: help in groups, one sentence for a wrong word."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from typing import Any, NoReturn, TypeVar

from jaxlin.commands.stdout import say
from jaxlin.errors import JaxlinError, shortened
from jaxlin.verbs.declare import GROUPS, Declared, Options, declared_in, did_you_mean

_Kind = TypeVar("_Kind", bound=Options)


@dataclass(frozen=True)
class Command:
    """One verb on the command line, and the classes of options it takes; the verb's own comes last."""

    name: str
    takes: tuple[type[Options], ...]

    @property
    def flags(self) -> dict[str, Declared]:
        """Flag -> declaration, of all classes; positional ones are under their names."""
        return {
            declared.name if declared.option.positional else declared.flag: declared
            for options in self.takes
            for declared in declared_in(options)
        }


class Parsed:
    """The options of a command, by their classes."""

    def __init__(self, options: Mapping[type[Options], Options]) -> None:
        self._options = options

    def __getitem__(self, kind: type[_Kind]) -> _Kind:
        """The options of this class, or of the one that is derived from it."""
        return next(options for options in self._options.values() if isinstance(options, kind))

    def has(self, name: str) -> bool:
        """Whether this command has an option of this name."""
        return any(hasattr(options, name) for options in self._options.values())

    def get(self, name: str) -> Any:
        """The value of an option that only some commands have, else None."""
        return next(
            (getattr(options, name) for options in self._options.values() if hasattr(options, name)), None
        )

    def without_progress(self) -> Parsed:
        """The same, for a process that shows none."""
        none: dict[str, Any] = {"progress": "none"}
        quiet = {
            kind: replace(options, **none) if hasattr(options, "progress") else options
            for kind, options in self._options.items()
        }
        return Parsed(quiet)

    @property
    def verb(self) -> Any:
        """Those of the verb itself."""
        return list(self._options.values())[-1]


class _Parser(argparse.ArgumentParser):
    """One sentence where argparse would print its usage and end the process."""

    def print_help(self, file: Any = None) -> None:
        """On stdout, which may be closed before all of it is written."""
        say(self.format_help().rstrip())

    def error(self, message: str) -> NoReturn:
        raise JaxlinError(f"{_sentence(message)}: see {self.prog} --help")


class _Append(argparse.Action):
    """One more value of a flag that may come several times."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is MISSING else before), values])


def parse(command: Command, words: Sequence[str]) -> Parsed:
    """The options of a command, each class of them made and checked.

    Raises:
        JaxlinError: words that are no options of it, or values that cannot be; in flags, not in arguments.
        SystemExit: after ``--help``.
    """
    flags = command.flags
    parser = _parser(command, flags.values())
    _refuse_unknown(command, words, flags)
    parsed = vars(parser.parse_args(_joined(words, flags)))
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in parsed.items()}
    with_flags = translated(command)
    try:
        return Parsed(
            {
                options: options(
                    **{
                        declared.name: values[declared.name]
                        for declared in declared_in(options)
                        if values[declared.name] is not MISSING
                    }
                )
                for options in command.takes
            }
        )
    except JaxlinError as error:
        raise JaxlinError(with_flags(str(error))) from error


def translated(command: Command) -> Callable[[str], str]:
    """Turns the arguments that a message names, in backquotes, into flags of this command."""
    names = {declared.name: declared.flag for declared in command.flags.values()}

    def with_flags(message: str) -> str:
        return re.sub(r"`(\w+)`", lambda quoted: names.get(quoted[1], quoted[1]), message)

    return with_flags


def _utf8(word: str) -> str:
    """A word of the command line as text in UTF-8, whatever the locale took its bytes for.

    Raises:
        argparse.ArgumentTypeError: its bytes are none.
    """
    if not any("\ud800" <= letter <= "\udfff" for letter in word):
        return word
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeError as error:
        found = f" (byte 0x{error.object[error.start]:02x})" if isinstance(error, UnicodeDecodeError) else ""
        raise argparse.ArgumentTypeError(f"no text in UTF-8{found}") from error


def _parser(command: Command, options: Collection[Declared]) -> _Parser:
    about = inspect.cleandoc(command.takes[-1].__doc__ or "")
    description, _, example = about.partition("\n\nExample: ")
    needed = " ".join(
        declared.metavar if declared.option.positional else f"{declared.flag} {declared.metavar}"
        for declared in options
        if declared.required
    )
    parser = _Parser(
        prog=f"jaxlin {command.name}",
        usage=" ".join(filter(None, ["%(prog)s", needed, "[options]"])),
        description=_unindented(description),
        epilog=f"example:\n  {' '.join(example.split())}" if example else None,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    with_flags = translated(command)
    for declared in options:
        group = groups[declared.option.group]
        if declared.option.positional:
            group.add_argument(
                declared.name,
                metavar=declared.metavar,
                type=declared.kind,
                nargs="+" if declared.several else None,
                help=with_flags(_help(declared)),
            )
        elif declared.kind is bool:
            group.add_argument(
                declared.flag,
                dest=declared.name,
                action="store_true",
                default=MISSING,
                help=with_flags(_help(declared)),
            )
        else:
            group.add_argument(
                declared.flag,
                dest=declared.name,
                metavar=declared.metavar,
                type=_utf8 if declared.option.text else declared.kind,
                nargs="+" if declared.in_a_row else None,
                action=_Append if declared.option.repeated else "store",
                required=declared.required,
                default=MISSING,
                help=with_flags(_help(declared)),
            )
    return parser


def _help(declared: Declared) -> str:
    text, default = declared.option.help.replace("%", "%%"), declared.default
    says_so = "default" in text or default in (None, False, MISSING) or default == 0
    shown = " ".join(map(str, default)) if declared.several and not says_so else default
    return text if says_so else f"{text} (default: {shown})"


def _formatter(prog: str) -> argparse.HelpFormatter:
    width = min(shutil.get_terminal_size().columns, 100) - 2
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=width)


def _unindented(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _refuse_unknown(command: Command, words: Sequence[str], flags: Mapping[str, Declared]) -> None:
    """Refuse what looks like a flag and is none, by the nearest that is, and a value that would be lost."""
    known = [flag for flag in flags if flag.startswith("-")] + ["--help", "-h"]
    previous: Declared | None = None
    for word in words:
        name = _flag_of(word)
        if word == f"{name}=--":  # argparse would take it for the end of the flags
            raise JaxlinError(f"{shortened(name)} is given '--', which is no value: give another")
        if re.fullmatch(r"--[A-Za-z][\w-]*", name) and name not in known and not _takes_next(previous):
            hint = did_you_mean(name, known, f"see jaxlin {command.name} --help")
            raise JaxlinError(f"jaxlin {command.name} has no flag {shortened(name)}{hint}")
        previous = flags.get(name) if "=" not in word else None


def _takes_next(declared: Declared | None) -> bool:
    """Whether the word after a flag is its value, whatever it looks like."""
    return declared is not None and declared.kind is str and not declared.in_a_row


def _joined(words: Sequence[str], flags: Mapping[str, Declared]) -> list[str]:
    """``--span -64:`` as ``--span=-64:``, so that a value may begin with a dash; ``_`` in flags as ``-``."""
    joined: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = _flag_of(word)
        declared = flags.get(name)
        word = name + word[len(name) :]
        value_follows = declared is not None and declared.kind is not bool and not declared.in_a_row
        if value_follows and "=" not in word and rest and rest[0].startswith("-"):
            value = rest[0]
            if _flag_of(value) not in flags or _takes_next(declared):
                separator = "=" if name.startswith("--") else ""
                word = f"{word}{separator}{rest.pop(0)}"
        joined.append(word)
    return joined


def _flag_of(word: str) -> str:
    name = word.partition("=")[0]
    return name.replace("_", "-") if re.fullmatch(r"--[A-Za-z][\w-]*", name) else name


def _sentence(message: str) -> str:
    """argparse's words, shortened to what is wrong."""
    required = re.fullmatch(r"the following arguments are required: (.*)", message)
    if required is not None:
        return f"{required[1]} is missing"
    invalid = re.fullmatch(r"argument (\S+?)(?:/\S+)?: invalid (\w+) value: (.*)", message)
    if invalid is not None:
        kinds = {"int": "a whole number", "float": "a number"}
        return f"{invalid[1]} takes {kinds.get(invalid[2], invalid[2])}, and {shortened(invalid[3])} is none"
    unreadable = re.fullmatch(r"argument (\S+?)(?:/\S+)?: (no text in UTF-8.*)", message)
    return f"{unreadable[1]} is {unreadable[2]}" if unreadable else message.removeprefix("argument ")
