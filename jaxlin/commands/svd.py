"""``jaxlin svd``: from a checkpoint and a prompt to singular vectors on disk and tokens on screen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax

import models
from jaxlin.decode import Direction, decode
from jaxlin.environment import environment, peak_bytes
from jaxlin.errors import JaxlinError
from jaxlin.load import DTYPES, load
from jaxlin.model import Model
from jaxlin.operator import DetachedJacobian
from jaxlin.options import Svd
from jaxlin.plan import METHODS, Plan, check_jacobian_fits, plan
from jaxlin.store import staged, write
from jaxlin.svd import SVDResult, svd
from jaxlin.terminal import TerminalProgress, show


def run(config: Svd) -> int:
    """Do what the command line asked for; returns the exit code."""
    _check(config)
    prompt = _prompt(config)
    with staged(config.out, overwrite=config.overwrite) as folder:
        with TerminalProgress() as progress:
            model = load(config.model, dtype=config.dtype, progress=progress)
            token_ids = model.tokenize(prompt)
            progress("recording coefficients", 0, 1, f"{len(token_ids)} tokens")
            operator = jax.block_until_ready(model.jacobian(token_ids, policy=config.policy))
            progress("recording coefficients", 1, 1, f"{len(token_ids)} tokens")
            chosen = plan(operator, config.k, config.method)
            if config.save_jacobian:
                check_jacobian_fits(operator)
            progress("planning", 1, 1, f"method {chosen.method}: {chosen.reason}")
            result = svd(operator, config.k, method=chosen.method, seed=config.seed, progress=progress)
            directions = decode(
                result,
                token_ids,
                logits=model.logits,
                vocabulary=model.vocabulary(),
                text=model.token_text,
            )
            jacobian = operator.dense(progress) if config.save_jacobian else None
        summary = _summary(config, model, operator, result, chosen, directions)
        write(folder, result, operator, token_ids, summary, jacobian)
    show(config, summary, result, directions)
    return 0 if result.certificate.holds else 3


def _check(config: Svd) -> None:
    """Refuse what is wrong whatever the model, before anything is loaded."""
    choices = {"method": METHODS, "policy": tuple(models.POLICIES), "dtype": DTYPES}
    for name, known in choices.items():
        value = getattr(config, name)
        if value not in known:
            raise JaxlinError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
    if config.k < 1:
        raise JaxlinError(f"k is {config.k}: ask for at least 1 singular triplet")
    if not 0 <= config.seed < 2**32:
        raise JaxlinError(f"the seed is {config.seed}: choose one from 0 to {2**32 - 1}")


def _prompt(config: Svd) -> str | list[int]:
    given = [source for source in (config.prompt, config.prompt_file, config.token_ids) if source is not None]
    if len(given) != 1:
        raise JaxlinError("give the prompt in one way: --prompt, --prompt-file or --token-ids")
    if config.prompt is not None:
        return config.prompt
    if config.prompt_file is not None:
        try:
            return config.prompt_file.read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise JaxlinError(
                f"cannot read {config.prompt_file} as UTF-8 text ({error}): check --prompt-file"
            ) from error
    assert config.token_ids is not None
    return [_token_id(text) for text in config.token_ids.split(",")] if config.token_ids.strip() else []


def _token_id(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise JaxlinError(
            f"--token-ids takes numbers with commas between, like 1,2,3, and {text[:20]!r} is no number"
        ) from error


def _summary(
    config: Svd,
    model: Model,
    operator: DetachedJacobian,
    result: SVDResult,
    chosen: Plan,
    directions: list[Direction],
) -> dict[str, Any]:
    """Everything about a run that is not a tensor; see DESIGN, results on disk."""
    checkpoint = model.checkpoint
    tokens = operator.input_shape[0]
    return {
        "model": config.model,
        "family": checkpoint.config.family,
        "revision": checkpoint.revision,
        "weights_sha256": models.weights_hash(checkpoint),
        "policy": config.policy,
        "tokens": tokens,
        "shape": list(operator.shape),
        "dtype": config.dtype,
        "method": result.method,
        "method_reason": chosen.reason,
        "k": config.k,
        "seed": result.seed,
        "tolerance": result.certificate.tolerance,
        "passes": result.passes,
        "seconds": round(result.seconds, 3),
        "peak_bytes": peak_bytes(),
        **environment(config.dtype),
        "certificate": asdict(result.certificate) | {"holds": result.certificate.holds},
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
