"""A GPU that lies idle is told of, once, and only where nobody chose the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from jaxlin.runtime.device import driver_is_loaded, gpu_is_idle, smi_lists_gpu

LINE = 'jaxlin: there is an NVIDIA GPU here and JAX runs on the CPU: pip install "jaxlin[cuda12]"\n'


def yes() -> bool:
    return True


def no() -> bool:
    return False


@pytest.fixture
def nobody_chose(monkeypatch: pytest.MonkeyPatch):
    """As in a process for which no platform was asked."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    yield
    jax.config.update("jax_platforms", before)


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an ``nvidia-smi`` of these shell commands on PATH."""

    def write(commands: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{commands}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return write


@pytest.mark.usefixtures("nobody_chose")
def test_a_gpu_is_idle_where_one_probe_sees_it(monkeypatch: pytest.MonkeyPatch):
    assert not gpu_is_idle((no, no))
    assert gpu_is_idle((yes, no))
    assert gpu_is_idle((no, yes))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not gpu_is_idle((yes, yes))


@pytest.mark.usefixtures("nobody_chose")
def test_it_is_not_idle_where_the_cpu_was_chosen(monkeypatch: pytest.MonkeyPatch):
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not gpu_is_idle((yes,))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu_is_idle((yes,))
    jax.config.update("jax_platforms", "cpu")  # what --device cpu and JAX_PLATFORMS=cpu come to
    assert not gpu_is_idle((yes,))


def test_the_driver(tmp_path: Path):
    assert driver_is_loaded(tmp_path)
    assert not driver_is_loaded(tmp_path / "nvidia")


def test_nvidia_smi(smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch):
    smi('echo "GPU 0: NVIDIA A100"')
    assert smi_lists_gpu()
    smi("echo")
    assert not smi_lists_gpu()
    smi('echo "GPU 0: NVIDIA A100"; exit 9')
    assert not smi_lists_gpu()
    monkeypatch.setattr("shutil.which", lambda command: None)
    assert not smi_lists_gpu()


def test_it_is_told_once_and_on_stderr(smi: Callable[[str], None]):
    smi('echo "GPU 0: NVIDIA A100"')
    code = """
import jax
from jaxlin.runtime.device import tell_of_idle_gpu
tell_of_idle_gpu()
tell_of_idle_gpu()
print(jax.default_backend())
"""
    chosen = ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")
    environment = {name: value for name, value in os.environ.items() if name not in chosen}

    def run(**more: str) -> tuple[str, str]:
        command = [sys.executable, "-c", code]
        process = subprocess.run(command, capture_output=True, text=True, check=True, env=environment | more)
        return process.stdout.strip(), process.stderr

    backend, line = run()
    assert line == (LINE if backend == "cpu" else "")
    assert run(JAX_PLATFORMS="cpu") == ("cpu", "")
