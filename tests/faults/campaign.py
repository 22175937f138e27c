"""Kills runs of one case before every n-th change of the file system, and looks at what is left.

    campaign.py PLACE CASE N      CASE is VERB, VERB-overwrite, or random (then N is how many kills)

Prints a JSON line: how many kills, and every failure in words.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from killing import run, run_and_kill
from safetensors.numpy import load_file
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin import JaxlinError

NAME = "llama-biases"
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
        self.home, self.model, self.kills = home, home / "model", 0
        self.whole = home / f"whole-{name}"
        self.failures: list[str] = []
        assert run(command(self.verb, self.model, self.whole), self.whole) == 0, name
        if over:  # what is there before is of another seed: a batch does it all again
            self.old = home / f"old-{name}"
            assert run(command(self.verb, self.model, self.old, "--seed", "1"), self.old) == 0

    def once(self, label: str, killed: Any) -> int:
        """A run into a fresh place that is killed, a look, and the same command again."""
        place = self.home / "place"
        shutil.rmtree(place, ignore_errors=True)
        if self.more:
            shutil.copytree(self.old, place)
        else:
            place.mkdir()
        code = killed(command(self.verb, self.model, place, *self.more), place)
        if code == 0:
            return code
        self.kills += 1
        before = (
            results(self.verb)
            if self.more
            else [name for name in results(self.verb) if (place / name).exists()]
        )
        wrong = trouble(place, before, swept=False)
        more = list(self.more)
        if (place / "out.state" / "state.safetensors").exists():
            more.append("--resume")
        if self.verb != "batch" and (place / "out").exists() and not self.more:
            more.append("--overwrite")
        again = run(command(self.verb, self.model, place, *more), place)
        if again != 0:
            wrong.append(f"the next run ends with {again}: {(self.home / 'place.log').read_text()[-300:]}")
        else:
            wrong += trouble(place, results(self.verb), swept=True) + same(place, self.whole, self.verb)
        self.failures += [f"{label}: {what}" for what in wrong]
        return code

    def before_every(self, step: int) -> None:
        """Kill before every ``step``-th change until a run comes to its end."""
        number = 0
        while self.once(f"change {number}", partial(run, dies_before=number)) != 0:
            number += step


def campaign(home: Path, name: str, number: int) -> dict[str, Any]:
    """All kills of one case."""
    write_checkpoint(NAME, home / "model")
    ids = prompt_ids(NAME)
    lines = [json.dumps({"id": key, "token_ids": ids[:length]}) for key, length in LENGTHS.items()]
    (home / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    if name != "random":
        case = Case(home, name)
        case.before_every(number)
        return {"case": name, "kills": case.kills, "failures": case.failures}
    rng, kills, failures = random.Random(0), 0, []
    cases = [Case(home, each) for each in ("svd", "svd-overwrite", "tokens-overwrite", "batch-overwrite")]
    while kills < number:
        case = rng.choice(cases)
        moment = rng.uniform(0.05, 6)
        case.once(f"{moment:.2f} s", partial(run_and_kill, seconds=moment))
        kills = sum(each.kills for each in cases)
    for each in cases:
        failures += each.failures
    return {"case": name, "kills": kills, "failures": failures}


if __name__ == "__main__":
    print(json.dumps(campaign(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
