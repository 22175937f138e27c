"""``jaxlin steer``: a prompt goes on while another one's map acts on it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import jaxlin_models as models
import numpy as np

from jaxlin.analyses.steering import Concept, concept_of, low_rank_concept
from jaxlin.commands.job import check_choices, load_model, made_by, made_with, read_prompt
from jaxlin.commands.options import Steer
from jaxlin.commands.output import tell
from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import as_json
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.prompts.model import Model, tokenize
from jaxlin.results.store import staged, write
from jaxlin.results.terminal.steer import show
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.solvers.svd import SVDResult, svd


def run(config: Steer) -> int:
    """Do what the command line asked for; returns the exit code."""
    _check(config)
    prompt = read_prompt(config)
    with staged(config.out, overwrite=config.overwrite) as folder:
        with TerminalProgress(config.progress) as progress:
            checkpoint = models.find(config.model, weights=False)
            sizes = checkpoint.config
            layer = sizes.num_layers // 2 if config.layer is None else config.layer
            if not 0 <= layer < sizes.num_layers:
                raise JaxlinError(f"there is no layer {layer}: choose from 0 to {sizes.num_layers - 1}")
            ids, concept_ids = tokenize(checkpoint, prompt), tokenize(checkpoint, config.concept)
            model = load_model(config, progress)
            steering = steering_of(
                model,
                concept_ids,
                layer,
                policy=config.policy,
                rank=config.rank,
                as_published=config.as_published,
                seed=config.seed,
                progress=progress,
            )
            texts = _continue(config, model, ids, steering, progress)
        summary = _summary(config, model, ids, concept_ids, layer, steering, texts)
        write(folder, _arrays(ids, concept_ids, steering, texts), summary)
    tell(config, summary, lambda told: show(config, told))
    return 0 if steering.result is None or steering.result.certificate.holds else 3


def _check(config: Steer) -> None:
    check_choices(config)
    if not config.strength or not all(math.isfinite(strength) for strength in config.strength):
        raise JaxlinError(f"the strengths are {config.strength}: give one finite number or more")
    if config.rank is not None and config.rank < 1:
        raise JaxlinError(f"the rank is {config.rank}: choose 1 or more")


class Steering:
    """A concept's map, ready to be added at any strength.

    ``result`` are its singular triplets where it is made of some.
    """

    def __init__(
        self, addition: models.Addition, operator: DetachedJacobian, result: SVDResult | None
    ) -> None:
        self.operator = operator
        self.result = result
        self._addition = addition

    def at(self, strength: float) -> models.Addition:
        """λ of it."""
        return replace(self._addition, strength=jnp.asarray(strength, jnp.float32))


def steering_of(
    model: Model,
    concept: list[int],
    layer: int,
    *,
    policy: str = "detached",
    rank: int | None = None,
    as_published: bool = False,
    seed: int = 0,
    progress: Progress,
) -> Steering:
    """The map of a concept prompt to what leaves a layer, as something to add there."""
    progress("recording the concept", 0, 1, f"{len(concept)} tokens")
    recording = model.record(concept, policy=policy)
    operator = recording.stretch(0, layer, normed=as_published)
    progress("recording the concept", 1, 1, f"{len(concept)} tokens")
    result = None
    found: tuple[Concept, Any] = concept_of(operator, wrapped=as_published)
    if rank is not None:
        result = svd(operator, rank, seed=seed, progress=progress)
        found = low_rank_concept(result, wrapped=as_published)
    directions, state = found
    where = layer if as_published else layer + 1
    return Steering(
        models.Addition(state, jnp.asarray(where), jnp.asarray(0.0), directions), operator, result
    )


def _continue(
    config: Steer, model: Model, ids: list[int], steering: Steering, progress: Progress
) -> list[tuple[float, list[int]]]:
    strengths = list(dict.fromkeys((0.0, *config.strength)))
    texts = []
    for number, strength in enumerate(strengths):
        progress("continuing", number, len(strengths), f"λ = {strength:g}")
        addition = steering.at(strength)
        found = model.generate(
            ids, config.tokens, temperature=config.temperature, seed=config.seed, addition=addition
        )
        texts.append((strength, found))
    progress("continuing", len(strengths), len(strengths), f"{config.tokens} tokens each")
    return texts


def _arrays(
    ids: list[int], concept: list[int], steering: Steering, texts: list[tuple[float, list[int]]]
) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "token_ids": np.asarray(ids, np.int64),
        "concept_ids": np.asarray(concept, np.int64),
        "strengths": np.asarray([strength for strength, _ in texts], np.float64),
        "continuations": np.asarray([found for _, found in texts], np.int64),
    }
    if steering.result is not None:
        result = steering.result
        arrays |= {"U": result.U, "s": result.s, "V": result.V, "residuals": result.residuals}
    return arrays


def _summary(
    config: Steer,
    model: Model,
    ids: list[int],
    concept: list[int],
    layer: int,
    steering: Steering,
    texts: list[tuple[float, list[int]]],
) -> dict[str, Any]:
    result = steering.result
    return {
        **made_by(config, model),
        "prompt": model.text(ids),
        "concept": model.text(concept),
        "concept_tokens": len(concept),
        "layer": layer,
        "layers": model.decoder.config.num_layers,
        "rank": config.rank,
        "as_published": config.as_published,
        "temperature": config.temperature,
        **made_with(model),
        "certificate": None if result is None else as_json(result.certificate),
        "continuations": [
            {"strength": strength, "ids": found, "text": model.text(found)} for strength, found in texts
        ],
        "options": {"tokens": config.tokens, "strength": list(config.strength)},
    }
