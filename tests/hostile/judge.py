"""Runs a case, and says what it broke of what has to hold for every one."""

from __future__ import annotations

import os
import re
import time
import traceback
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from hostile.case import Case
from hostile.limits import MEMORY, SECONDS, Printed, TookTooLong, bounded
from hostile.world import World, working_in
from jaxlin.commands.main import main

#: Done; refused; finished and flagged; interrupted.
CODES = (0, 2, 3, 130)
#: Categories of characters that act on a terminal; the joiners of scripts and emoji may stay.
_ACTING, _JOINERS = ("Cc", "Cf", "Cs", "Zl", "Zp"), "\u200c\u200d"


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        code: the exit code; None if there was none.
        broken: what did not hold; empty if all is well. The word before the colon says which kind.
        seconds: how long it took.
        memory: bytes it took at most.
        stderr: what it said, in part.
    """

    code: int | None
    broken: tuple[str, ...]
    seconds: float
    memory: int
    stderr: str

    @property
    def name(self) -> str:
        """``done``, ``refused``, ``flagged``, ``interrupted``, or the first kind of what was broken."""
        names = {0: "done", 2: "refused", 3: "flagged", 130: "interrupted"}
        return self.broken[0].partition(":")[0] if self.broken else names[self.code or 0]


def run(case: Case, world: World, expected: int | None = None, seconds: float = SECONDS) -> Outcome:
    """Run a case in a world, which is as before afterwards; ``expected``: the exit code, if it is known."""
    try:
        case.lay(world.work)
        return _run(case, world, expected, seconds)
    finally:
        world.restore()


def _run(case: Case, world: World, expected: int | None, limit: float) -> Outcome:
    before = world.signatures()
    with working_in(world.work):
        allowed = _places(case)
    code, broken = None, []
    start = time.perf_counter()
    with working_in(world.work), bounded(limit) as printed:
        try:
            code = main(list(case.argv))
        except TookTooLong as error:
            broken.append(f"time: {error}")
        except BaseException as error:  # noqa: BLE001 - panics of libraries in Rust are no Exceptions
            broken.append(f"traceback: {described(error)}")
    seconds = time.perf_counter() - start
    if seconds > limit and not broken:
        broken.append(f"time: {seconds:.0f} s")
    if printed.memory > MEMORY:
        broken.append(f"memory: {printed.memory / 2**30:.1f} GiB")
    if code is not None:
        asked = any(word.startswith("--progress") for word in case.argv)
        broken += _answer(code, printed, shows_progress=asked)
        if code in CODES and expected not in (None, code):
            broken.append(f"code: {code} for {expected}")
    broken += [f"warning: {warned[:200]}" for warned in printed.warned]
    after = world.signatures()
    changed = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
    # What was refused wrote nothing at all.
    outside = [
        name
        for name in changed
        if code == 2 or not any(_within(world.root / name, place) for place in allowed)
    ]
    if outside:
        broken.append(f"written: {outside[:5]}")
    stderr = printed.stderr.decode(errors="backslashreplace")
    return Outcome(code, tuple(broken), seconds, printed.memory, stderr[:500])


def described(error: BaseException) -> str:
    """An error, and the innermost place of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f"{Path(f.filename).name}:{f.name}"
        for f in frames
        if "/jaxlin" in f.filename and "/tests/" not in f.filename
    ]
    return f"{type(error).__name__} in {ours[-1] if ours else '?'} ({str(error)[:120]!r})"


def _answer(code: int, printed: Printed, *, shows_progress: bool) -> list[str]:
    broken = [] if code in CODES else [f"code: {code}"]
    texts = {}
    for name in ("stdout", "stderr"):
        try:
            texts[name] = getattr(printed, name).decode()
        except UnicodeDecodeError:
            return [*broken, f"characters: {name} is no UTF-8"]
        acting = sorted({c for c in texts[name] if unicodedata.category(c) in _ACTING} - set(f"\n{_JOINERS}"))
        if acting:
            broken.append(f"characters: {acting!r} on {name}")
        if re.search(r"Traceback \(most recent call last\)|panicked at", texts[name]):
            broken.append(f"traceback: printed on {name}")
    said = texts["stderr"]
    if code == 2:
        if said.count("\n") != 1 or not said.startswith("jaxlin: ") or len(said) > 2000:
            broken.append(f"sentence: {said[:300]!r}")
        if texts["stdout"]:
            broken.append("sentence: something on stdout")
        if "out of memory" in said:
            broken.append(f"memory: {said[:200]!r}")
    elif not shows_progress and any(line and not line.startswith("jaxlin: ") for line in said.split("\n")):
        broken.append(f"sentence: {said[:300]!r}")
    return broken


def _places(case: Case) -> list[Path]:
    """Where a request may write, links followed: what it names, or what stands beside a result."""
    words = list(case.argv)
    flags = ("--out", "--to") if words[:1] == ["contributions"] else ("--out",)
    outs = [words[at + 1] for at, word in enumerate(words[:-1]) if word in flags]
    outs += [word.partition("=")[2] for word in words if word.startswith(tuple(f"{flag}=" for flag in flags))]
    if words[:1] in (["plot"], ["report"]):
        outs += [
            f"{os.path.normpath(word)}{ending}" for word in words[1:] for ending in (".pictures", ".html")
        ]
    return [
        Path(place(f"{os.path.normpath(out)}{ending}"))
        for out in outs
        if _can_be(out)
        for ending in ("", ".state")
        for place in (os.path.realpath, os.path.abspath)  # a link may be replaced itself
    ]


def _can_be(name: str) -> bool:
    """Whether a file could have this name: halves of surrogate pairs that stand for no byte are none."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _within(path: Path, place: Path) -> bool:
    """Whether a path is at a place or in it, or is a folder that had to be made for it."""
    return path == place or place in path.parents or path in place.parents
