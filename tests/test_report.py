"""The report: what it shows is what was saved, whatever the prompt; used in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxlin
from jaxlin.commands.main import main
from jaxlin.results import store
from jaxlin.results.contributions import contributions_of
from jaxlin.results.page.report import report
from jaxlin.results.plain import as_plain
from jaxlin.results.spelling import file_name, file_names

HOSTILE = ["<script>", "window", ".hacked=1", "</script>", " &amp;", " \u2028", ' "x"', "\n", "=end"]
K, D = 3, 4
SAVED = Path(__file__).parent / "saved_results"


def energy(captured: float = 0.75) -> dict[str, float]:
    return {"captured": captured, "error": 0.01}


def certificate(*, holds: bool = True) -> dict[str, Any]:
    checks = [
        {"name": "adjoint", "value": 1e-8, "limit": 1e-5, "meaning": "each other's transpose", "holds": True},
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


def scored(*texts: str) -> list[dict[str, Any]]:
    return [{"id": i, "text": text, "score": 2.0 - i} for i, text in enumerate(texts)]


def saved_svd(
    folder: Path, texts: list[str], k: int = K, *, holds: bool = True, model: str = "<b>model</b>"
) -> Path:
    """A result as ``jaxlin svd`` writes it, of random numbers; the last direction contributes most."""
    rng = np.random.default_rng(0)
    arrays = {
        "V": rng.normal(size=(k, len(texts), D)), "U": rng.normal(size=(k, D)), "s": np.arange(k, 0, -1.0),
        "residuals": np.full(k, 1e-5), "embeddings": rng.normal(size=(len(texts), D)),
        "output": rng.normal(size=D), "offset": np.zeros(D), "positions": np.arange(len(texts)),
        "token_ids": np.arange(len(texts)),
    }  # fmt: skip
    along = np.einsum("ktd,td->k", arrays["V"], arrays["embeddings"])
    images = arrays["s"][:, None] * arrays["U"]
    rows = rng.normal(size=(2, D))
    if k <= D:
        rows[0] = np.linalg.pinv(images * along[:, None]) @ np.arange(1, k + 1)
    split = contributions_of(arrays["V"], arrays["embeddings"], images, arrays["output"], np.zeros(D), rows)
    tokens = [
        {"id": i, "text": text, "probability": 0.9 - 0.8 * i, "logit": 1.0, "centred": 1.0}
        for i, text in enumerate((" <i>Gate", " Bay"))
    ]
    summary = {
        "verb": "svd", "prediction": {"tokens": tokens}, "model": model, "token_texts": texts,
        "tokens": len(texts), "target": None, "span": None, "position": len(texts) - 1, "dtype": "float32",
        "precision": "float32", "seed": 0, "policy": "detached", "method": "lanczos", "k": k,
        "tolerance": 1e-4, "passes": 9, "seconds": 0.1, "shape": [D, len(texts) * D],
        "peak_bytes": 1, "device": "cpu", "versions": {},
        "certificate": certificate(holds=holds), "contributions": as_plain(split),
        "triplets": [
            {
                "s": float(k - i), "residual": 1e-5, "converged": True,
                "outputs": scored(f" word{i}", "@next"), "inputs": [], "against": scored(f" other{i}"),
            }
            for i in range(k)
        ],
    }  # fmt: skip
    return jaxlin.read(written(folder, arrays, summary)).save(folder, overwrite=True)


def embedded(html: str) -> list[dict[str, Any]]:
    """What the page's script reads."""
    return json.loads(re.search(r'id="views">(.*?)</script>', html, re.DOTALL).group(1))


def whole(html: str) -> list[dict[str, Any] | None]:
    """The results in the page, for their download."""
    saved = json.loads(re.search(r"const saved = (.*);$", html, re.MULTILINE).group(1))
    return [None if text is None else json.loads(zlib.decompress(base64.b64decode(text))) for text in saved]


def in_file(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def weights_of(folder: Path) -> np.ndarray:
    return np.linalg.norm(store.read(folder)[0]["V"], axis=-1)


def shares_of(folder: Path) -> np.ndarray:
    """What every position contributes to the predicted token's logit along every direction."""
    arrays, summary = store.read(folder)
    along = np.einsum("ktd,td->kt", arrays["V"], arrays["embeddings"])
    logits = [part["logits"][0] for part in summary["contributions"]["directions"]]
    return along * (np.array(logits) / along.sum(1))[:, None]


def test_prompts_are_shown_and_never_run(tmp_path: Path):
    html = report([saved_svd(tmp_path / "<i>name</i>", HOSTILE)])
    (view,) = embedded(html)
    assert [text for _, text in view["tokens"]] == HOSTILE
    assert html.count("<script") == html.count("</script>") == 2
    assert not re.search("<i>(name|Gate)|<b>model", html)
    assert "&lt;b&gt;model" in html
    assert re.findall(r"(?:src|href)=\"(?!#|data:,)", html) == []  # nothing is fetched


def test_numbers_are_those_that_were_saved(tmp_path: Path):
    folder = saved_svd(tmp_path / "svd", ["a", " b", " c"])
    (view,) = embedded(report([folder]))
    wanted = {"contribution": shares_of(folder), "weight": weights_of(folder)}
    table = {row["number"]: row for row in view["directions"]["rows"]}
    for i, shade in enumerate(view["shades"]):
        for measure in shade["measures"]:
            np.testing.assert_allclose(measure["values"], wanted[measure["name"]][i], rtol=5e-3, atol=1e-9)
        assert shade["outputs"] == [[f" word{i}", 2.0], ["@next", 1.0]]
        # The tokens of a direction sum to what the table says of it.
        total = table[i + 1]["figures"][1]["value"]
        assert sum(shade["measures"][0]["values"]) == pytest.approx(total, rel=2e-2, abs=1e-9)
    strongest = [place["position"] for place in table[3]["from"]]
    np.testing.assert_array_equal(strongest, np.argsort(-np.abs(wanted["contribution"][2])))
    assert view["charts"][0]["series"][0]["values"] == [3, 2, 1]
    assert "75.0% ± 1.0%" in view["charts"][0]["note"]
    assert view["first"] == {"direction": "3"}  # which contributes most


def test_the_badge_says_whether_the_certificate_holds_and_why(tmp_path: Path):
    good, bad = (report(saved_svd(tmp_path / str(holds), ["a"], holds=holds)) for holds in (True, False))
    for html, badge in ((good, "good"), (bad, "bad")):
        (opening,) = re.findall(r'<details class="badge (.*?)>', html)
        assert opening.split('"')[0] == badge
        assert ("open" in opening) is (badge == "bad")  # why it fails is seen at once
        assert "each other&#39;s transpose" in html
    assert "certificate does not hold" in bad
    assert "3.0e-01 exceeds 1e-05" in bad
    assert "does not hold" not in good


def test_a_page_names_files_and_not_where_they_lie(tmp_path: Path):
    folder = saved_svd(tmp_path / "svd", ["a"], model="/home/somebody/models/small.gguf")
    html = report(folder)
    assert "somebody" not in html
    assert "jaxlin.load(&#39;small.gguf&#39;" in html
    assert whole(html) == [in_file(folder) | {"model": "small.gguf"}]
    shown = {
        "org/name@abc": "org/name@abc", "demo-llama": "demo-llama", "./a/b": "b", "C:\\x\\b": "b",
        "a/b/c/": "c", "/": "/",
    }  # fmt: skip
    assert {name: file_name(name) for name in shown} == shown
    assert file_names(["/a/x", "/b/x", "org/x"]) == {"/a/x": "a/x", "/b/x": "b/x", "org/x": "org/x"}


def test_long_prompts_stay_under_three_megabytes(tmp_path: Path):
    tokens = 32768
    folder = saved_svd(tmp_path / "long", [f" token{i}" for i in range(tokens)], k=16)
    html = report([folder])
    assert len(html.encode()) < 3_000_000
    (view,) = embedded(html)
    assert len(view["tokens"]) == tokens
    assert len(view["shades"]) >= 4
    assert len(view["directions"]["rows"]) == 16  # all of them
    assert f"{len(view['shades'])} of 16 directions shade the prompt here" in html
    assert whole(html) == [in_file(folder)]


@pytest.mark.parametrize("kind", ["tokens", "layers", "attribute"])
def test_long_results_of_every_kind_stay_under_three_megabytes(kind: str, monkeypatch: pytest.MonkeyPatch):
    """As if a saved one had 32,768 tokens. Their summary takes long to make, and has no room in the page."""
    result: Any = jaxlin.read(SAVED / kind)
    monkeypatch.setattr(type(result), "summary", lambda self: {"verb": kind, "long": "x" * 30_000_000})
    count = 32768
    everywhere = tuple(range(count))
    texts = tuple(f" token{i}" for i in everywhere)
    labels = replace(result.labels, ids=everywhere, positions=everywhere, texts=texts)

    def longer(values: Any, axis: int) -> np.ndarray:
        return np.take(values, np.arange(count) % values.shape[axis], axis)

    if kind == "tokens":
        fields = {name: longer(getattr(result, name), 0) for name in ("s", "errors", "norms")}
        result = replace(result, **fields, decoded=(result.outputs * count)[:count], labels=labels)
    elif kind == "layers":
        parts = {
            name: tuple(
                replace(each, **{of: longer(getattr(each, of), 1) for of in ("weights", "contributions")})
                for each in part
            )
            for name, part in result.parts.items()
        }
        result = replace(result, parts=parts, labels=labels)
    else:
        along = [None if split.directions is None else longer(split.directions, 1) for split in result.splits]
        splits = [
            replace(split, tokens=longer(split.tokens, 0), directions=each)
            for split, each in zip(result.splits, along, strict=True)
        ]
        result = replace(result, splits=tuple(splits), labels=labels)
    html = report(result)
    assert len(html.encode()) < 3_000_000
    assert whole(html) == [None]
    (view,) = embedded(html)
    assert len(view["tokens"]) == count
    cells = [cell for grid in view["grid"] or [] for row in grid["rows"] for cell in row["cells"]]
    assert view["shades"] or any("shares" in cell for cell in cells)


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
    contexts = []

    def open_page(folders: list[Path], width: int = 1280, scheme: str = "light", chosen: str = "") -> Any:
        path = tmp_path / "report.html"
        path.write_text(report(folders))
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        context.set_default_timeout(120_000)  # on a machine that does much else
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.goto(path.as_uri() + chosen)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [line for line in said if not re.match("(data|file|blob):", line)] == []


def strongest(page: Any) -> list[float]:
    """The figures of the strongest token, below the prompt."""
    cells = page.locator(".detail tbody tr").first.locator("td.figure")
    return [float(text) for text in cells.all_inner_texts()]


def chosen(page: Any) -> list[str]:
    return page.locator("[role=radio][aria-checked=true]").all_inner_texts()


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def test_directions_are_chosen_by_click_and_by_keyboard(opened: Any, tmp_path: Path):
    folder = saved_svd(tmp_path / "svd", HOSTILE)
    weights, shares = weights_of(folder), shares_of(folder)
    page = opened([folder])
    assert page.evaluate("window.hacked") is None
    assert page.locator(".tokens").inner_text().startswith("<script>window.hacked=1</script> &amp;")

    def check(i: int) -> None:
        assert page.locator(".detail .word bdi").first.inner_text() == f"▁word{i}"
        most = int(np.abs(shares[i]).argmax())
        assert strongest(page) == [rounded(shares[i, most]), rounded(weights[i, most])]
        assert chosen(page) == [str(i + 1), "contribution"]

    check(2)  # which contributes most
    page.get_by_role("radio", name="direction 1").click()
    check(0)
    page.locator(".directions tbody tr").nth(1).locator("td").first.click()
    check(1)
    page.get_by_role("radio", name="direction 2").focus()
    page.keyboard.press("ArrowDown")
    check(2)
    page.keyboard.press("ArrowRight")
    check(0)
    page.locator(".tokens").focus()
    page.keyboard.press("3")
    check(2)
    page.get_by_role("radio", name="weight").click()
    assert strongest(page)[1] == rounded(weights[2].max())
    page.locator(".tokens span").nth(1).click()
    assert f"weight {rounded(weights[2][1]):g}" in page.locator(".pin").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".pin").count() == 0


def test_shades_have_signs_and_numbers_are_seen_without_a_pointer(opened: Any, tmp_path: Path):
    folder = saved_svd(tmp_path / "svd", HOSTILE)
    shares = shares_of(folder)[2]
    page = opened([folder])
    spans = "[...document.querySelectorAll('.tokens span')]"
    colours = page.evaluate(f"{spans}.map(span => getComputedStyle(span).backgroundColor)")
    shades = [[float(part) for part in re.findall(r"[\d.]+", colour)] for colour in colours]
    alphas = [shade[3] if len(shade) > 3 else 1.0 for shade in shades]
    assert int(np.argmax(alphas)) == int(np.abs(shares).argmax())
    for (red, _, blue, *_), alpha, share in zip(shades, alphas, shares, strict=True):
        assert alpha == 0 or (red > blue) == (share > 0)
    said = page.evaluate(f"{spans}.map(span => getComputedStyle(span, '::after').content)")
    best = np.argsort(-np.abs(shares))[:5]
    assert {i for i, text in enumerate(said) if text != "none"} == set(best.tolist())
    assert float(said[best[0]].strip('"')) == rounded(shares[best[0]])
    text = page.locator("main").inner_text()
    words = ("▁<i>Gate", "90 %", "certificate holds", "▁word1", "@next", "▁other1", "of ‖y‖²", "to ▁Bay")
    assert [word for word in words if word not in text] == []
    assert text.index("90 %") < text.index("certificate") < text.index("Directions") < text.index("Prompt")


def test_a_badge_opens_and_a_chart_is_read_by_keyboard(opened: Any, tmp_path: Path):
    page = opened([saved_svd(tmp_path / "svd", HOSTILE)])
    badge = page.locator(".badge")
    assert not badge.locator("table").is_visible()
    badge.locator("summary").focus()
    page.keyboard.press("Enter")
    assert "each other's transpose" in badge.inner_text()
    assert page.locator(".chart text").all_text_contents().count("3") >= 2  # below the axis, and at the point
    page.locator(".chart svg").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".chart .read").inner_text() == "number 2: σ 2"


def test_the_address_keeps_what_is_chosen(opened: Any, tmp_path: Path):
    folders = [saved_svd(tmp_path / name, HOSTILE) for name in ("one", "two")]
    page = opened(folders, chosen="#direction=2&token=4&direction.2=1&by.2=weight")

    def hashed() -> str:
        return page.evaluate("location.hash")

    first, second = (page.locator("article").nth(i) for i in range(2))
    assert chosen(first) == ["2", "contribution"]
    assert "token 4" in first.locator(".pin").inner_text()
    assert chosen(second) == ["1", "weight"]
    second.get_by_role("radio", name="direction 3").click()
    assert hashed() == "#direction=2&token=4&direction.2=3&by.2=weight"
    first.get_by_role("radio", name="direction 1").click()
    page.go_back()
    assert chosen(first) == ["2", "contribution"]
    assert chosen(second) == ["3", "weight"]
    page.go_back()
    assert chosen(second) == ["1", "weight"]
    page.go_forward()
    page.go_forward()
    assert hashed() == "#direction=1&token=4&direction.2=3&by.2=weight"
    page.reload()
    assert (chosen(first), chosen(second)) == (["1", "contribution"], ["3", "weight"])
    page.locator("nav a").last.click()
    assert hashed() == "#direction=1&token=4&direction.2=3&by.2=weight"
    assert -1 <= second.bounding_box()["y"] < 300
    page.evaluate("location.hash = '#direction=99&token=x&=&%=1&by=nothing'")
    page.wait_for_function("document.querySelectorAll('.pin').length === 0")
    assert chosen(first) == ["3", "contribution"]  # what is seen first, where there is no such choice


def saved_as(page: Any, part: str, name: str) -> bytes:
    with page.expect_download() as download:
        page.locator(part).get_by_role("button", name=name).click()
    return Path(download.value.path()).read_bytes()


def test_everything_is_copied_and_saved(opened: Any, tmp_path: Path):
    folder = saved_svd(tmp_path / "svd", HOSTILE)
    weights, shares = weights_of(folder), shares_of(folder)
    page = opened([folder])
    assert saved_as(page, ".head", "save result") == (folder / "result.json").read_bytes()
    made = saved_as(page, ".directions", "save directions as CSV").decode()
    rows = list(csv.DictReader(io.StringIO(made)))
    assert [row["direction"] for row in rows] == ["1", "2", "3"]
    assert [float(row["sigma"]) for row in rows] == [3, 2, 1]
    totals = [float(row["to ▁<i>Gate"]) for row in rows]
    np.testing.assert_allclose(totals, shares.sum(1), rtol=1e-5, atol=1e-12)
    assert rows[1]["writes"] == "▁word1 2  @next 1"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".directions").get_by_role("button", name="copy").click()
    page.wait_for_function("document.querySelector('.said').textContent.startsWith('copied')")
    assert page.evaluate("navigator.clipboard.readText()").splitlines() == made.splitlines()
    prompt = saved_as(page, ".prompt", "save prompt as CSV").decode()
    rows = list(csv.reader(io.StringIO(prompt, newline="")))
    assert rows[-1][:2] == [str(len(HOSTILE) - 1), "'=end"]  # no spreadsheet computes it
    numbers = np.array([[float(each) for each in row[2:]] for row in rows[1:]])
    np.testing.assert_allclose(numbers[:, ::2], shares.T, rtol=5e-3, atol=1e-9)
    np.testing.assert_allclose(numbers[:, 1::2], weights.T, rtol=5e-3)
    for part, name in ((".chart", "save Spectrum as PNG"), (".prompt", "save prompt as PNG")):
        picture = saved_as(page, part, name)
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(picture[16:20], "big") >= 1200  # pixels across
        address = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        assert page.evaluate(COLOURS, address) > 20, f"{name} shows nothing"


#: How many colours there are in a picture.
COLOURS = """async (address) => {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return new Set(new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer)).size;
}"""


def test_a_long_prompt_is_found_one_s_way_in(opened: Any, tmp_path: Path):
    """By the strip above it and by the list below it, both of which lead to the token."""
    texts = [f" token{i}" for i in range(8192)]
    folder = saved_svd(tmp_path / "long", texts)
    sizes = np.abs(shares_of(folder)[2])
    page = opened([folder])

    def pinned_in_sight() -> str:
        pinned = page.locator(".tokens .pinned")
        box, token = page.locator(".tokens").bounding_box(), pinned.bounding_box()
        assert box["y"] <= token["y"] <= box["y"] + box["height"]
        return pinned.inner_text()

    marks = page.locator(".strip i")
    assert marks.count() == 293  # of 28 tokens each
    marks.nth(100).click()
    best = 2800 + int(sizes[2800:2828].argmax())
    assert pinned_in_sight() == texts[best]
    assert f"token {best}" in page.locator(".pin").inner_text()
    page.locator(".detail tbody button").nth(1).click()
    assert pinned_in_sight() == texts[int(np.argsort(-sizes)[1])]
    short = opened([saved_svd(tmp_path / "short", ["a", " b"])])
    assert short.locator(".strip i").count() == 0


def luminance(colour: str) -> float:
    """How light a colour is, as WCAG has it."""
    parts = np.array([int(part) / 255 for part in re.findall(r"\d+", colour)[:3]])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways_and_both_themes_are_read(
    opened: Any, tmp_path: Path, scheme: str
):
    page = opened([saved_svd(tmp_path / "svd", [f" token{i}" for i in range(500)])], 390, scheme)
    page.locator(".badge summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    colours = page.evaluate(
        "['body', 'h2 small', '.badge summary', '.take button', '.word small', '.chart text'].map((name) => {"
        "  const style = getComputedStyle(document.querySelector(name));"
        "  return name === '.chart text' ? style.fill : style.color; })"
    )
    paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (luminance(colours[0]) > paper) == (scheme == "dark")
    for ink in colours:
        light, dark = sorted((luminance(ink), paper), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_it_prints_on_paper(opened: Any, tmp_path: Path):
    page = opened([saved_svd(tmp_path / "svd", [f" token{i}" for i in range(2000)])], scheme="dark")
    assert page.locator(".tokens").evaluate("box => box.scrollHeight > box.clientHeight")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".badge table").is_visible()
    assert page.locator(".tokens").evaluate("box => box.scrollHeight <= box.clientHeight")
    assert not page.locator(".take").first.is_visible()
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 1
    assert luminance(page.evaluate("getComputedStyle(document.body).color")) < 0.05
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator(".badge table").is_visible()


@pytest.mark.demos
def test_layers_pin_by_click_and_every_verb_is_shown(opened: Any, tmp_path: Path):
    ask = ("--model", "demo-qwen", "--prompt", "The capital of France is")
    runs = {
        "layers": ["layers", *ask, "-k", "2", "--parts", "cumulative,mlp"],
        "tokens": ["tokens", *ask, "-k", "2"],
        "attribute": ["attribute", *ask, "-k", "2", "--by-token"],
        "compare": ["compare", *ask, "--policies", "detached,half", "-k", "2"],
        "steer": ["steer", *ask, "--concept", "Japan", "--tokens", "3"],
    }
    for name, command in runs.items():
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    page = opened([tmp_path / name for name in runs])
    articles = {name: page.locator("article").nth(i) for i, name in enumerate(runs)}
    for name in set(runs) - {"steer"}:
        assert "▁Paris" in articles[name].locator(".prediction li").first.inner_text()
        assert "holds" in articles[name].locator(".badge summary").first.inner_text()
    layers, summary = articles["layers"], in_file(tmp_path / "layers")
    for part, layer, direction in (("cumulative", 1, 1), ("mlp", 3, 0)):
        grid = layers.locator(".grid", has_text=f"{part}:")
        grid.locator("tbody tr").nth(layer).locator("td.cell").nth(direction).click()
        triplet = summary["parts"][part][layer]["triplets"][direction]
        detail = layers.locator(".detail").inner_text()
        assert triplet["outputs"][0]["text"].strip() in detail
        assert f"σ {rounded(triplet['s']):g}" in detail
        assert layers.locator("td.cell[aria-selected=true]").count() == 1
    assert page.evaluate("location.hash") == "#part=mlp&layer=3&direction=1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#part=mlp&layer=2&direction=1"
    ticks = layers.locator(".chart text[text-anchor=middle]").all_text_contents()
    assert ticks[:5] == ["0", "1", "2", "3", "4"]
    text = page.locator("main").inner_text()
    assert re.search('logits:" Paris"-" ?[A-Z][a-z]+" = ', text)  # the two that are predicted most
    assert "layer 4 MLP" in text
    attribute = articles["attribute"]
    shares = [token["contribution"] for token in in_file(tmp_path / "attribute")["per_token"]]
    bar = attribute.locator(".bars tr").first
    assert bar.locator("td").first.inner_text() == f"{max(shares, key=abs):+.3g}"
    assert bar.locator("i").bounding_box()["width"] > 20
    assert attribute.locator(".signed td").count() == 25
    attribute.locator(".signed td button").nth(3).click()
    assert page.evaluate("location.hash").endswith("layer.3=0&branch.3=head-3")
    assert "Frobenius" not in text  # until it is chosen
    articles["tokens"].get_by_role("radio").last.click()
    assert "Frobenius norm of each J_t" in page.locator("main").inner_text()
