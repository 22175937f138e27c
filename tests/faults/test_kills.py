"""SIGKILL before every change of the file system: nothing finished is ever missing, and runs go on rightly.

    make faults    every change of every verb, and random moments; minutes
    make test      every fourth change of svd --overwrite, in a process of its own

``JAXLIN_FAULTS`` is ``all`` for the long form.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("JAXLIN_FAULTS") == "all"
CASES = (
    "svd",
    "svd-overwrite",
    "tokens",
    "tokens-overwrite",
    "layers",
    "layers-overwrite",
    "batch",
    "batch-overwrite",
)


def child(place: Path, *arguments: str) -> str:
    """What tests/faults/campaign.py prints; in its own process, because it forks before JAX has threads."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "models"), str(ROOT / "tests")]),
        "JAX_COMPILATION_CACHE_DIR": str(place / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, str(Path(__file__).with_name("campaign.py")), str(place), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("case", CASES if LONG else ["svd-overwrite"])
def test_killed_before_every_change(tmp_path: Path, case: str) -> None:
    said = json.loads(child(tmp_path, case, "1" if LONG else "6").splitlines()[-1])
    print(case, said)
    assert said["failures"] == []
    assert said["kills"] >= (8 if LONG else 3)


@pytest.mark.skipif(not LONG, reason="make faults")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    said = json.loads(child(tmp_path, "random", "50").splitlines()[-1])
    print(said)
    assert said["failures"] == []
    assert said["kills"] >= 50


def test_the_campaign_notices_what_is_missing(tmp_path: Path) -> None:
    """Its check of a place fails where a finished result is gone, half there, or something dead stays."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        from campaign import trouble
    finally:
        sys.path.pop(0)
    saved = ROOT / "tests" / "saved_results" / "svd"
    shutil.copytree(saved, tmp_path / "out")
    assert trouble(tmp_path, ["out"], swept=True) == []
    (tmp_path / ".jaxlin-0").mkdir()
    assert trouble(tmp_path, ["out"], swept=True) != []
    assert trouble(tmp_path, ["out"], swept=False) == []
    (tmp_path / ".jaxlin-0").rmdir()
    (tmp_path / "out" / random.choice(["result.json", "result.safetensors"])).unlink()
    assert trouble(tmp_path, ["out"], swept=True) != []
    shutil.rmtree(tmp_path / "out")
    assert trouble(tmp_path, ["out"], swept=True) != []
