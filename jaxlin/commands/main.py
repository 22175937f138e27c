"""The command line: one verb a job.

The exact linear map of a transformer at one prompt, and its singular vectors.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

from jaxlin.commands.parser import Command, Parsed, parse, translated
from jaxlin.commands.stdout import say
from jaxlin.errors import JaxlinError
from jaxlin.runtime.interrupt import interruptible, without_words
from jaxlin.verbs.declare import did_you_mean
from jaxlin.verbs.options import VERBS

#: Exit codes: done, a request that cannot be met, after Ctrl-C (as shells have it).
_DONE, _REFUSED, _INTERRUPTED = 0, 2, 130
_EXIT_CODES = """\
exit codes:
  0    done
  2    a request that cannot be met; one sentence says why
  3    finished, but not every triplet met its tolerance; results are saved and flagged
  130  interrupted
"""
_EXAMPLE = """\
example:
  jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
"""


def console() -> NoReturn:
    """The ``jaxlin`` command."""
    sys.unraisablehook = without_words
    code = main()
    if code == _INTERRUPTED:  # compilation may go on in threads that do not survive an orderly end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escapes, not a crash, on a terminal without Unicode
            stream.reconfigure(errors="backslashreplace")
    try:
        with interruptible():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as shown:  # after the help of a verb
        return int(shown.code or 0)
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted; nothing was written", file=sys.stderr)
        return _INTERRUPTED


def command_of(verb: str) -> Command:
    """What a verb takes on the command line."""
    return Command(verb, (*VERBS[verb].beside, VERBS[verb]))


def _run(words: list[str]) -> int:
    if not words:
        return _refuse(JaxlinError("no verb is given: see jaxlin --help"))
    verb = words[0]
    if verb in ("--help", "-h"):
        say(_overview())
        return _DONE
    if verb == "--version":
        from jaxlin.version import __version__

        say(f"jaxlin {__version__}")
        return _DONE
    if verb not in VERBS:
        hint = did_you_mean(verb, list(VERBS), "see jaxlin --help")
        return _refuse(JaxlinError(f"jaxlin has no verb {verb!r}{hint}"))
    command = command_of(verb)
    try:
        parsed = parse(command, words[1:])
        _prepare(parsed)
        # A verb that asks one model about one prompt needs no command of its own.
        own = f"jaxlin.commands.{verb}"
        module = own if find_spec(own) is not None else "jaxlin.commands.ask"
        return int(import_module(module).run(parsed))
    except JaxlinError as error:
        return _refuse(JaxlinError(translated(command)(str(error))))


def _prepare(parsed: Parsed) -> None:
    """What has to be decided before JAX and transformers are used; an idle GPU is told of."""
    # What is wrong with a checkpoint our own sentences say.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    device = parsed.get("device")
    if device is not None:
        from jaxlin.runtime.device import use_device

        use_device(device)
    if parsed.has("device"):  # something will be computed
        from jaxlin.runtime.device import tell_of_idle_gpu

        tell_of_idle_gpu()


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{_first_line(name)}" for name in VERBS)
    about = (__doc__ or "").partition("\n\n")[2].strip()
    flags = f"  {'--version':<{width}}the version of jaxlin"
    return (
        f"usage: jaxlin VERB [options]\n\n{about}\n\n"
        f"verbs (each has a --help with an example):\n{verbs}\n{flags}\n\n"
        f"{_EXIT_CODES}\n{_EXAMPLE}".rstrip()
    )


def _first_line(verb: str) -> str:
    return (VERBS[verb].__doc__ or "").strip().partition("\n")[0]


def _refuse(error: JaxlinError) -> int:
    print(f"jaxlin: {error}", file=sys.stderr)
    return _REFUSED
