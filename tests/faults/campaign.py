"""Kills runs of one case, or makes their changes of the file system fail, and looks at what is left.

    campaign.py PLACE WHAT CASE N     CASE is VERB or VERB-overwrite

    kill        before every N-th change
    random      at N random moments, of four cases (CASE is all)
    full        no room from every N-th change on, and files that end at six sizes
    readonly    nothing may be changed from every N-th change on
    two         N times two runs into one place

Prints a JSON line: how many runs were disturbed, and every failure in words.
"""

from __future__ import annotations

import errno
import json
import random
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from faulty import Fault, begun, ended, run, run_and_kill, run_with_small_files
from safetensors.numpy import load_file
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin import JaxlinError

NAME = "llama-biases"
FOUR = ("svd", "svd-overwrite", "tokens-overwrite", "batch-overwrite")
LENGTHS = {"a": 4, "b": 5, "c": 6}


def command(verb: str, model: Path, place: Path, *more: str) -> list[str]:
    """What is run, into ``place / "out"``."""
    ids = prompt_ids(NAME)
    asked = ["--model", str(model), "--out", str(place / "out"), *more]
    if verb == "batch":
        return ["svd", "-k", "2", "--prompts", str(place.parent / "prompts.jsonl"), *asked]
    own = {
        "svd": ["-k", "2", "--method", "lanczos", "--block", "2", "--save-every", "4"],
        "tokens": ["-k", "1"],
        "layers": ["-k", "1", "--parts", "cumulative", "--layers", "0"],
    }[verb]
    return [verb, "--token-ids", ",".join(map(str, ids[:5])), *own, *asked]


def trouble(place: Path, finished: list[str], *, swept: bool) -> list[str]:
    """What is wrong in a folder in which these results must be, whole."""
    found = []
    for name in finished:
        try:
            jaxlin.read(place / name)
        except JaxlinError as error:
            found.append(str(error))
    if swept:
        found += [f"{path.name} is left" for path in place.rglob("*") if path.name.startswith(".jaxlin-")]
    return found


def results(verb: str) -> list[str]:
    """Where the results of a run are."""
    return [f"out/{name}" for name in LENGTHS] if verb == "batch" else ["out"]


def same(place: Path, whole: Path, verb: str) -> list[str]:
    """How the answers differ from those of a run that nobody disturbed."""
    found = []
    for name in results(verb):
        mine, theirs = (load_file(folder / name / "result.safetensors") for folder in (place, whole))
        key = next(key for key in theirs if key.split("_")[-1] == "s")
        if not np.allclose(mine[key], theirs[key], rtol=1e-3):
            found.append(f"{name}: another answer")
    if verb == "batch":
        rows = [json.loads(line)["id"] for line in (place / "out" / "index.jsonl").read_text().splitlines()]
        found += [] if rows == list(LENGTHS) else [f"the index lists {rows}"]
    return found


class Case:
    """One verb, with or without a result that is to be replaced."""

    def __init__(self, home: Path, name: str) -> None:
        self.verb, _, over = name.partition("-")
        self.more = ["--overwrite"] if over else []
        self.home, self.model, self.disturbed = home, home / "model", 0
        self.place, self.log = home / "place", home / "place.log"
        self.whole = home / f"whole-{name}"
        self.failures: list[str] = []
        assert run(command(self.verb, self.model, self.whole), self.whole) == 0, name
        if over:  # what is there before is of another seed: a batch does it all again
            self.old = home / f"old-{name}"
            assert run(command(self.verb, self.model, self.old, "--seed", "1"), self.old) == 0

    def fresh(self) -> list[str]:
        """A new place, and what is run there."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.log.unlink(missing_ok=True)
        if self.more:
            shutil.copytree(self.old, self.place)
        else:
            self.place.mkdir()
        return command(self.verb, self.model, self.place, *self.more)

    def once(self, label: str, disturbed: Callable[[list[str], Path], int]) -> int:
        """A disturbed run into a fresh place, a look, and the same command again."""
        code = disturbed(self.fresh(), self.place)
        wrong = [] if code == -9 else self.sentence(code)
        if code == 0:  # what is dead may stay where nothing can be removed any more
            wrong += trouble(self.place, results(self.verb), swept=False)
            self.failures += [f"{label}: {what}" for what in wrong]
            return code
        self.disturbed += 1
        before = [name for name in results(self.verb) if self.more or (self.place / name).exists()]
        wrong += trouble(self.place, before, swept=False)
        more = list(self.more)
        if (self.place / "out.state" / "state.safetensors").exists():
            more.append("--resume")
        if self.verb != "batch" and (self.place / "out").exists() and not self.more:
            more.append("--overwrite")
        again = run(command(self.verb, self.model, self.place, *more), self.place)
        if again != 0:
            wrong.append(f"the next run ends with {again}: {self.log.read_text()[-300:]}")
        else:
            wrong += trouble(self.place, results(self.verb), swept=True) + same(
                self.place, self.whole, self.verb
            )
        self.failures += [f"{label}: {what}" for what in wrong]
        return code

    def sentence(self, code: int) -> list[str]:
        """What is wrong with how a run ended that was not killed."""
        said = [line for line in self.log.read_text().splitlines() if line.startswith("jaxlin: ")]
        if code not in (0, 2):
            return [f"exit code {code}: {self.log.read_text()[-300:]}"]
        if "Traceback" in self.log.read_text() or (code == 2 and len(said) != 1):
            return [f"no single sentence: {self.log.read_text()[-300:]}"]
        return []

    def before_every(self, step: int, error: int | None = None) -> None:
        """A fault before every ``step``-th change, until a run has no more of them."""
        number = 0
        while self.once(f"change {number}", partial(run, fault=Fault(number, error))) != 0:
            number += step

    def small_files(self, sizes: int) -> None:
        """Files that end early, at sizes that the log of a refusal still fits in."""
        largest = max(path.stat().st_size for path in self.whole.rglob("*") if path.is_file())
        for number in range(sizes):
            size = 1000 + number * (largest - 1000) // sizes
            self.once(f"files of {size} bytes", partial(run_with_small_files, size=size))

    def two_at_once(self, times: int) -> None:
        """Two runs into one place: one of them gets it, and the other says so or finds it done."""
        for number in range(times):
            asked = self.fresh()
            codes = [ended(child) for child in [begun(asked, self.place) for _ in "ab"]]
            said = self.log.read_text()
            wrong = trouble(self.place, results(self.verb), swept=True) + same(
                self.place, self.whole, self.verb
            )
            if 0 not in codes or not set(codes) <= {0, 2} or "Traceback" in said:
                wrong.append(f"exit codes {codes}: {said[-300:]}")
            self.disturbed += 2 in codes
            self.failures += [f"pair {number}: {what}" for what in wrong]


def campaign(home: Path, what: str, name: str, number: int) -> dict[str, Any]:
    """All disturbed runs of one case."""
    write_checkpoint(NAME, home / "model")
    ids = prompt_ids(NAME)
    lines = [json.dumps({"id": key, "token_ids": ids[:length]}) for key, length in LENGTHS.items()]
    (home / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    cases = [Case(home, each) for each in (FOUR if what == "random" else (name,))]
    if what == "random":
        rng = random.Random(0)
        while sum(each.disturbed for each in cases) < number:
            moment = rng.uniform(0.05, 6)
            rng.choice(cases).once(f"{moment:.2f} s", partial(run_and_kill, seconds=moment))
    elif what == "two":
        cases[0].two_at_once(number)
    else:
        cases[0].before_every(number, {"kill": None, "full": errno.ENOSPC, "readonly": errno.EROFS}[what])
        if what == "full":
            cases[0].small_files(6)
    return {
        "what": what,
        "case": name,
        "disturbed": sum(each.disturbed for each in cases),
        "failures": [failure for each in cases for failure in each.failures],
    }


if __name__ == "__main__":
    home, what, name, number = sys.argv[1:]
    print(json.dumps(campaign(Path(home), what, name, int(number))))
