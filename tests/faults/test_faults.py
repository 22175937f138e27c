"""Runs that are killed, find a full disk, or meet another run: nothing finished is ever missing.

    make faults    every change of every verb, and random moments; minutes
    make test      every sixth change of one verb each, in a process of its own

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

pytestmark = pytest.mark.once

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


def disturbed(place: Path, what: str, case: str, number: int) -> int:
    """How many runs were disturbed, none of which lost anything or ended without its sentence."""
    said = json.loads(child(place, what, case, str(number)).splitlines()[-1])
    print(said)
    assert said["failures"] == []
    return said["disturbed"]


@pytest.mark.parametrize("case", CASES if LONG else ["svd-overwrite"])
def test_killed_before_every_change(tmp_path: Path, case: str) -> None:
    assert disturbed(tmp_path, "kill", case, 1 if LONG else 6) >= (8 if LONG else 3)


@pytest.mark.skipif(not LONG, reason="make faults")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    assert disturbed(tmp_path, "random", "all", 50) >= 50


@pytest.mark.parametrize("case", CASES if LONG else ["svd"])
@pytest.mark.parametrize("what", ["full", "readonly"] if LONG else ["full"])
def test_disks_that_take_nothing_more(tmp_path: Path, what: str, case: str) -> None:
    assert disturbed(tmp_path, what, case, 1 if LONG else 8) >= (8 if LONG else 3)


@pytest.mark.parametrize("case", ["svd", "svd-overwrite", "tokens", "layers", "batch"] if LONG else ["svd"])
def test_two_runs_into_one_place(tmp_path: Path, case: str) -> None:
    """One of them is refused, but where it comes late enough to replace the other, or to find all done."""
    late = case in ("svd-overwrite", "batch")
    assert disturbed(tmp_path, "two", case, 5 if LONG else 1) >= (0 if late else 1)


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
