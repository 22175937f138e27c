"""The command line: one verb a job. This file and ``jaxlin.load`` put models and engine together.

Exit codes: 0 done, 2 a request that cannot be met (one sentence says why), 3 finished but not every
triplet met its tolerance (results are saved and flagged), 130 interrupted.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import tyro

from jaxlin.errors import JaxlinError
from jaxlin.options import Attribute, Compare, Layers, Models, Plan, Plot, Report, Steer, Svd, Tokens

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _prepare_process()
    config = _parse(arguments)
    # Set before transformers is imported: its advice about missing torch is not for our users.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        from jaxlin.load import import_models

        models = import_models()
    except JaxlinError as error:
        return _refuse(error)
    (verb,) = (name for name, options in _VERBS.items() if type(config) is options)
    try:
        return import_module(f"jaxlin.commands.{verb}").run(config)
    except (JaxlinError, models.ModelError) as error:
        return _refuse(error)
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted; nothing was written", file=sys.stderr)
        return 130


def _prepare_process() -> None:
    """A polite kill cleans up like Ctrl-C; a terminal without Unicode gets escapes instead of a crash."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parse(arguments: Sequence[str] | None) -> Any:
    app = tyro.extras.SubcommandApp()
    for name, options in _VERBS.items():
        app.command(name=name)(options)
    return app.cli(
        prog="jaxlin",
        description="The exact linear map of a transformer at one prompt, and its singular vectors.",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def _refuse(error: Exception) -> int:
    print(f"jaxlin: {error}", file=sys.stderr)
    return 2
