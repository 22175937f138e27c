"""XLA_FLAGS, at which XLA ends the process without a word to Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from jaxlin.errors import JaxlinError

#: The least that makes XLA read its flags; half a second.
_READ_FLAGS = "from jaxlib import xla_client; xla_client.CompileOptions()"

#: An error in the log of C++, behind its kind, time and place.
_SAID = re.compile(r"^[EF]\d{4} .*?\] (.*)$", re.MULTILINE)


def check_xla_flags() -> None:
    """:class:`JaxlinError` if XLA would refuse what ``XLA_FLAGS`` says; a process of its own finds out."""
    if not os.environ.get("XLA_FLAGS") or "jaxlib" in sys.modules:  # or it has been read by now
        return
    talking = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}
    asked = [sys.executable, "-c", _READ_FLAGS]
    done = subprocess.run(asked, env=talking, capture_output=True, text=True, errors="replace", check=False)
    said = _SAID.search(done.stderr)
    if done.returncode != 0 and said is not None:
        raise JaxlinError(f"XLA cannot start ({said[1].rstrip('. ')}): mend XLA_FLAGS, or unset it")
