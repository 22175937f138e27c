"""scripts/crosscheck_torch.py never ends in a traceback: what goes wrong is a sentence and exit status 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import write_checkpoint

pytest.importorskip("torch")
import crosscheck_torch

IDS = ("--token-ids", "1,2,3")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert crosscheck_torch.main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("crosscheck_torch: ")]
    assert len(said) == 1
    assert not any("Traceback" in line for line in lines)
    return said[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [({"is_causal": False}, "is_causal"), ({"num_hidden_layers": 10**24}, "num_hidden_layers")],
)
def test_odd_configs(
    values: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_checkpoint("llama", tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    assert said in refused(capsys, "--model", str(tmp_path), *IDS)


def test_prompts_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompt").write_bytes(b"\xff\xfe\x00")
    assert "UnicodeDecodeError" in refused(
        capsys, "--model", "demo-llama", "--prompt-file", str(tmp_path / "prompt")
    )
    assert "IsADirectoryError" in refused(capsys, "--model", "demo-llama", "--prompt-file", str(tmp_path))


def test_zero_weights(tmp_path: Path) -> None:
    """Where every figure is 0 / 0, the two agree."""
    file = write_checkpoint("llama", tmp_path) / "model.safetensors"
    save_file({name: np.zeros_like(tensor) for name, tensor in load_file(file).items()}, file)
    assert crosscheck_torch.main(["--model", str(tmp_path), *IDS, "-k", "2"]) in (0, 2)


@pytest.mark.parametrize(
    "error", [NotImplementedError("the oracle needs a mask"), RuntimeError("a\nb"), KeyError()]
)
def test_errors_of_any_type(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(crosscheck_torch, "by_torch", fail)
    assert "stock transformers cannot compute this model" in refused(capsys, "--model", "demo-llama", *IDS)
    monkeypatch.setattr(crosscheck_torch, "by_jaxlin", fail)
    assert type(error).__name__ in refused(capsys, "--model", "demo-llama", *IDS)
