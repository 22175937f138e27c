"""``jaxlin tokens``: every token's own Jacobian taken apart, to disk and to the screen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np

from jaxlin.analyses.decoding import TokenScore, best_outputs
from jaxlin.commands.job import check_choices, check_dial, load_model, made_from, made_with, read_prompt
from jaxlin.commands.options import Tokens
from jaxlin.commands.output import tell
from jaxlin.commands.part import Part, Places, choose_part, choose_places, plan_job
from jaxlin.linear.operator import solver_dtype
from jaxlin.per_token.tokens import METHODS, TokensResult, tokens
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model, tokenize
from jaxlin.results.store import operator_arrays, staged, write
from jaxlin.results.terminal.tokens import show
from jaxlin.runtime.terminal import TerminalProgress


def run(config: Tokens) -> int:
    """Do what the command line asked for; returns the exit code."""
    check_choices(config, method=METHODS)
    check_dial(config)
    prompt = read_prompt(config)
    with staged(config.out, overwrite=config.overwrite) as folder:
        with TerminalProgress(config.progress) as progress:
            checkpoint = models.find(config.model, weights=False)
            places = choose_places(config, checkpoint, tokenize(checkpoint, prompt))
            expected = plan_job(
                config, checkpoint, places, Solver(1, "gram"), _result_bytes(config, places, checkpoint)
            )
            model = load_model(config, progress)
            part = choose_part(config, model, places, expected.dial, progress)
            result = tokens(
                part.operator,
                config.k,
                method=config.method,
                tolerance=config.tol,
                seed=config.seed,
                scratch=folder,
                progress=progress,
            )
            outputs = best_outputs(result.U[:, 0], model.logits, model.token_text)
        summary = _summary(config, model, part, result, outputs)
        arrays = operator_arrays(part.operator, part.token_ids, part.places) | {
            "token_s": result.s,
            "token_U": result.U,
            "token_V": result.V,
            "token_errors": result.errors,
            "token_norms": result.norms,
        }
        write(folder, arrays, summary)
    tell(config, summary, lambda told: show(config, told, result))
    return 0 if result.certificate.holds else 3


def _result_bytes(config: Tokens, places: Places, checkpoint: models.Checkpoint) -> int:
    """Both vectors of every triplet of every token, which lie in the host's memory."""
    if jax.default_backend() != "cpu":
        return 0
    itemsize = solver_dtype(jnp.dtype(config.dtype)).itemsize
    return 2 * config.k * len(places.chosen) * checkpoint.config.embed_dim * itemsize


def _summary(
    config: Tokens, model: Model, part: Part, result: TokensResult, outputs: list[tuple[TokenScore, ...]]
) -> dict[str, Any]:
    certificate = result.certificate
    return {
        **made_from(config, model, part),
        "method": result.method,
        "k": result.s.shape[1],
        "rank": result.rank,
        "tolerance": certificate.tolerance,
        "passes": result.passes,
        "seconds": round(result.seconds, 3),
        **made_with(model),
        "certificate": asdict(certificate) | {"holds": certificate.holds},
        "per_token": [
            {
                "position": int(part.places[t]),
                "id": token,
                "text": model.token_text(token),
                "s": np.asarray(result.s[t]).tolist(),
                "errors": np.asarray(result.errors[t]).tolist(),
                "norm": float(result.norms[t]),
                "converged": bool(result.converged[t]),
                "outputs": [asdict(score) for score in outputs[t]],
            }
            for t, token in enumerate(part.token_ids)
        ],
    }
