"""What a result of ``jaxlin svd`` is on disk, whether of one prompt or of many: tensors and a summary."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jaxlin.analyses.decoding import Direction
from jaxlin.commands.job import made_from, made_with
from jaxlin.commands.options import Svd
from jaxlin.commands.part import Part
from jaxlin.linear.certificate import as_json
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.budget import Forecast
from jaxlin.prompts.model import Model
from jaxlin.results.store import operator_arrays
from jaxlin.solvers.choose import MethodChoice
from jaxlin.solvers.svd import SVDResult


def arrays_of(part: Part, result: SVDResult, jacobian: Any | None) -> dict[str, Any]:
    arrays = operator_arrays(part.operator, part.token_ids, part.places) | {
        "U": result.U,
        "s": result.s,
        "V": result.V,
        "residuals": result.residuals,
    }
    optional = {"spectrum": result.spectrum, "jacobian": jacobian}
    return arrays | {name: array for name, array in optional.items() if array is not None}


def _target_value(operator: DetachedJacobian, targeted: bool) -> dict[str, float]:
    return (
        {"target_value": float(operator.y[0]), "target_offset": float(operator.offset[0])} if targeted else {}
    )


def summarize(
    config: Svd,
    model: Model,
    part: Part,
    result: SVDResult,
    chosen: MethodChoice,
    expected: Forecast,
    directions: list[Direction],
) -> dict[str, Any]:
    """Everything about a run that is not a tensor; see DESIGN, results on disk."""
    return {
        **made_from(config, model, part),
        "target": config.target,
        **_target_value(part.operator, config.target is not None),
        "method": result.method,
        "method_reason": expected.choice.reason,
        "predicted_peak_bytes": expected.peak if expected.phases else None,
        "k": len(result.s),
        "block": chosen.block,
        "tolerance": result.certificate.tolerance,
        "passes": result.passes,
        "seconds": round(result.seconds, 3),
        **made_with(model),
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
