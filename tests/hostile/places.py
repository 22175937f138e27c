"""Places: files of another kind where one is read, links where one writes, names that act on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from hostile.case import FIFO, FOLDER, GONE, Case, Content, Link
from hostile.inputs import COMPUTED, MANY, READ
from hostile.values import CONTROLS, LONE, MARKUP
from hostile.world import World

Draw = Callable[[st.SearchStrategy[Any]], Any]

#: What may stand where a file is expected.
_SPECIAL: tuple[Content, ...] = (GONE, FIFO, FOLDER, Link("/dev/zero"), Link("/dev/null"),
                Link("/dev/full"), Link("loop"), Link("nowhere"),
            Link("../outside/secret.txt"), Link("/proc/self/mem"), b"")  # fmt: skip
#: The requests that read a file, and which.
_READING = (
    (COMPUTED, "model/config.json"),
    (COMPUTED, "model/model.safetensors"),
    (READ, "model/tokenizer.json"),
    (READ, "model/tokenizer_config.json"),
    (READ, "model/special_tokens_map.json"),
    (READ, "model/generation_config.json"),
    (("svd", "--model", "sharded", *COMPUTED[3:]), "sharded/model.safetensors.index.json"),
    (("svd", "--model", "sharded", *COMPUTED[3:]), "sharded/model-00001-of-00002.safetensors"),
    ((*READ[:3], "--prompt-file", "prompt.txt", "-k", "1"), "prompt.txt"),
    (("svd", "--model", "model", "--prompts", "prompts.jsonl", "--out", "many", "-k", "1"), "prompts.jsonl"),
    (COMPUTED, "model"),
    (("report", "results/svd", "--out", "page.html"), "results/svd"),
    (("report", "results/svd", "--out", "page.html"), "results/svd/result.json"),
    (("report", "results/svd", "--out", "page.html"), "results/svd/result.safetensors"),
    (("plan", "--model", "model", "--tokens", "4", "-k", "1"), "model/config.json"),
)
#: The requests that write, and what they name.
_WRITING = (
    ((*COMPUTED, "--out", "target"), "target"),
    ((*COMPUTED, "--out", "target", "--overwrite"), "target"),
    ((*COMPUTED, "--out", "target/deep"), "target"),
    ((*COMPUTED, "--out", "target"), "target.state"),
    (("report", "results/svd", "--out", "target"), "target"),
    (("report", "results/svd", "--out", "target", "--overwrite"), "target"),
    (("plot", "results/old-steer", "--out", "target"), "target"),
    (
        (*MANY, "--out", "target"),
        "target",
    ),
    (
        (*MANY, "--out", "target"),
        "target/second",
    ),
    (
        (*MANY, "--out", "target"),
        "target/index.jsonl",
    ),
)
_TARGETS: tuple[Content, ...] = (FIFO, FOLDER, Link("../outside"), Link("../outside/secret.txt"),
                Link("nowhere"), Link("loop"), Link("target"), Link("model"),
            Link("results/svd"), b"", b"not a result")  # fmt: skip


@st.composite
def place_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """Something else where a file is read or written, or a name that acts."""
    how = draw(st.integers(0, 2))
    if how == 0:
        argv, place = draw(st.sampled_from(_READING))
        return Case(argv, {place: draw(st.sampled_from(_SPECIAL))})
    if how == 1:
        argv, place = draw(st.sampled_from(_WRITING))
        files: dict[str, Content] = {place: draw(st.sampled_from(_TARGETS))}
        if place == "target" and files[place] == FOLDER:
            inner = draw(
                st.sampled_from(
                    ("result.json", "result.safetensors", "index.html", "second", ".hidden", "x\x1b[31m")
                )
            )
            files[f"target/{inner}"] = draw(
                st.sampled_from((b"", b"{}", Link("../../outside/secret.txt"), FIFO))
            )
        return Case(argv, files)
    return _named(draw, world)


def _named(draw: Draw, world: World) -> Case:
    """A folder of a name that acts, as a model, as a result or as what is written."""
    names = st.sampled_from(
        (
            *CONTROLS,
            *MARKUP,
            LONE[2],
            "x" * 250,
            "日本語 🙂",
            " ",
            "-k",
            "a,b",
            "#1",
            "name.html",
            "{x}",
            "%d",
        )
    )
    name = draw(st.one_of(names, st.text(alphabet="ab$_{}[]\x1b\u202e\n 'é\"", min_size=1, max_size=8)))
    name = name.replace("/", "_").replace("\0", "_").replace("..", "_").replace("~", "_") or "_"
    parts = {"model": ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
             "results/old-steer": ("result.json", "result.safetensors")}  # fmt: skip
    source = draw(st.sampled_from(sorted(parts)))
    files: dict[str, Content] = {
        f"{name}/{part}": world.contents[f"{source}/{part}"] for part in parts[source]
    }
    if source != "model":
        return Case(
            (draw(st.sampled_from(("report", "plot"))), "--", name)
            if name.startswith("-")
            else ("report", name),
            files,
        )
    wrong = draw(st.sampled_from(("1,2,3", "1,2,99", "x")))
    out = draw(st.sampled_from(((), (), (f"--out={name}-out",))))
    return Case(("svd", f"--model={name}", "--token-ids", wrong, "-k", "1", "--method", "dense", *out), files)
