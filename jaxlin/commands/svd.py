"""``jaxlin svd``: from a checkpoint and a prompt to singular vectors on disk and tokens on screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import jaxlin_models as models

from jaxlin.analyses.decoding import decode
from jaxlin.analyses.norms import largest, norms
from jaxlin.commands import batch
from jaxlin.commands.job import check_choices, check_dial, load_model, read_prompt
from jaxlin.commands.options import Svd
from jaxlin.commands.output import tell
from jaxlin.commands.part import Part, choose_part, choose_places, in_words, plan_job
from jaxlin.commands.resume import resumable
from jaxlin.commands.svd_files import arrays_of, summarize
from jaxlin.errors import JaxlinError
from jaxlin.planning.budget import Solver
from jaxlin.prompts.model import Model, tokenize
from jaxlin.results.store import staged, write
from jaxlin.results.terminal.svd import show
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.solvers.choose import METHODS, check_jacobian_fits, plan
from jaxlin.solvers.svd import svd


def run(config: Svd) -> int:
    """Do what the command line asked for; returns the exit code."""
    if config.prompts is not None:
        return batch.run(config)
    check_choices(config, method=METHODS)
    check_dial(config)
    if config.norms < 0 or (config.norms and config.target is not None):
        raise JaxlinError("--norms takes the number of rows and columns to decode, of a map without --target")
    prompt = read_prompt(config)
    with resumable(config) as state, staged(config.out, overwrite=config.overwrite) as folder:
        with TerminalProgress(config.progress) as progress:
            checkpoint = models.find(config.model, weights=False)
            token_ids = tokenize(checkpoint, prompt)
            places = choose_places(config, checkpoint, token_ids)
            solver = Solver(config.k, config.method, config.block)
            expected = plan_job(config, checkpoint, places, solver)
            progress("planning", 1, 1, in_words(expected, config))
            model = load_model(config, progress)
            part = choose_part(config, model, places, expected.dial, progress)
            operator = part.operator
            k = min(16, *operator.shape) if config.k is None else config.k
            chosen = plan(operator, k, expected.choice.method, config.block)
            if config.save_jacobian:
                check_jacobian_fits(operator)
            store = state.store(model, token_ids, chosen)
            resumed = store.steps if config.resume and store is not None else None
            result = svd(
                operator,
                k,
                method=chosen.method,
                tolerance=config.tol,
                seed=config.seed,
                block=chosen.block,
                max_passes=config.max_passes,
                verify_seed=config.verify_seed,
                store=store,
                scratch=folder,
                progress=progress,
            )
            state.gave_up = config.max_passes is not None and not result.certificate.holds
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
            measured = _norms(config, model, part, progress)
        summary = summarize(config, model, part, result, chosen, expected, directions)
        summary["resumed_from_step"] = resumed
        write(folder, arrays_of(part, result, jacobian) | measured.arrays, summary | measured.summary)
    tell(config, summary | measured.summary, lambda told: show(config, told, result, directions))
    return 0 if result.certificate.holds else 3


@dataclass(frozen=True, eq=False)
class _Measured:
    """Norms as tensors, and the largest rows and columns in words; empty where nobody asked."""

    arrays: dict[str, Any]
    summary: dict[str, Any]


def _norms(config: Svd, model: Model, part: Part, progress: Progress) -> _Measured:
    if not config.norms:
        return _Measured({}, {})
    found = norms(part.operator, progress)
    rows, columns = largest(
        part.operator,
        found,
        config.norms,
        token_ids=part.token_ids,
        places=part.places,
        logits=model.logits,
        vocabulary=model.vocabulary(),
        text=model.token_text,
    )
    return _Measured(
        {"row_norms": found.rows, "column_norms": found.columns},
        {
            "largest_rows": [asdict(row) for row in rows],
            "largest_columns": [asdict(column) for column in columns],
        },
    )
