"""What pyproject.toml promises is what is tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_lower_bounds_are_the_tested_ones():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(dependency.split(">=") for dependency in project["dependencies"])
    tested = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "tests" / "lowest.txt").read_text(), re.MULTILINE))
    assert {name: tested[name] for name in bounds} == bounds
