"""``jaxlin layers``: every layer and module of a prompt, to disk and to the screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import jaxlin_models as models
import numpy as np

from jaxlin.analyses.decoding import TokenScore, best_outputs
from jaxlin.analyses.layers import LayersResult, LayerSVD, check_parts, layers
from jaxlin.commands.job import check_choices, load_model, made_from, made_with, read_prompt
from jaxlin.commands.options import Layers
from jaxlin.commands.output import tell
from jaxlin.commands.part import Part, choose_places, plan_job, record_part, stream_bytes
from jaxlin.linear.certificate import as_json
from jaxlin.linear.operator import solver_dtype
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model, tokenize
from jaxlin.prompts.span import parse_layers
from jaxlin.results.store import operator_arrays, staged, write
from jaxlin.results.terminal.layers import show
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.solvers.choose import METHODS

#: Output tokens kept of every direction.
_TOP = 8

#: Part -> layer -> direction -> tokens.
Decoded = dict[str, list[list[tuple[TokenScore, ...]]]]


def run(config: Layers) -> int:
    """Do what the command line asked for; returns the exit code."""
    check_choices(config, method=METHODS)
    with staged(config.out, overwrite=config.overwrite) as folder:
        with TerminalProgress(config.progress) as progress:
            taken = take_apart(config, progress)
        summary = summarize(config, taken)
        whole = taken.whole
        arrays = operator_arrays(whole.operator, whole.token_ids, whole.places) | arrays_of(taken.result)
        write(folder, arrays, summary)
    tell(config, summary, lambda told: show(config, told, taken.result, taken.decoded))
    return 0 if taken.result.holds else 3


@dataclass(frozen=True, eq=False)
class Taken:
    """A prompt taken apart by layers, and what it was made from."""

    model: Model
    whole: Part
    result: LayersResult
    decoded: Decoded


def take_apart(config: Layers, progress: Progress) -> Taken:
    """Plan, load, record, and do all parts."""
    prompt = read_prompt(config)
    parts = [name.strip() for name in config.parts.split(",")]
    check_parts(parts)
    checkpoint = models.find(config.model, weights=False)
    places = choose_places(config, checkpoint, tokenize(checkpoint, prompt))
    sizes = checkpoint.config
    at = None if config.layers is None else parse_layers(config.layers, sizes.num_layers)
    itemsize = solver_dtype(jnp.dtype(config.dtype)).itemsize
    stream = stream_bytes(sizes, len(places.seen), itemsize)
    solver = Solver(min(config.k, sizes.embed_dim), config.method)
    expected = plan_job(config, checkpoint, places, solver, stream)
    model = load_model(config, progress)
    recording, whole = record_part(config, model, places, expected.dial, progress, normed=not config.raw)
    result = layers(
        recording,
        config.k,
        parts=parts,
        at=at,
        normed=not config.raw,
        span=None if places.whole else places.chosen,
        method=config.method,
        tolerance=config.tol,
        seed=config.seed,
        progress=progress,
    )
    logits = partial(model.logits, normed=not config.raw)
    decoded = {
        part: [best_outputs(one.U, logits, model.token_text, _TOP) for one in found]
        for part, found in result.parts.items()
    }
    return Taken(model, whole, result, decoded)


def arrays_of(result: LayersResult) -> dict[str, Any]:
    """Tensors by part, stacked over layers; with the path where there is one to follow."""
    arrays: dict[str, Any] = {"layers": np.asarray(result.layers, np.int64)}
    for part, found in result.parts.items():
        for name in ("s", "U", "residuals", "weights", "contributions", "output"):
            arrays[f"{part}_{name}"] = np.stack([getattr(one, name) for one in found])
    return arrays if result.path is None else arrays | {"cumulative_path": result.path}


def summarize(config: Layers, taken: Taken) -> dict[str, Any]:
    """Everything about a run that is not a tensor."""
    model, whole, result, decoded = taken.model, taken.whole, taken.result, taken.decoded
    return {
        **made_from(config, model, whole),
        "k": config.k,
        "normed": result.normed,
        "layers": list(result.layers),
        **made_with(model),
        "holds": result.holds,
        "parts": {
            part: [
                _layer_summary(layer, one, tokens)
                for layer, one, tokens in zip(result.layers, found, decoded[part], strict=True)
            ]
            for part, found in result.parts.items()
        },
    }


def _layer_summary(layer: int, one: LayerSVD, tokens: list[tuple[TokenScore, ...]]) -> dict[str, Any]:
    return {
        "layer": layer,
        "method": one.method,
        "passes_of_the_part": one.passes,
        **asdict(one.dimensions),
        "certificate": as_json(one.certificate),
        "triplets": [
            {
                "s": float(one.s[i]),
                "residual": float(one.residuals[i]),
                "outputs": [asdict(score) for score in scores],
            }
            for i, scores in enumerate(tokens)
        ],
    }
