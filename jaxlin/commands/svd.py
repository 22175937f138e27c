"""``jaxlin svd``: from a checkpoint and a prompt to singular vectors on disk and tokens on screen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax

import models
from jaxlin.budget import Forecast
from jaxlin.certificate import as_json
from jaxlin.commands.part import Part, choose_part, choose_places, plan_job, read_prompt
from jaxlin.decode import Direction, decode
from jaxlin.environment import environment, peak_bytes
from jaxlin.errors import JaxlinError
from jaxlin.load import DTYPES, load
from jaxlin.model import Model, tokenize
from jaxlin.operator import DetachedJacobian
from jaxlin.options import Svd
from jaxlin.plan import METHODS, Plan, check_jacobian_fits, plan
from jaxlin.sizes import spell_size
from jaxlin.store import staged, write
from jaxlin.svd import SVDResult, svd
from jaxlin.terminal import TerminalProgress, show


def run(config: Svd) -> int:
    """Do what the command line asked for; returns the exit code."""
    _check(config)
    prompt = read_prompt(config)
    with staged(config.out, overwrite=config.overwrite) as folder:
        with TerminalProgress() as progress:
            checkpoint = models.find(config.model, weights=False)
            places = choose_places(config, tokenize(checkpoint, prompt))
            expected = plan_job(config, checkpoint, places)
            progress("planning", 1, 1, _in_words(expected, config))
            model = load(config.model, dtype=config.dtype, precision=config.precision, progress=progress)
            part = choose_part(config, model, places, expected.dial, progress)
            operator = part.operator
            k = min(16, *operator.shape) if config.k is None else config.k
            chosen = plan(operator, k, expected.plan.method, config.block)
            if config.save_jacobian:
                check_jacobian_fits(operator)
            result = svd(
                operator,
                k,
                method=chosen.method,
                tolerance=config.tol,
                seed=config.seed,
                block=chosen.block,
                max_passes=config.max_passes,
                verify_seed=config.verify_seed,
                scratch=folder,
                progress=progress,
            )
            directions = decode(
                result,
                operator.x,
                part.token_ids,
                places=part.places,
                logits=model.logits if config.target is None else None,
                vocabulary=model.vocabulary(),
                text=model.token_text,
                positions=3 if config.target is None else 12,
            )
            jacobian = operator.dense(progress) if config.save_jacobian else None
        summary = _summary(config, model, part, result, chosen, expected, directions)
        write(folder, result, operator, part.token_ids, part.places, summary, jacobian)
    show(config, summary, result, directions)
    return 0 if result.certificate.holds else 3


def _in_words(expected: Forecast, config: Svd) -> str:
    """The plan in one line: which method, why, and what it will hold."""
    dial = (
        "" if config.policy == "none" else f", attention {expected.dial.attention}, gate {expected.dial.gate}"
    )
    most = f"{'about' if expected.phases else 'less than'} {spell_size(expected.peak)}"
    return f"method {expected.plan.method}: {expected.plan.reason}{dial}, {most} of memory"


def _check(config: Svd) -> None:
    """Refuse what is wrong whatever the model, before anything is loaded."""
    choices = {"method": METHODS, "policy": tuple(models.POLICIES), "dtype": DTYPES}
    for name, known in choices.items():
        value = getattr(config, name)
        if value not in known:
            raise JaxlinError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
    if config.k is not None and config.k < 1:
        raise JaxlinError(f"k is {config.k}: ask for at least 1 singular triplet")
    if not 0 <= config.seed < 2**32:
        raise JaxlinError(f"the seed is {config.seed}: choose one from 0 to {2**32 - 1}")


def _target_value(operator: DetachedJacobian, targeted: bool) -> dict[str, float]:
    return (
        {"target_value": float(operator.y[0]), "target_offset": float(operator.offset[0])} if targeted else {}
    )


def _summary(
    config: Svd,
    model: Model,
    part: Part,
    result: SVDResult,
    chosen: Plan,
    expected: Forecast,
    directions: list[Direction],
) -> dict[str, Any]:
    """Everything about a run that is not a tensor; see DESIGN, results on disk."""
    checkpoint, operator = model.checkpoint, part.operator
    return {
        "model": config.model,
        "family": checkpoint.config.family,
        "revision": checkpoint.revision,
        "weights_sha256": models.weights_hash(checkpoint),
        "policy": config.policy,
        "tokens": len(part.token_ids),
        "span": config.span if not config.skip_first else f"{config.skip_first}:",
        "position": part.position,
        "target": config.target,
        **_target_value(operator, config.target is not None),
        "shape": list(operator.shape),
        "dtype": config.dtype,
        "precision": model.decoder.precision,
        "dial": None if config.policy == "none" else asdict(part.dial),
        "method": result.method,
        "method_reason": expected.plan.reason,
        "predicted_peak_bytes": expected.peak if expected.phases else None,
        "k": len(result.s),
        "seed": result.seed,
        "block": chosen.block,
        "tolerance": result.certificate.tolerance,
        "passes": result.passes,
        "seconds": round(result.seconds, 3),
        "peak_bytes": peak_bytes(),
        **environment(models.algorithm(model.decoder.precision, jax.default_backend())),
        "certificate": as_json(result.certificate),
        "triplets": [
            {
                "s": float(result.s[i]),
                "residual": float(result.residuals[i]),
                "converged": bool(result.converged[i]),
                **asdict(direction),
            }
            for i, direction in enumerate(directions)
        ],
    }
