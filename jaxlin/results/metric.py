"""By what length outputs are measured: the hidden state's own, or what a change of it does to the prediction.

A metric is a matrix L, and the SVD is that of L·J. Nothing here imports JAX, so that ``--help`` is fast.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxlin.errors import JaxlinError, shortened

HIDDEN, FISHER, LOGITS = "hidden", "fisher", "logits"
#: Metric -> what σ is.
METRICS: Mapping[str, str] = {
    HIDDEN: "σ is how far a step of length 1 along v moves the hidden state",
    FISHER: "½σ² is the KL divergence, in nats, by which a step of length 1 along v changes the prediction "
    "(second order)",
    LOGITS: "σ is how far a step of length 1 along v moves the centred logits of all the vocabulary",
}


def check_metric(metric: str) -> None:
    """:class:`JaxlinError` at a metric that is none."""
    if metric not in METRICS:
        raise JaxlinError(f"unknown metric {shortened(metric)!r}: choose one of {', '.join(METRICS)}")


def map_in(metric: str) -> str:
    """What the matrix is called that is taken apart."""
    return "J" if metric == HIDDEN else "L·J"
