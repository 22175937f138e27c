"""The command line: one verb a job.

The exact linear map of a transformer at one prompt, and its singular vectors.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn, cast

from jaxlin.commands.connect import connect, leave, quiet_unless_first, speaker
from jaxlin.commands.limited import check_room, is_limited, supervised
from jaxlin.commands.parser import Command, Parsed, parse, translated
from jaxlin.commands.stdout import say, silence
from jaxlin.commands.without_torch import without_torch
from jaxlin.commands.xla_flags import check_xla_flags
from jaxlin.errors import JaxlinError, shortened
from jaxlin.runtime.failure import in_words, lost_process
from jaxlin.runtime.interrupt import interruptible, without_words
from jaxlin.runtime.stderr import tell
from jaxlin.verbs.declare import did_you_mean
from jaxlin.verbs.options import VERBS

#: Exit codes: done, a request that cannot be met, after Ctrl-C (as shells have it).
_DONE, _REFUSED, _INTERRUPTED = 0, 2, 130
_EXIT_CODES = """\
exit codes:
  0    done
  2    a request that cannot be met; one sentence says why
  3    finished, but not every triplet met its tolerance, or a prompt of many failed; results are saved and
       flagged
  130  interrupted
"""
_EXAMPLE = """\
example:
  jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france
"""


def console() -> NoReturn:
    """The ``jaxlin`` command."""
    sys.unraisablehook = without_words
    for descriptor in (0, 1, 2):  # or the next file that is opened would stand in for one that is closed
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if is_limited():
        code = supervised(main, _REFUSED)
    elif any(word.startswith("--coordinator") for word in sys.argv):  # JAX ends all if one process is lost
        code = supervised(main, _REFUSED, lambda: translated(command_of("svd"))(lost_process()))
    else:
        code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            silence(stream)
    if code == _INTERRUPTED:  # compilation may go on in threads that do not survive an orderly end
        os._exit(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escapes, not a crash, on a terminal without Unicode
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments), own_process=arguments is None)
    except SystemExit as shown:  # after the help of a verb
        return int(shown.code or 0)
    except KeyboardInterrupt as interrupt:
        tell(str(interrupt) or "interrupted; nothing was written", name="")
        return _INTERRUPTED


def command_of(verb: str) -> Command:
    """What a verb takes on the command line."""
    return Command(verb, (*VERBS[verb].beside, VERBS[verb]))


def _run(words: list[str], *, own_process: bool) -> int:
    translate: Callable[[str], str] = str
    try:
        _check_place()
        if not words:
            raise JaxlinError("no verb is given: see jaxlin --help")
        verb = words[0]
        if verb in ("--help", "-h", "--version"):
            say(_version() if verb == "--version" else _overview())
            return _DONE
        if verb not in VERBS:
            hint = did_you_mean(verb, list(VERBS), "see jaxlin --help")
            raise JaxlinError(f"jaxlin has no verb {shortened(verb)!r}{hint}")
        command = command_of(verb)
        translate = translated(command)
        parsed = parse(command, words[1:])
        run = _prepared(verb, parsed, own_process=own_process)
        with interruptible():
            code = run()
        if parsed.get("coordinator") is not None:
            leave()
        return code
    except JaxlinError as error:
        tell(translate(str(error)), speaker())
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        tell(translate(in_words(error)), speaker())
    return _REFUSED


def _check_place() -> None:
    """:class:`JaxlinError` where there is nothing to write to, or no folder to be in."""
    if sys.stdout is None:
        raise JaxlinError("stdout is closed: send it somewhere, be it to /dev/null")
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise JaxlinError("the working directory is gone: change to one that is there") from error


def _prepared(verb: str, parsed: Parsed, *, own_process: bool) -> Callable[[], int]:
    """The work of a verb, once it is decided what JAX and transformers go by; an idle GPU is told of."""
    # What is wrong with a checkpoint our own sentences say.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    device, computes = parsed.get("device"), parsed.has("device")
    check_room(computes=computes)
    check_xla_flags()
    try:
        from jaxlin.runtime.compilation_cache import check_compilation_cache
        from jaxlin.runtime.device import start, tell_of_idle_gpu, use_device
        from jaxlin.runtime.mesh import make_room, parse_mesh
    except ValueError as error:
        raise JaxlinError(f"JAX cannot be imported ({error}): mend that variable, or unset it") from error
    if verb == "plan" and parsed.get("mesh") is not None:  # nothing runs on them
        make_room(max(parse_mesh(mesh).count for mesh in parsed.get("mesh")))
    connected = connect(parsed)
    if device is not None:
        use_device(device)
    if computes:
        check_compilation_cache()
        start()
        tell_of_idle_gpu()
    if connected:
        parsed = quiet_unless_first(parsed)
    # A verb that asks one model about one prompt needs no command of its own.
    own = f"jaxlin.commands.{verb}"
    # The functions of ``contributions`` are the user's, and may use torch by way of transformers.
    with without_torch() if own_process and verb != "contributions" else nullcontext():
        module = import_module(own if find_spec(own) is not None else "jaxlin.commands.ask")
    return partial(cast("Callable[[Parsed], int]", module.run), parsed)


def _version() -> str:
    from jaxlin.version import __version__

    return f"jaxlin {__version__}"


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
