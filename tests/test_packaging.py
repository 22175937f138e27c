"""What pyproject.toml promises is what is tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_lower_bounds_are_the_tested_ones():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(dependency.split(">=") for dependency in project["dependencies"])
    tested = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "tests" / "lowest.txt").read_text(), re.MULTILINE))
    assert {name: tested[name] for name in bounds} == bounds


def test_a_library_that_says_nothing_unasked():
    """Without torch, transformers would advise to install it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFORMERS")}
    code = "import jaxlin; print(len(jaxlin.load('demo-qwen').tokenize('Paris')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
