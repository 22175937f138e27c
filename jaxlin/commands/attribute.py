"""``jaxlin attribute``: a logit split exactly over tokens and layers, to disk and to the screen."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import jax.numpy as jnp
import jaxlin_models as models
import numpy as np

from jaxlin.analyses.attribution import Attribution, attribute
from jaxlin.analyses.decoding import TokenScore, best_outputs
from jaxlin.commands.job import check_choices, load_model, made_from, made_with, read_prompt
from jaxlin.commands.options import Attribute
from jaxlin.commands.output import tell
from jaxlin.commands.part import Part, choose_places, plan_job, record_part, stream_bytes
from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import as_json
from jaxlin.linear.operator import solver_dtype
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model, tokenize
from jaxlin.prompts.target import LogitTarget
from jaxlin.results.store import operator_arrays, staged, write
from jaxlin.results.terminal.attribution import show
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.solvers.svd import SVDResult, svd


def run(config: Attribute) -> int:
    """Do what the command line asked for; returns the exit code."""
    check_choices(config)
    if config.tol is not None and config.k is None:
        raise JaxlinError("--tol is for the singular directions: say how many with -k")
    prompt = read_prompt(config)
    with staged(config.out, overwrite=config.overwrite) as folder:
        with TerminalProgress(config.progress) as progress:
            checkpoint = models.find(config.model, weights=False)
            places = choose_places(config, checkpoint, tokenize(checkpoint, prompt))
            itemsize = solver_dtype(jnp.dtype(config.dtype)).itemsize
            stream = stream_bytes(checkpoint.config, len(places.seen), itemsize)
            solver = Solver(config.k, "auto") if config.k else Solver(1, "lanczos")
            whole = replace(places, target=None)  # the map itself is taken apart, and one row of it read
            expected = plan_job(config, checkpoint, whole, solver, stream)
            model = load_model(config, progress)
            recording, part = record_part(config, model, places, expected.dial, progress)
            operator = part.operator
            target = places.target or LogitTarget(int(jnp.argmax(model.logits(operator.y))))
            row = model.logit_row(operator.y, target)
            result = decoded = None
            if config.k:
                result = svd(
                    operator,
                    config.k,
                    tolerance=config.tol,
                    seed=config.seed,
                    scratch=folder,
                    progress=progress,
                )
                decoded = best_outputs(result.U, model.logits, model.token_text)
            found = attribute(operator, recording, row, result, seed=config.seed)
        named = target_name(model, target)
        summary = _summary(config, model, part, named, found, result, decoded)
        write(folder, _arrays(part, row, found, result), summary)
    tell(config, summary, lambda told: show(config, told, found, result))
    return 0 if found.holds and (result is None or result.certificate.holds) else 3


def target_name(model: Model, target: LogitTarget) -> str:
    """A target as people write it, its tokens by their text."""
    plus, minus = (
        None if token is None else f'"{model.token_text(model.token_id(token))}"'
        for token in (target.plus, target.minus)
    )
    return f"logits:{plus}" if minus is None else f"logits:{plus}-{minus}"


def _arrays(part: Part, row: Any, found: Attribution, result: SVDResult | None) -> dict[str, Any]:
    arrays = operator_arrays(part.operator, part.token_ids, part.places) | {
        "target_row": np.asarray(row[0]),
        "token_contributions": found.tokens,
        "branch_contributions": found.branches,
    }
    if result is not None:
        arrays |= {
            "U": result.U,
            "s": result.s,
            "V": result.V,
            "residuals": result.residuals,
            "direction_contributions": found.directions,
        }
    return arrays


def _summary(
    config: Attribute,
    model: Model,
    part: Part,
    named: str,
    found: Attribution,
    result: SVDResult | None,
    decoded: list[tuple[TokenScore, ...]] | None,
) -> dict[str, Any]:
    summary = {
        **made_from(config, model, part),
        "target": named,
        "chosen_by": "the model's own most likely next token" if config.target is None else "--target",
        "value": found.value,
        "offset": found.offset,
        "embedding": found.embedding,
        **made_with(model),
        "checks": [asdict(check) | {"holds": check.holds} for check in found.checks],
        "holds": found.holds,
        "per_token": [
            {
                "position": int(place),
                "id": token,
                "text": model.token_text(token),
                "contribution": float(share),
            }
            for place, token, share in zip(part.places, part.token_ids, found.tokens, strict=True)
        ],
        "per_layer": [
            {"layer": layer, "attention": float(attention), "mlp": float(mlp)}
            for layer, (attention, mlp) in enumerate(found.branches)
        ],
    }
    if result is None or decoded is None or found.directions is None:
        return summary
    return summary | {
        "certificate": as_json(result.certificate),
        "per_direction": [
            {
                "s": float(result.s[i]),
                "residual": float(result.residuals[i]),
                "contribution": float(found.directions[i].sum()),
                "outputs": [asdict(score) for score in scores],
            }
            for i, scores in enumerate(decoded)
        ],
    }
