"""The methods of :func:`jaxlin.svd` by name, and which of its arguments each uses; imports nothing."""

from __future__ import annotations

from collections.abc import Mapping

METHODS = ("auto", "dense", "gram", "lanczos", "matfree", "power")
#: Those that go on until their triplets are good enough, without the whole spectrum.
ITERATIVE = ("lanczos", "matfree", "power")
#: Which methods use an argument of :func:`jaxlin.svd`; what is not listed is used by all of them.
USED_BY: Mapping[str, tuple[str, ...]] = {
    "block": ("lanczos",),
    "max_passes": ITERATIVE,
    "verify_seed": ITERATIVE,
    "store": ("lanczos",),
    "scratch": ("gram",),
}


def uses(method: str, option: str) -> bool:
    """Whether a method uses an argument of :func:`jaxlin.svd`; ``auto`` may come to use any."""
    return method == "auto" or method in USED_BY.get(option, METHODS)
