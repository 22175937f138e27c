"""Whether quantised weights stay so, by name; how they do is in :mod:`jaxlin_models.packed`."""

from __future__ import annotations

from jaxlin.errors import JaxlinError, shortened

#: Packed where they would not fit otherwise; packed; as numbers.
WEIGHTS = ("auto", "packed", "unpacked")


def check_weights(weights: str) -> None:
    """:class:`JaxlinError` at a setting that is none of :data:`WEIGHTS`."""
    if weights not in WEIGHTS:
        raise JaxlinError(f"unknown weights {shortened(weights)!r}: choose one of {', '.join(WEIGHTS)}")
