"""The command line from end to end, as a user runs it: in its own process, on an embedded checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxlin
from models.checkpoint import DEMOS

K = 4
PROMPT = (DEMOS["demo-gemma"].parent / "prompt.txt").read_text().rstrip("\n")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("jaxlin")
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module", params=["dense", "matfree"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A run of the main job on a prompt of 400+ tokens, and where its result lies."""
    out = tmp_path_factory.mktemp("cli") / request.param
    done = run(
        *("svd", "--model", "demo-gemma", "--prompt", PROMPT, "-k", str(K), "--seed", "3"),
        *("--method", request.param, "--out", str(out)),
    )
    assert done.returncode == 0, done.stderr
    return done, out


def test_certificate_comes_first_and_every_direction_is_shown(finished):
    done, out = finished
    lines = done.stdout.splitlines()
    assert "certificate: holds" in lines[0]
    assert f"{K} of {K} triplets within" in done.stdout
    for i in range(1, K + 1):
        assert any(line.startswith((f"│{i} ", f"│ {i} ")) for line in lines)
    assert f"wrote {out}" in lines[-1]


def test_progress_says_what_happens_and_how_much_memory(finished):
    done, out = finished
    assert "loading weights" in done.stderr
    assert ("building the matrix" if out.name == "dense" else "converging") in done.stderr
    assert "GiB" in done.stderr


def test_files_hold_the_same_answer_as_the_library(finished):
    _, out = finished
    tensors, summary = load_file(out / "result.safetensors"), json.loads((out / "result.json").read_text())
    model = jaxlin.load("demo-gemma")
    operator = model.jacobian(PROMPT)
    result = jaxlin.svd(operator, K, method=out.name, seed=3)
    rounding = 1e-5 * float(result.s[0])
    np.testing.assert_allclose(tensors["s"], result.s, atol=rounding)
    assert tensors["token_ids"].tolist() == model.tokenize(PROMPT)
    assert len(tensors["token_ids"]) >= 400
    v = tensors["V"].reshape(K, -1)
    image = np.asarray(operator.matmat(jnp.asarray(tensors["V"])))
    np.testing.assert_allclose(image, tensors["s"][:, None] * tensors["U"], atol=rounding)
    np.testing.assert_allclose(v @ v.T, np.eye(K), atol=1e-5)
    assert summary["method"] == out.name
    assert summary["passes"] == result.passes
    assert summary["certificate"]["holds"] is True
    assert [t["s"] for t in summary["triplets"]] == tensors["s"].tolist()


def test_first_left_vector_speaks_of_the_answer(finished):
    """The prompt is an unfinished true sentence; its end is among what the first directions write."""
    _, out = finished
    summary = json.loads((out / "result.json").read_text())
    model = jaxlin.load("demo-gemma")
    operator = model.jacobian(PROMPT)
    answer = int(np.argmax(model.logits(operator.y)))
    written = {token["id"] for triplet in summary["triplets"][:3] for token in triplet["outputs"]}
    assert answer in written


def test_help_gives_an_example():
    done = run("svd", "--help")
    assert done.returncode == 0
    assert "Example: jaxlin svd --model demo-llama" in " ".join(done.stdout.split())


def test_unmet_tolerance_is_saved_flagged_and_exits_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    from jaxlin.cli import main

    # By name, because jaxlin.svd is the function and hides the module.
    monkeypatch.setattr(sys.modules["jaxlin.svd"], "default_tolerance", lambda dtype: 1e-30)
    out = tmp_path / "out"
    code = main(["svd", "--model", "demo-gemma", "--token-ids", "1,2,3", "-k", "2", "--out", str(out)])
    assert code == 3
    assert "NOT every triplet converged" in capsys.readouterr().out
    summary = json.loads((out / "result.json").read_text())
    assert summary["certificate"]["holds"] is False
    assert [t["converged"] for t in summary["triplets"]] == [False, False]
