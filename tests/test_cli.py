"""The command line from end to end, as a user runs it: in its own process, on an embedded checkpoint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jaxlin_models.checkpoint import DEMOS
from safetensors.numpy import load_file

import jaxlin

K = 4
PROMPT = (DEMOS["demo-gemma"].parent / "prompt.txt").read_text().rstrip("\n")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("jaxlin")
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module", params=["dense", "lanczos"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A run of the main job on a prompt of 400+ tokens, and where its result lies."""
    out = tmp_path_factory.mktemp("cli") / request.param
    done = run(
        *("svd", "--model", "demo-gemma", "--prompt", PROMPT, "-k", str(K), "--seed", "3"),
        *("--method", request.param, "--progress", "lines", "--out", str(out)),
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
    assert ("building the matrix" if out.name == "dense" else "solving") in done.stderr
    assert re.search(r"\d [MG]B", done.stderr)


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
    assert "example: jaxlin svd --model demo-llama" in " ".join(done.stdout.split())


def test_unmet_tolerance_is_saved_flagged_and_exits_3(tmp_path: Path, capsys):
    from jaxlin.commands.main import main

    out = tmp_path / "out"
    flags = ("-k", "4", "--method", "lanczos", "--block", "1", "--max-passes", "10", "--skip-first", "20")
    code = main(["svd", "--model", "demo-gemma", "--prompt", PROMPT[:300], *flags, "--out", str(out)])
    assert code == 3
    assert "triplets NOT converged" in capsys.readouterr().out
    summary = json.loads((out / "result.json").read_text())
    assert summary["certificate"]["holds"] is False
    assert not all(t["converged"] for t in summary["triplets"])
    assert summary["span"] == "20:"
    positions = load_file(out / "result.safetensors")["positions"]
    assert positions.tolist() == list(range(20, 20 + summary["tokens"]))


def test_a_logit_difference_is_attributed(tmp_path: Path, capsys):
    from jaxlin.commands.main import main

    out = tmp_path / "out"
    target = 'logits:" Paris"-" Rome"'
    assert (
        main(["svd", "--model", "demo-qwen", "--prompt", PROMPT, "--target", target, "--out", str(out)]) == 0
    )
    printed = capsys.readouterr().out
    assert "the other 425 tokens" in printed
    summary = json.loads((out / "result.json").read_text())
    model = jaxlin.load("demo-qwen")
    logits = model.logits(model.jacobian(PROMPT).y)
    expected = float(logits[model.token_id(" Paris")] - logits[model.token_id(" Rome")])
    assert summary["target_value"] == pytest.approx(expected, rel=1e-4)
    assert f"{expected:+.4g}" in printed
    assert summary["triplets"][0]["inputs"][0]["text"].strip() == "France"


@pytest.mark.parametrize("method", ["exact", "shared"])
def test_tokens_on_disk_and_on_screen(tmp_path: Path, capsys, method: str):
    from jaxlin.commands.main import main

    out = tmp_path / "out"
    flags = ("-k", "2", "--method", method, "--tol", "0.01", "--span", "-60:")
    code = main(["tokens", "--model", "demo-qwen", "--prompt", PROMPT, *flags, "--out", str(out)])
    assert code == 0
    assert "σ of 60 of 60 tokens within 1e-02·σ₁" in capsys.readouterr().out
    tensors, summary = load_file(out / "result.safetensors"), json.loads((out / "result.json").read_text())
    shapes = {"token_s": (60, 2), "token_U": (60, 2, 128), "token_V": (60, 2, 128), "token_errors": (60, 2)}
    assert {name: tensors[name].shape for name in shapes} == shapes
    assert [token["position"] for token in summary["per_token"]] == list(range(377, 437))
    largest = max(summary["per_token"], key=lambda token: token["s"][0])
    assert largest["text"].strip() == "France"


def test_bad_parts_cost_no_loading(tmp_path: Path, capsys):
    """One sentence and exit 2; nothing written."""
    from jaxlin.commands.main import main

    prompt = ("--model", "demo-qwen", "--prompt", "The capital of France is", "--out", str(tmp_path / "out"))
    for flags, said in (
        (("--span", "9:4"), "empty or reversed"),
        (("--span", "1:", "--skip-first", "2"), "give one of them"),
        (("--position", "99"), "output position 99 is outside the prompt"),
        (("--target", "Paris"), "--target takes logits:"),
        (("--target", 'logits:" Paris is"'), "is 2 tokens"),
        (("--tol", "0"), "choose one from there to 1"),
        (("--tol", "1e-9"), "can be held to 4.8e-07"),
        (("--span", "2:4", "-k", "200"), "choose 1 ≤ k ≤ 128"),
    ):
        assert main(["svd", *prompt, *flags]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert said in error, error
    assert list(tmp_path.iterdir()) == []
