"""The pages on GPUs and on a corpus hold the committed figures; the script for a GPU runs without one."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import gpu_page
import pytest

ROOT = Path(__file__).parent.parent


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def benchmark(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    return benchmark("scale")


@pytest.fixture(scope="module")
def cards() -> ModuleType:
    return benchmark("cards")


def test_the_page_holds_the_figures():
    text = gpu_page.DOCUMENT.read_text(encoding="utf-8")
    assert gpu_page.rewritten(text) == text


def test_no_pass_copies_a_matrix_of_weights():
    rows = json.loads(gpu_page.COMPILED.read_text(encoding="utf-8"))["rows"]
    assert {row["card"] for row in rows} >= {"NVIDIA A100-SXM4-40GB", "NVIDIA H200"}
    for row in rows:
        passes = [program for program in row["programs"] if program["name"] in gpu_page.PASSES]
        assert len(passes) == 5
        assert all(program["library"] == 0 for program in passes), row["setting"]
        # Packed weights become numbers in a pass, one layer's at a time, which count as copies here.
        assert row["packed"] or all(program["copied"] == 0 for program in passes), row["setting"]


PROGRAM = """
%body.1 (p: (s32[], bf16[8,32])) -> (s32[], bf16[8,32]) {
  %slice.2 = bf16[64,32]{1,0} dynamic-slice(%w.1, %i.1), dynamic_slice_sizes={64,32}
  %ar.1 = bf16[8,32]{1,0} all-reduce-start(%x.1), replica_groups={{0,1}}
  ROOT %t.1 = (s32[], bf16[8,32]{1,0}) tuple(%i.2, %ar.2)
}

%fused_copy (p.2: bf16[64,32]) -> bf16[64,32] {
  ROOT %copy.3 = bf16[64,32]{1,0} copy(%p.2)
}

ENTRY %main (a: bf16[8,32]) -> bf16[16,32] {
  %while.1 = (s32[]) while(%t.2), body=%body.1, backend_config={"known_trip_count":{"n":"3"}}
  %ag.1 = (bf16[8,32]{1,0}, bf16[16,32]{1,0}) all-gather-start(%x.2), dimensions={0}
  ROOT %ag.2 = bf16[16,32]{1,0} all-gather-done(%ag.1)
}
"""


def test_copies_and_what_is_sent_are_counted_as_often_as_loops_run(cards: ModuleType):
    assert cards.weight_copies(PROGRAM, {64 * 32}) == [2 * 64 * 32] * 3
    assert cards.weight_copies(PROGRAM, {65 * 32}) == []
    assert sorted(cards.sent_bytes(PROGRAM)) == [2 * 8 * 32] * 3 + [2 * 16 * 32]


def test_a_table_of_measurements():
    row = {"what": "joint top 32", "tokens": 427, "arithmetic": "float32", "failed": None, "passes": 260}
    row |= {"first_seconds": 30.0, "seconds": 9.5, "utilisation": 0.5, "peak": 1.7e10, "holds": True}
    lost = {"what": "joint top 32", "tokens": 4096, "arithmetic": "bfloat16", "failed": "out of memory"}
    text = gpu_page.measured({"model": "gemma-3-4b", "device": "gpu: one", "rows": [row, lost]})
    assert "| joint top 32 | 427 | float32 | 260 | 30.00 | 9.50 | 50% | 17.0 | holds |" in text
    assert "| joint top 32 | 4,096 | bfloat16 | out of memory |" in text


def test_without_a_gpu_nothing_is_measured(tmp_path: Path):
    done = script()
    assert done.returncode == 2
    assert (
        done.stderr
        == "gpu.py: there is no NVIDIA GPU here: run this where there is one, or try it with `--try`\n"
    )
    assert script("--only", "nothing").returncode == 2


def test_a_try_runs_on_any_device(tmp_path: Path):
    kept = tmp_path / "try.json"
    done = script("--try", "--only", "published", "--json", str(kept))
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(kept.read_text(encoding="utf-8"))["rows"]
    assert row["failed"] is None
    assert row["seconds"] > 0
    assert row["utilisation"] is None  # of a card that nothing is known of


def test_the_page_of_a_corpus_is_worked_out_from_what_is_committed(scale: ModuleType):
    figures = scale.worked_out(scale.Corpus(), scale.Assumed())
    assert figures == json.loads(scale.FIGURES.read_text(encoding="utf-8"))
    text = scale.DOCUMENT.read_text(encoding="utf-8")
    assert scale.rewritten(text, figures) == text
    one, eight, _ = figures["rows"]
    assert one["hours"] == pytest.approx(8 * eight["hours"])
