"""What jaxlin wrote itself and somebody changed: results of every kind, batches, states of a solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from hostile.case import FIFO, FOLDER, GONE, Case, Content, Link
from hostile.inputs import MANY
from hostile.mutate import damaged_bytes, damaged_json, damaged_tensors
from hostile.values import TEXTS
from hostile.world import World
from jaxlin.results.kinds import KINDS

Draw = Callable[[st.SearchStrategy[Any]], Any]

_BATCH = (*MANY, "--out", "batch")
_RESUME = (
    "svd",
    "--model",
    "model",
    "--token-ids",
    "1,2,3",
    "-k",
    "2",
    "--method",
    "lanczos",
    "--block",
    "1",
    "--out",
    "run",
    "--resume",
)
#: In place of a file.
_OTHERS: tuple[Content, ...] = (GONE, FIFO, FOLDER, Link("../../../outside/secret.txt"), Link("/dev/zero"),
               Link("nowhere"), b"", b"null", b"[]", b"3",
           b"[" * 100_000)  # fmt: skip


@st.composite
def result_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A result of any kind with damaged files, shown by the report or in pictures."""
    folder = draw(st.sampled_from(world.results))
    files = dict([_damaged(draw, world, folder) for _ in range(draw(st.sampled_from((1, 1, 1, 2))))])
    # Pictures take long, so most cases that can be shown at all are reports.
    verb = draw(st.sampled_from(("report", "report", "plot") if thorough else ("report",) * 7 + ("plot",)))
    more = draw(
        st.sampled_from(((), (), ("--json",)) if verb == "plot" else ((), ("--json",), ("results/svd",)))
    )
    return Case((verb, folder, *more, "--out", "pictures" if verb == "plot" else "page.html"), files)


@st.composite
def batch_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A batch that goes on over prompts whose results were damaged."""
    names = sorted(name for name in world.contents if name.startswith("batch/"))
    name = draw(st.sampled_from(names))
    argv = _BATCH + draw(st.sampled_from(((), (), ("--overwrite",), ("--json",), ("--seed", "7"))))
    if name.count("/") == 1 or draw(st.integers(0, 5)) == 0:
        content = draw(st.one_of(st.sampled_from(_OTHERS), damaged_bytes(world.contents[name])))
        return Case(argv, {name: content})
    folder, file = name.rsplit("/", 1)
    if draw(st.integers(0, 7)) == 0:
        return Case(
            argv,
            {
                folder: draw(
                    st.sampled_from(
                        (GONE, FIFO, FOLDER, Link("../../outside"), Link("../model"), Link("loop"), b"")
                    )
                )
            },
        )
    return Case(argv, dict([_damaged(draw, world, folder, file)]))


@st.composite
def state_cases(draw: Draw, world: World, thorough: bool) -> Case:
    """A solver's state that was changed, and a run that is to go on from it."""
    names = sorted(name for name in world.contents if name.startswith("run.state/"))
    name = draw(st.sampled_from(names))
    changed: Content = draw(_damage(name, world.contents[name], ("step", "identity", "sha256", *TEXTS[:4])))
    if draw(st.integers(0, 9)) == 0:
        changed = draw(st.sampled_from(_OTHERS))
    files = {name: changed}
    if draw(st.integers(0, 7)) == 0:
        extra = draw(
            st.sampled_from(("more", "unfinished-state.safetensors", ".hidden", "x\x1b[31m", "lock"))
        )
        files |= {f"run.state/{extra}": draw(st.sampled_from(_OTHERS))}
    return Case(_RESUME if draw(st.integers(0, 9)) else _RESUME[:-1], files)


def _damaged(draw: Draw, world: World, folder: str, file: str = "") -> tuple[str, Content]:
    names = sorted(name for name in world.contents if name.startswith(f"{folder}/"))
    name = f"{folder}/{file}" if file else draw(st.sampled_from(names))
    if draw(st.integers(0, 9)) == 0:
        return name, draw(st.sampled_from(_OTHERS))
    also = (*KINDS, "verb", "models", "s", "U", "V", "detached", "hidden", *TEXTS[:5])
    return name, draw(_damage(name, world.contents[name], also))


def _damage(name: str, content: bytes, also: tuple[Any, ...]) -> st.SearchStrategy[bytes]:
    if name.endswith(".safetensors"):
        return damaged_tensors(content)
    if name.endswith(".json"):
        return damaged_json(content.decode(), also).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return damaged_bytes(content)
