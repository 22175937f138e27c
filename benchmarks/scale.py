"""What a corpus takes: a million prompts of 400 tokens of Gemma 3 4B on 1, 8 and 64 H200s, worked out.

    python benchmarks/scale.py

Nothing of this was measured on a GPU. It is arithmetic on figures that are committed: the passes of a
measured solve (benchmarks/growth.json), the operations of a pass and the bytes that it reads, as compiled for
the card (benchmarks/gpu_compile.json), and assumptions, which stand in :class:`Assumed`. The table goes into
docs/scale.md, and the figures into benchmarks/scale.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jaxlin_models as models

from jaxlin.linear.energy import ENERGY_PASSES
from jaxlin.linear.fresh import Layout
from jaxlin.linear.operator import probes_at

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "scripts"))

from marked import markdown, put_between  # noqa: E402

DOCUMENT = ROOT / "docs" / "scale.md"
GROWTH, COMPILED = (ROOT / "benchmarks" / name for name in ("growth.json", "gpu_compile.json"))
FIGURES = ROOT / "benchmarks" / "scale.json"
CARDS = (1, 8, 64)
_GB, _TB = 1e9, 1e12


@dataclass(frozen=True)
class Assumed:
    """What is not known.

    Attributes:
        utilisation: share of the roofline that a pass reaches.
        beside: host seconds a prompt that nothing overlaps: tokens, the small SVDs, the read-out, files.
        disk: bytes a second that one shared file system takes from all machines together.
        index: rows a second that one process appends to an index.
    """

    utilisation: float = 0.5
    beside: float = 0.1
    disk: float = 2 * _GB
    index: float = 1000.0


@dataclass(frozen=True)
class Corpus:
    """The job: a published config, how many prompts of how many tokens, how many triplets, the card."""

    model: str = "gemma-3-4b"
    prompts: int = 10**6
    tokens: int = 400
    k: int = 32
    dtype: str = "bfloat16"
    card: str = "NVIDIA H200"


def main() -> None:
    """Work it out, write the figures and the page."""
    figures = worked_out(Corpus(), Assumed())
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8"), figures), encoding="utf-8")


def worked_out(corpus: Corpus, assumed: Assumed) -> dict[str, Any]:
    """All figures."""
    config = models.find_config(corpus.model)
    measured = measured_passes(corpus.k, corpus.tokens)
    most = probes_at(corpus.tokens)
    checking = Layout.of(corpus.k + 1 + ENERGY_PASSES, most).passes
    checking += Layout.of(corpus.k + 3, most, again=True).passes
    passes = measured["passes"] + checking
    a_pass = roofline(corpus)
    recording = a_pass * models.record_flops(config, corpus.tokens) / models.pass_flops(config, corpus.tokens)
    on_card = (passes * a_pass + recording) / assumed.utilisation
    width = corpus.k * config.embed_dim
    sizes = {
        "vectors": width * 4 * (corpus.tokens + 1),
        "bf16": width * (2 * corpus.tokens + 4),
        "norms": corpus.k * 4 * (corpus.tokens + config.embed_dim),
        "none": width * 4,
    }
    rows = []
    for cards in CARDS:
        seconds = (on_card + assumed.beside) / cards
        rows.append(
            {
                "cards": cards,
                "prompts_a_second": 1 / seconds,
                "hours": corpus.prompts * seconds / 3600,
                "written_a_second": {keep: size / seconds for keep, size in sizes.items()},
            }
        )
    limits = {
        "on_card_seconds": on_card,
        "cards_of_disk": {
            keep: assumed.disk / size * (on_card + assumed.beside) for keep, size in sizes.items()
        },
        "cards_of_index": assumed.index * (on_card + assumed.beside),
    }
    return {
        "corpus": asdict(corpus),
        "assumed": asdict(assumed),
        "passes": passes,
        "of_certificate": checking,
        "measured_at": measured,
        "roofline_seconds_a_pass": a_pass,
        "bytes_a_prompt": sizes,
        "rows": rows,
        **limits,
    }


def measured_passes(k: int, tokens: int) -> dict[str, int]:
    """The measured solve of this k whose prompt is nearest in length: its tokens and passes."""
    rows = [row for row in json.loads(GROWTH.read_text(encoding="utf-8"))["rows"] if row["k"] == k]
    nearest = min(rows, key=lambda row: abs(row["tokens"] - tokens))
    return {"tokens": nearest["tokens"], "passes": nearest["passes"]}


def roofline(corpus: Corpus) -> float:
    """The least seconds of a pass: operations over the card's rate, or bytes over its bandwidth."""
    rows = json.loads(COMPILED.read_text(encoding="utf-8"))["rows"]
    for row in rows:
        known = (row["card"], row["model"], row["tokens"], row["dtype"], row["precision"], row["policy"])
        asked = (corpus.card, corpus.model, corpus.tokens, corpus.dtype, corpus.dtype, "detached")
        if known == asked:
            return max(row["arithmetic_seconds"], row["traffic_seconds"])
    raise SystemExit(f"{COMPILED.name} has no row of {corpus}: run make gpu-compile")


def rewritten(text: str, figures: dict[str, Any]) -> str:
    """The page with its table and its sentences of figures."""
    corpus, assumed = figures["corpus"], figures["assumed"]
    head = ["H200s", "passes", "prompts a second", "hours", "all vectors", "in bfloat16", "norms", "none"]
    total = figures["passes"] * corpus["prompts"]
    lines = [
        [
            str(row["cards"]),
            f"{total:.2g}",
            f"{row['prompts_a_second']:.1f}",
            f"{row['hours']:,.0f}",
            *(f"{rate / 1e6:,.1f} MB/s" for rate in row["written_a_second"].values()),
        ]
        for row in figures["rows"]
    ]
    sizes, limits = figures["bytes_a_prompt"], figures["cards_of_disk"]
    lines.append(
        [
            "bytes in all",
            "",
            "",
            "",
            *(f"{size * corpus['prompts'] / _TB:,.2f} TB" for size in sizes.values()),
        ]
    )
    words = (
        f"A prompt takes {figures['passes']} passes: {figures['measured_at']['passes']} of a measured solve "
        f"with k = {corpus['k']} at {figures['measured_at']['tokens']} tokens, and "
        f"{figures['of_certificate']} of its certificate. A pass takes at least "
        f"{1e3 * figures['roofline_seconds_a_pass']:.2f} ms on this card. With "
        f"{assumed['utilisation']:.0%} of that rate a prompt takes "
        f"{figures['on_card_seconds']:.2f} s on the card, and {assumed['beside']} s "
        f"beside it.\n\n{markdown(head, lines)}\n"
        f"A file system that takes {assumed['disk'] / _GB:.0f} GB a second is full at "
        f"{limits['vectors']:,.0f} cards with all vectors, {limits['bf16']:,.0f} with `--keep bf16`, "
        f"{limits['norms']:,.0f} with `--keep norms` and {limits['none']:,.0f} with `--keep none`. One index "
        f"that takes {assumed['index']:,.0f} rows a second serves {figures['cards_of_index']:,.0f} cards."
    )
    return put_between(text, "corpus", words)


if __name__ == "__main__":
    main()
