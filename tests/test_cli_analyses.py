"""The verbs beside svd and tokens from end to end, on an embedded checkpoint; pictures; bad requests."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import check_pytree
from safetensors.numpy import load_file

import jaxlin
from jaxlin.commands.main import main

pytestmark = pytest.mark.demos

PROMPT = "If you want to see the capital of France, go to"
ASK = ("--model", "demo-qwen", "--prompt", PROMPT)


def result(out: Path) -> tuple[dict, dict]:
    return load_file(out / "result.safetensors"), json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def qwen():
    return jaxlin.load("demo-qwen")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("analyses")


@pytest.fixture(scope="module")
def layers_result(place: Path) -> Path:
    flags = ("--parts", "cumulative,mlp", "--layers", "0,-1", "-k", "3", "--seed", "2")
    assert main(["layers", *ASK, *flags, "--out", str(place / "layers")]) == 0
    return place / "layers"


@pytest.fixture(scope="module")
def attribute_result(place: Path) -> Path:
    assert main(["attribute", *ASK, "-k", "2", "--out", str(place / "attribute")]) == 0
    return place / "attribute"


@pytest.fixture(scope="module")
def compare_result(place: Path) -> Path:
    flags = ("--policies", "detached,half", "-k", "3", "--out", str(place / "compare"))
    assert main(["compare", *ASK, *flags]) == 0
    return place / "compare"


@pytest.fixture(scope="module")
def svd_result(place: Path) -> Path:
    assert main(["svd", *ASK, "-k", "3", "--norms", "2", "--out", str(place / "svd")]) == 0
    return place / "svd"


def test_layers_on_disk_are_the_librarys(qwen, layers_result: Path):
    tensors, summary = result(layers_result)
    found = jaxlin.layers(qwen.record(PROMPT), 3, parts=("cumulative", "mlp"), at=[0, 4], seed=2)
    assert tensors["layers"].tolist() == summary["layers"] == [0, 4]
    for part, each in found.parts.items():
        for i, one in enumerate(each):
            np.testing.assert_allclose(tensors[f"{part}_s"][i], one.s, rtol=1e-5)
            ranks = summary["parts"][part][i]["stable_rank"], one.dimensions.stable_rank
            assert ranks[0] == pytest.approx(ranks[1], rel=1e-4)
    assert summary["normed"] is True
    assert tensors["cumulative_path"].shape == (2, 3, 3)
    assert "mlp_path" not in tensors
    last = summary["parts"]["cumulative"][1]["triplets"][0]["outputs"]
    assert last[0]["text"].strip() == "Paris"


def test_attribution_on_disk_sums_to_the_logit(qwen, attribute_result: Path):
    tensors, summary = result(attribute_result)
    operator = qwen.jacobian(PROMPT)
    logits = np.asarray(qwen.logits(operator.y))
    rival, best = np.argsort(logits)[-2:]
    names = [json.dumps(qwen.token_text(int(token)), ensure_ascii=False) for token in (best, rival)]
    assert summary["target"] == f"logits:{names[0]}-{names[1]}"
    assert "most likely" in summary["chosen_by"]
    assert summary["value"] == pytest.approx(float(logits[best] - logits[rival]), rel=1e-4)
    assert tensors["token_contributions"].sum() == pytest.approx(summary["value"], rel=1e-4)
    branches = tensors["branch_contributions"].sum() + summary["embedding"]
    assert branches == pytest.approx(summary["value"], rel=1e-4)
    largest = max(summary["per_token"], key=lambda token: token["contribution"])
    assert largest["text"].strip() == "France"
    shares = [direction["contribution"] for direction in summary["per_direction"]]
    np.testing.assert_allclose(tensors["direction_contributions"].sum(1), shares, rtol=1e-5)


def test_a_difference_of_logits_with_its_directions(qwen, place: Path, capsys):
    out = place / "difference"
    target = 'logits:" Paris"-" Rome"'
    assert main(["attribute", *ASK, "--target", target, "-k", "2", "--out", str(out)]) == 0
    logits = np.asarray(qwen.logits(qwen.jacobian(PROMPT).y))
    expected = logits[qwen.token_id(" Paris")] - logits[qwen.token_id(" Rome")]
    tensors, summary = result(out)
    assert summary["value"] == pytest.approx(float(expected), rel=1e-4)
    assert tensors["token_contributions"].sum() == pytest.approx(float(expected), rel=1e-4)
    assert f"{target} = " in capsys.readouterr().out


def test_policies_on_disk(compare_result: Path):
    tensors, summary = result(compare_result)
    assert list(summary["maps"]) == ["detached", "half"]
    for name, one in summary["maps"].items():
        np.testing.assert_allclose(tensors[f"{name}_reconstructed"], tensors["output"], rtol=1e-3, atol=1e-4)
        assert one["reconstruction"] < 1e-5
        assert one["certificate"]["holds"]
    assert max(summary["maps"]["detached"]["left_angles"]) < 1e-3
    assert max(summary["maps"]["half"]["left_angles"]) > 0.1


def test_models_side_by_side(place: Path, capsys):
    out = place / "models"
    names = "demo-llama,demo-qwen"
    assert main(["compare", "--models", names, "--prompt", PROMPT, "-k", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    tensors, summary = result(out)
    assert list(summary["models"]) == names.split(",")
    for name, one in summary["models"].items():
        assert name in printed
        count = len(one["layers"])
        assert tensors[f"{name}_cumulative_s"].shape == (count, 2)
        operator = jaxlin.load(name).jacobian(PROMPT)
        s = np.linalg.svd(np.asarray(operator.dense()).reshape(operator.shape), compute_uv=False)
        np.testing.assert_allclose(tensors[f"{name}_cumulative_s"][-1], s[:2], rtol=1e-4)
        rank = one["parts"]["cumulative"][-1]["stable_rank"]
        assert rank == pytest.approx((s**2).sum() / s[0] ** 2, rel=1e-3)


def test_norms_on_disk(qwen, svd_result: Path):
    tensors, summary = result(svd_result)
    dense = np.asarray(qwen.jacobian(PROMPT).dense())
    np.testing.assert_allclose(tensors["row_norms"], np.sqrt((dense**2).sum((1, 2))), rtol=1e-4)
    np.testing.assert_allclose(tensors["column_norms"], np.sqrt((dense**2).sum(0)), rtol=1e-4, atol=1e-5)
    assert len(summary["largest_rows"]) == len(summary["largest_columns"]) == 2


def test_steering_on_disk(qwen, place: Path, capsys):
    out = place / "steer"
    flags = ("--layer", "1", "--strength", "3", "--tokens", "5", "--rank", "4", "--out", str(out))
    assert main(["steer", *ASK, "--concept", "The capital of Japan is", *flags]) == 0
    tensors, summary = result(out)
    assert tensors["strengths"].tolist() == [0, 3]
    assert tensors["continuations"].shape == (2, 5)
    assert tensors["continuations"][0].tolist() == qwen.generate(PROMPT, 5)
    assert summary["continuations"][0]["text"].strip().startswith("Paris")
    assert summary["certificate"]["holds"] is True
    operator = qwen.record("The capital of Japan is").stretch(0, 1, normed=False)
    s = np.linalg.svd(np.asarray(operator.dense()).reshape(operator.shape), compute_uv=False)
    np.testing.assert_allclose(tensors["s"], s[:4], rtol=1e-4)
    assert "rank 4 of the map" in capsys.readouterr().out


def test_pictures_and_the_numbers_in_them(
    place: Path, svd_result: Path, layers_result: Path, attribute_result: Path, compare_result: Path
):
    expected = {
        svd_result: {"spectrum", "rank", "directions"},
        layers_result: {"stable_rank", "largest_sigma", "spectra_cumulative", "spectra_mlp", "path"},
        attribute_result: {"over_tokens", "over_layers", "over_heads"},
        compare_result: {"reconstruction", "spectra", "angles"},
    }
    for folder, names in expected.items():
        out = place / f"{folder.name}-pictures"
        assert main(["plot", str(folder), "--out", str(out), "--format", "png", "svg"]) == 0
        endings = {"png", "svg", "csv"}
        assert {path.name for path in out.iterdir()} == {f"{name}.{end}" for name in names for end in endings}
        assert all((out / f"{name}.png").read_bytes()[:4] == b"\x89PNG" for name in names)
    with (place / "svd-pictures" / "spectrum.csv").open() as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["s"]) for row in rows], result(svd_result)[0]["s"], rtol=1e-6)
    with (place / "attribute-pictures" / "over_tokens.csv").open() as file:
        shares = [float(row["contribution"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(shares, result(attribute_result)[0]["token_contributions"], rtol=1e-6)
    # Three directions of many cannot give back everything, and the picture says by how much they miss.
    with (place / "svd-pictures" / "rank.csv").open() as file:
        rows = list(csv.DictReader(file))
    y, rebuilt = (np.array([float(row[key]) for row in rows]) for key in ("y", "of 3 directions"))
    tensors, _ = result(svd_result)
    onto = tensors["U"].T @ (tensors["U"] @ tensors["output"])
    np.testing.assert_allclose(y, tensors["output"], rtol=1e-6)
    np.testing.assert_allclose(rebuilt, onto, atol=1e-3)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["layers", *ASK, "--parts", "cumulative,heads"], "unknown part 'heads'"),
        (["layers", *ASK, "--layers", "9"], "there is no layer 9: choose from 0 to 4"),
        (["layers", *ASK, "--layers", "3:1"], "is empty or reversed at 5 layers"),
        (["layers", *ASK, "--policy", "none"], "policy 'none' leaves nothing to record"),
        (["attribute", *ASK, "--target", 'logits:" Paris is"'], "is 2 tokens"),
        (["attribute", *ASK, "-k", "0"], "k is 0"),
        (["attribute", *ASK, "--tol", "0.1"], "--tol is for the singular directions"),
        (["compare", *ASK, "--policies", "half,none", "--policy", "half"], "leave --policy out"),
        (["compare", *ASK], "say what to compare"),
        (["compare", *ASK, "--models", "demo-llama,demo-qwen"], "--model goes with --policies"),
        (["compare", *ASK, "--policies", "detached"], "--policies takes two or more different names"),
        (["compare", *ASK, "--policies", "detached,frozen"], "unknown policy 'frozen'"),
        (["compare", "--prompt", "Hello", "--models", "demo-llama,demo-llama"], "--models takes two or more"),
        (["steer", *ASK, "--concept", ""], "the prompt is empty"),
        (["steer", *ASK, "--concept", "Japan", "--layer", "5"], "there is no layer 5"),
        (["steer", *ASK, "--concept", "Japan", "--rank", "0"], "--rank is 0"),
        (
            ["steer", *ASK, "--concept", "Japan", "--strength", "nan"],
            "--strength is nan: give a finite",
        ),
        (["steer", *ASK, "--concept", "Japan", "--strength", "1e308"], "--strength is 1e+308: give a number"),
        (
            ["steer", *ASK, "--concept", "Japan", "--temperature", "nan"],
            "--temperature is nan: give a finite",
        ),
        (
            ["steer", *ASK, "--concept", "Japan", "--temperature", "1e-300"],
            "the temperature is 1e-300: choose 0",
        ),
        (["steer", *ASK, "--concept", "Japan", "--tokens", "0"], "--tokens is 0"),
        (["svd", *ASK, "--norms", "-1"], "--norms is -1"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path: Path, capsys, command: list[str], said: str):
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert list(tmp_path.iterdir()) == []


def test_what_there_is(capsys):
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {row["name"]: row for row in found["names"]}
    assert names["demo-qwen"]["width"] == 128
    assert names["demo-qwen"]["weights"] == "embedded"
    assert names["gemma-3-4b"]["layers"] == 34
    assert "olmo2" in found["model_types"]
    assert main(["models"]) == 0
    assert "demo-qwen" in capsys.readouterr().out


def test_results_print_in_a_line(qwen):
    operator = qwen.jacobian(PROMPT)
    assert repr(operator) == "DetachedJacobian(128 × 1664, inputs [13, 128], float32)"
    result = jaxlin.svd(operator, 2)
    assert repr(result).startswith("SVDResult(predicts ▁Paris 99 %, k=2, σ 23.44 … 21.15, dense, ")
    assert repr(result).endswith("certificate holds)")
    check_pytree(result)
    check_pytree(jaxlin.tokens(operator, 1))
    check_pytree(operator.select(np.arange(3)))


def test_what_the_report_says_of_python_makes_the_result_again(
    svd_result: Path, layers_result: Path, attribute_result: Path
):
    for folder, same in (
        (svd_result, lambda found, saved: (found.s, saved["s"])),
        (layers_result, lambda found, saved: (found.parts["mlp"][1].s, saved["mlp_s"][1])),
        (attribute_result, lambda found, saved: (found.directions, saved["direction_contributions"])),
    ):
        tensors, summary = result(folder)
        code, namespace = jaxlin.read(folder).python(), {"prompt": PROMPT}
        exec(code, namespace)
        found, saved = same(namespace["result"], tensors)
        np.testing.assert_allclose(found, saved, rtol=1e-4, atol=1e-4)
        if folder == svd_result:
            assert f"tol={summary['tolerance']}" in code


def test_pictures_of_nothing(tmp_path: Path, capsys):
    assert main(["plot", str(tmp_path)]) == 2
    assert "holds no result" in capsys.readouterr().err
    (tmp_path / "result.json").write_text("{")
    assert main(["plot", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err
