"""``steer``: a prompt is continued while the map of another prompt acts on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
from jaxlin_models import Addition

from jaxlin.analyses.steering import concept_of, low_rank_concept
from jaxlin.errors import JaxlinError
from jaxlin.prompts.model import Model
from jaxlin.prompts.text import Prompt
from jaxlin.results.steer import Continuation, SteeringResult
from jaxlin.results.svd import SVDResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.svd import svd as solve
from jaxlin.verbs.declare import RESULT, STEP
from jaxlin.verbs.keeping import kept
from jaxlin.verbs.options import Steer
from jaxlin.verbs.tokenizing import tokenized


@dataclass(frozen=True, eq=False)
class Steering:
    """A concept's map, ready to be added at any strength.

    Attributes:
        addition: what is added, at strength 0.
        triplets: the map's singular triplets, where it is made of some.
    """

    addition: Addition
    triplets: SVDResult | None

    def at(self, strength: float) -> Addition:
        """λ of it.

        Raises:
            JaxlinError: a strength that is not finite in float32.
        """
        if not abs(strength) <= float(jnp.finfo(jnp.float32).max):
            raise JaxlinError(f"the strength is {strength}: give a finite number")
        return replace(self.addition, strength=jnp.asarray(strength, jnp.float32))


def steer(model: Model, prompt: Prompt, options: Steer, progress: Progress = silent) -> SteeringResult:
    """The prompt's continuations at every strength, the one without steering first.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    given = options.strength
    strengths = (given,) if isinstance(given, int | float) else tuple(given)
    if not strengths:
        raise JaxlinError("`strength` is empty: give one number or more")
    config = model.config
    layer = config.num_layers // 2 if options.layer is None else options.layer
    if not 0 <= layer < config.num_layers:
        raise JaxlinError(f"there is no layer {layer}: choose from 0 to {config.num_layers - 1}")
    with kept(options) as folder:
        ids = tokenized(model, prompt, options)
        concept = options.concept
        concept_ids = (
            tokenized(model, concept, options, chat=False)
            if isinstance(concept, str)
            else model.tokenize(concept)
        )
        steering = steering_of(
            model,
            concept_ids,
            layer,
            policy=options.policy,
            rank=options.rank,
            as_published=options.as_published,
            seed=options.seed,
            progress=progress,
        )
        notes = options.deciding(RESULT, STEP) | {"strength": list(strengths)}
        result = SteeringResult(
            prompt_ids=tuple(ids),
            prompt=model.text(ids),
            concept_ids=tuple(concept_ids),
            concept=model.text(concept_ids),
            layer=layer,
            layers=config.num_layers,
            rank=options.rank,
            as_published=options.as_published,
            temperature=options.temperature,
            continuations=_continued(model, ids, steering, strengths, options, progress),
            triplets=steering.triplets,
            reader=model,
        ).with_notes(**notes)
        if folder is not None:
            result.write(folder)
    return result


def steering_of(
    model: Model,
    concept: Sequence[int],
    layer: int,
    *,
    policy: str = "detached",
    rank: int | None = None,
    as_published: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Steering:
    """The map of a concept prompt to what leaves a layer, as something to add there."""
    progress("recording the concept", 0, 1, f"{len(concept)} tokens")
    operator = model.record(concept, policy=policy).stretch(0, layer, normed=as_published)
    progress("recording the concept", 1, 1, f"{len(concept)} tokens")
    triplets = None
    if rank is None:
        directions, state = concept_of(operator, wrapped=as_published)
    else:
        triplets = solve(operator, rank, seed=seed, progress=progress)
        directions, state = low_rank_concept(triplets, wrapped=as_published)
    where = layer if as_published else layer + 1
    return Steering(Addition(state, jnp.asarray(where), jnp.asarray(0.0), directions), triplets)


def _continued(
    model: Model,
    ids: list[int],
    steering: Steering,
    strengths: tuple[float, ...],
    options: Steer,
    progress: Progress,
) -> tuple[Continuation, ...]:
    every = list(dict.fromkeys((0.0, *map(float, strengths))))
    continuations = []
    for number, strength in enumerate(every):
        progress("continuing", number, len(every), f"λ = {strength:g}")
        added = model.generate(
            ids,
            options.tokens,
            temperature=options.temperature,
            seed=options.seed,
            addition=steering.at(strength),
        )
        continuations.append(Continuation(strength, tuple(added), model.text(added)))
    progress("continuing", len(every), len(every), f"{options.tokens} tokens each")
    return tuple(continuations)
