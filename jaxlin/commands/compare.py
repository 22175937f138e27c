"""``jaxlin compare``: freeze policies of one model, or several models, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import jax
import jaxlin_models as models
import numpy as np

from jaxlin.analyses.comparison import compare
from jaxlin.analyses.decoding import TokenScore, best_outputs
from jaxlin.commands.job import check_choices, load_model, made_from, made_with, read_prompt
from jaxlin.commands.layers import Taken, arrays_of, summarize, take_apart
from jaxlin.commands.options import Compare, Layers, Prompted
from jaxlin.commands.output import tell
from jaxlin.commands.part import Part, choose_part, choose_places, plan_job
from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import as_json
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import tokenize
from jaxlin.results.store import operator_arrays, staged, write
from jaxlin.results.terminal.compare import show_models, show_policies
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress


def run(config: Compare) -> int:
    """Do what the command line asked for; returns the exit code."""
    check_choices(config)
    read_prompt(config)
    if (config.policies is None) == (config.models is None):
        raise JaxlinError("say what to compare: --policies of one --model, or several --models")
    if bool(config.model) != (config.policies is not None):
        raise JaxlinError("--model goes with --policies, and --models stands alone")
    if config.policies is not None and config.policy != Compare.policy:
        raise JaxlinError("--policies says which policies: leave --policy out")
    with staged(config.out, overwrite=config.overwrite) as folder:
        return (_policies if config.policies is not None else _models)(config, folder)


def _names(text: str, flag: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < max(2, len(names)) or not all(names):
        raise JaxlinError(f"{flag} takes two or more different names with commas between, and got {text!r}")
    return names


def _policies(config: Compare, folder: Path) -> int:
    assert config.policies is not None
    names = _names(config.policies, "--policies")
    for name in names:
        check_choices(replace(config, policy=name))
    with TerminalProgress(config.progress) as progress:
        checkpoint = models.find(config.model, weights=False)
        places = choose_places(config, checkpoint, tokenize(checkpoint, read_prompt(config)))
        asked = {name: replace(config, policy=name) for name in names}
        solver = Solver(config.k, "auto")
        expected = {name: plan_job(one, checkpoint, places, solver) for name, one in asked.items()}
        model = load_model(config, progress)
        parts: dict[str, Part] = {}

        def operators() -> Iterator[tuple[str, DetachedJacobian]]:
            for name, one in asked.items():
                part = choose_part(one, model, places, expected[name].dial, progress)
                # The coefficients themselves are needed until the next map is made, and no longer.
                parts[name] = replace(part, operator=jax.eval_shape(lambda operator=part.operator: operator))
                if name == names[0]:
                    kept.update(operator_arrays(part.operator, part.token_ids, part.places))
                yield name, part.operator

        kept: dict[str, Any] = {}
        sides = compare(operators(), config.k, tolerance=config.tol, seed=config.seed, progress=progress)
        decoded = {
            name: best_outputs(side.result.U, model.logits, model.token_text) for name, side in sides.items()
        }
    arrays = kept
    for name, side in sides.items():
        for array in ("U", "s", "V", "residuals"):
            arrays[f"{name}_{array}"] = getattr(side.result, array)
        arrays |= {f"{name}_left_angles": side.left_angles, f"{name}_right_angles": side.right_angles}
        arrays[f"{name}_reconstructed"] = side.reconstructed
    summary = {
        **made_from(config, model, parts[names[0]]),
        "policy": names,
        "k": config.k,
        **made_with(model),
        "maps": {
            name: {
                "reconstruction": side.reconstruction,
                **asdict(side.dimensions),
                "left_angles": side.left_angles.tolist(),
                "right_angles": side.right_angles.tolist(),
                "method": side.result.method,
                "passes": side.result.passes,
                "seconds": round(side.result.seconds, 3),
                "certificate": as_json(side.result.certificate),
                "triplets": _triplets(side.result.s, side.result.residuals, decoded[name]),
            }
            for name, side in sides.items()
        },
    }
    write(folder, arrays, summary)
    tell(config, summary, lambda told: show_policies(config, told, sides, decoded))
    return 0 if all(side.result.certificate.holds for side in sides.values()) else 3


def _triplets(s: Any, residuals: Any, decoded: list[tuple[TokenScore, ...]]) -> list[dict[str, Any]]:
    return [
        {"s": float(s[i]), "residual": float(residuals[i]), "outputs": [asdict(score) for score in scores]}
        for i, scores in enumerate(decoded)
    ]


def _models(config: Compare, folder: Path) -> int:
    assert config.models is not None
    names = _names(config.models, "--models")
    shared = {field.name: getattr(config, field.name) for field in fields(Prompted) if field.name != "model"}
    arrays: dict[str, Any] = {}
    summaries, found = {}, {}
    with TerminalProgress(config.progress) as progress:
        for name in names:
            asked = Layers(**shared, model=name, k=config.k, tol=config.tol, parts="cumulative")
            taken = take_apart(asked, _prefixed(progress, name))
            found[name] = taken.result, taken.decoded
            summaries[name] = summarize(asked, taken)
            arrays |= {f"{name}_{key}": array for key, array in _arrays(taken).items()}
    summary = {"verb": "compare", "models": summaries, "k": config.k}
    write(folder, {key.replace("/", "_"): array for key, array in arrays.items()}, summary)
    tell(config, summary, lambda told: show_models(config, told["models"], found))
    return 0 if all(result.holds for result, _ in found.values()) else 3


def _arrays(taken: Taken) -> dict[str, Any]:
    whole = taken.whole
    arrays = operator_arrays(whole.operator, whole.token_ids, whole.places) | arrays_of(taken.result)
    return {name: np.asarray(array) for name, array in arrays.items()}


def _prefixed(progress: Progress, name: str) -> Progress:
    def say(stage: str, done: int, total: int, note: str = "", left: float | None = None) -> None:
        progress(f"{name}: {stage}", done, total, note, left)

    return say
