"""The report: what it shows is what was saved, whatever the prompt; clicked through in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxlin.commands.main import main
from jaxlin.results import store
from jaxlin.results.page.report import report

HOSTILE = ["<script>", "window", ".hacked=1", "</script>", " &amp;", " \u2028", ' "x"', "\n", " end"]
K, D = 3, 4


def energy(captured: float = 0.75) -> dict[str, float]:
    return {"captured": captured, "error": 0.01}


def certificate(*, holds: bool = True) -> dict[str, Any]:
    checks = [
        {"name": "adjoint", "value": 1e-8, "limit": 1e-5, "meaning": "", "holds": True},
        {"name": "linearity", "value": 1e-7 if holds else 0.3, "limit": 1e-5, "meaning": "", "holds": holds},
    ]
    return {
        "tolerance": 1e-4, "worst_residual": 2e-5, "converged": K, "wanted": K,
        "checks": checks, "energy": energy(), "holds": holds,
    }  # fmt: skip


def written(folder: Path, arrays: dict[str, np.ndarray], summary: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    store.write(folder, arrays, summary)
    return folder


def saved_svd(folder: Path, texts: list[str], k: int = K, *, holds: bool = True) -> Path:
    """A result as ``jaxlin svd`` writes it, with random numbers in it."""
    rng = np.random.default_rng(0)
    arrays = {
        "V": rng.normal(size=(k, len(texts), D)), "U": rng.normal(size=(k, D)), "s": np.arange(k, 0, -1.0),
        "residuals": np.full(k, 1e-5), "embeddings": rng.normal(size=(len(texts), D)),
        "output": rng.normal(size=D), "offset": np.zeros(D), "positions": np.arange(len(texts)),
        "token_ids": np.arange(len(texts)),
    }  # fmt: skip
    outputs = [[{"id": 1, "text": f" word{i}", "score": 2.0}] for i in range(k)]
    summary = {
        "verb": "svd", "model": "<b>model</b>", "token_texts": texts, "tokens": len(texts), "target": None,
        "span": None, "position": len(texts) - 1, "dtype": "float32", "precision": "float32", "seed": 0,
        "policy": "detached", "method": "lanczos", "k": k, "tolerance": 1e-4, "passes": 9, "seconds": 0.1,
        "shape": [D, len(texts) * D], "certificate": certificate(holds=holds),
        "triplets": [
            {"s": float(k - i), "residual": 1e-5, "converged": True, "outputs": outputs[i], "inputs": []}
            for i in range(k)
        ],
    }  # fmt: skip
    return written(folder, arrays, summary)


def embedded(html: str) -> list[dict[str, Any]]:
    """What the page's script reads."""
    return json.loads(re.search(r'id="views">(.*?)</script>', html, re.DOTALL).group(1))


def test_prompts_are_shown_and_never_run(tmp_path: Path):
    html = report([saved_svd(tmp_path / "<i>name</i>", HOSTILE)])
    (view,) = embedded(html)
    assert [text for _, text in view["tokens"]] == HOSTILE
    assert html.count("<script") == html.count("</script>") == 2
    assert "<i>name" not in html
    assert "<b>model" not in html
    assert "&lt;b&gt;model" in html
    assert re.findall(r"(?:src|href)=\"(?!#|data:,)", html) == []  # nothing is fetched


def test_numbers_are_those_that_were_saved(tmp_path: Path):
    folder = saved_svd(tmp_path / "svd", ["a", " b", " c"])
    arrays, _ = store.read(folder)
    (view,) = embedded(report([folder]))
    weights = np.linalg.norm(arrays["V"], axis=-1)
    shares = arrays["s"][:, None] * np.einsum("ktd,td->kt", arrays["V"], arrays["embeddings"])
    for i, shade in enumerate(view["shades"]):
        np.testing.assert_allclose(shade["values"], weights[i], rtol=5e-3)
        np.testing.assert_allclose(shade["shares"], shares[i], rtol=5e-3)
        assert shade["outputs"] == [[f" word{i}", 2.0]]
    assert view["charts"][0]["series"][0]["values"] == [3, 2, 1]
    assert "75.0% ± 1.0%" in view["charts"][0]["note"]


def test_a_certificate_that_fails_is_red_and_says_why(tmp_path: Path):
    good, bad = (saved_svd(tmp_path / str(holds), ["a"], holds=holds) for holds in (True, False))
    html = report([bad])
    assert 'class="card bad"' in html
    assert "certificate FAILS" in html
    assert "3.0e-01 exceeds 1e-05" in html
    assert 'class="card bad"' not in report([good])


@pytest.mark.parametrize("tokens", [8192, 32768])
def test_long_prompts_stay_under_three_megabytes(tmp_path: Path, tokens: int):
    html = report([saved_svd(tmp_path / "long", [f" token{i}" for i in range(tokens)], k=16)])
    assert len(html.encode()) < 3_000_000
    (view,) = embedded(html)
    assert len(view["tokens"]) == tokens
    assert len(view["shades"]) >= 4


def test_files_are_whole_or_absent_and_not_replaced_unasked(tmp_path: Path, capsys):
    folder = saved_svd(tmp_path / "svd", ["a"])
    assert main(["report", str(folder)]) == 0
    page = tmp_path / "svd.html"
    assert page.read_text().startswith("<!doctype html>")
    assert main(["report", str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["report", str(folder), "--overwrite"]) == 0
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "holds no result" in capsys.readouterr().err
    strange = written(tmp_path / "strange", {"s": np.ones(1)}, {"verb": "dream"})
    assert main(["report", str(strange)]) == 2
    assert "cannot be shown" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["strange", "svd", "svd.html"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless."""
    path = shutil.which("chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    if path is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a report of some folders at a width, and sees to it that the console stays empty."""
    said: list[str] = []

    def open_page(folders: list[Path], width: int = 1280, scheme: str = "light") -> Any:
        path = tmp_path / "report.html"
        path.write_text(report(folders))
        page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if "file://" not in request.url else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    assert [line for line in said if not line.startswith("data:")] == []


def test_directions_are_chosen_by_click_and_by_keyboard(opened: Any, tmp_path: Path):
    folder = saved_svd(tmp_path / "svd", HOSTILE)
    arrays, _ = store.read(folder)
    weights = np.linalg.norm(arrays["V"], axis=-1)
    page = opened([folder])
    assert page.evaluate("window.hacked") is None
    assert page.locator(".tokens").inner_text().startswith("<script>window.hacked=1</script> &amp;")

    def shown() -> tuple[str, float]:
        page.wait_for_timeout(20)
        strongest = page.locator(".detail table tr").first.locator("td").nth(2).inner_text()
        return page.locator(".detail .word").first.inner_text(), float(strongest)

    def expected(i: int) -> tuple[str, float]:
        return f"▁word{i}", float(f"{weights[i].max():.3g}")

    assert shown() == expected(0)
    page.get_by_role("radio", name="direction 2").click()
    assert shown() == expected(1)
    page.keyboard.press("ArrowRight")
    assert shown() == expected(2)
    page.keyboard.press("ArrowRight")
    assert shown() == expected(0)
    page.locator(".tokens").focus()
    page.keyboard.press("3")
    assert shown() == expected(2)
    strongest = int(weights[2].argmax())
    colours = page.evaluate(
        "[...document.querySelectorAll('.tokens span')].map(span => getComputedStyle(span).backgroundColor)"
    )
    alphas = [float(colour.rstrip(")").replace("/", ",").split(",")[-1]) for colour in colours]
    assert int(np.argmax(alphas)) == strongest
    page.locator(".tokens span").nth(1).click()
    assert f"{float(f'{weights[2][1]:.3g}'):g}" in page.locator(".pin").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".pin").count() == 0


def test_a_long_prompt_is_found_one_s_way_in(opened: Any, tmp_path: Path):
    """By the strip above it and by the list below it, both of which lead to the token."""
    texts = [f" token{i}" for i in range(8192)]
    folder = saved_svd(tmp_path / "long", texts)
    weights = np.linalg.norm(store.read(folder)[0]["V"], axis=-1)[0]
    page = opened([folder])

    def pinned_in_sight() -> str:
        pinned = page.locator(".tokens .pinned")
        box, token = page.locator(".tokens").bounding_box(), pinned.bounding_box()
        assert box["y"] <= token["y"] <= box["y"] + box["height"]
        return pinned.inner_text()

    marks = page.locator(".strip i")
    assert marks.count() == 293  # of 28 tokens each
    marks.nth(100).click()
    best = 2800 + int(weights[2800:2828].argmax())
    assert pinned_in_sight() == texts[best]
    assert f"token {best}" in page.locator(".pin").inner_text()
    page.locator(".detail button").nth(1).click()
    assert pinned_in_sight() == texts[int(np.argsort(-weights)[1])]
    short = opened([saved_svd(tmp_path / "short", ["a", " b"])])
    assert short.locator(".strip i").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hangs_over_on_a_phone(opened: Any, tmp_path: Path, scheme: str):
    page = opened([saved_svd(tmp_path / "svd", [f" token{i}" for i in range(500)])], 390, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (brightness[0] > brightness[1]) == (scheme == "dark")


@pytest.mark.demos
def test_layers_pin_by_click_and_every_verb_is_shown(opened: Any, tmp_path: Path):
    ask = ("--model", "demo-qwen", "--prompt", "The capital of France is")
    runs = {
        "layers": ["layers", *ask, "-k", "2", "--parts", "cumulative,mlp"],
        "tokens": ["tokens", *ask, "-k", "2"],
        "attribute": ["attribute", *ask, "-k", "2"],
        "compare": ["compare", *ask, "--policies", "detached,half", "-k", "2"],
        "steer": ["steer", *ask, "--concept", "Japan", "--tokens", "3"],
    }
    for name, command in runs.items():
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    page = opened([tmp_path / name for name in runs])
    summary = json.loads((tmp_path / "layers" / "result.json").read_text())
    article = page.locator("article").first
    for part, layer, direction in (("cumulative", 1, 1), ("mlp", 3, 0)):
        grid = article.locator(".grid", has_text=f"{part}:")
        grid.locator("tbody tr").nth(layer).locator("td.cell").nth(direction).click()
        triplet = summary["parts"][part][layer]["triplets"][direction]
        detail = article.locator(".detail").inner_text()
        assert triplet["outputs"][0]["text"].strip() in detail
        assert f"σ {float(f'''{triplet['s']:.3g}'''):g}" in detail
        assert article.locator("td.cell[aria-selected=true]").count() == 1
    text = page.locator("main").inner_text()
    assert re.search('logits:" Paris"-" ?[A-Z][a-z]+" = ', text)  # the two that are predicted most
    assert "layer 4 MLP" in text
    assert page.locator("article").nth(2).locator(".signed td").count() == 25
    assert "Frobenius" not in text  # until it is chosen
    page.locator("article").nth(1).get_by_role("radio").last.click()
    assert "Frobenius norm of each J_t" in page.locator("main").inner_text()
