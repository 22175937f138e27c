"""The command line: one verb a job. This file and ``jaxlin.load`` put models and engine together.

The exact linear map of a transformer at one prompt, and its singular vectors.

Start with: jaxlin svd --model demo-llama --prompt "The capital of France is" -k 8 --out results/france

Exit codes: 0 done; 2 a request that cannot be met, and one sentence says why; 3 finished, but not everything
met its tolerance (results are saved and flagged); 130 interrupted. Every verb has a --help with an example.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import tyro

from jaxlin.commands.options import (
    Attribute,
    Compare,
    Layers,
    Models,
    Plan,
    Plot,
    Report,
    Steer,
    Svd,
    Tokens,
    Work,
)
from jaxlin.errors import JaxlinError
from jaxlin.runtime.device import use_device
from jaxlin.runtime.interrupt import interruptible, without_words

#: Exit code after Ctrl-C, as shells have it.
_INTERRUPTED = 130
#: Verb -> its options; the module of the same name in jaxlin.commands does it.
_VERBS = {
    "svd": Svd,
    "tokens": Tokens,
    "layers": Layers,
    "attribute": Attribute,
    "compare": Compare,
    "steer": Steer,
    "report": Report,
    "plot": Plot,
    "plan": Plan,
    "models": Models,
}


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
            return _run(_parse(arguments))
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted; nothing was written", file=sys.stderr)
        return _INTERRUPTED


def _run(config: Any) -> int:
    # Set before transformers is imported: what is wrong with a checkpoint our own sentences say.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    (verb,) = (name for name, options in _VERBS.items() if type(config) is options)
    try:
        if isinstance(config, Work) and config.device is not None:
            use_device(config.device)
        return import_module(f"jaxlin.commands.{verb}").run(config)
    except JaxlinError as error:
        return _refuse(error)


def _parse(arguments: Sequence[str] | None) -> Any:
    app = tyro.extras.SubcommandApp()
    given = sys.argv[1:] if arguments is None else arguments
    for name, options in _VERBS.items():
        first_line = str(options.__doc__).partition("\n")[0]  # in the list of all verbs
        app.command(name=name, help=None if name in given else first_line)(options)
    return app.cli(
        prog="jaxlin",
        description=__doc__.partition("\n\n")[2].strip(),
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _refuse(error: Exception) -> int:
    import re

    said = re.sub(r"`(\w+)`", lambda m: "-k" if m[1] == "k" else "--" + m[1].replace("_", "-"), str(error))
    print(f"jaxlin: {said}", file=sys.stderr)
    return 2
