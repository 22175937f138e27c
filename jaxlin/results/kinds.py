"""The kinds of results, by the verb that makes them: the one table that reading and the report go by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jaxlin.errors import JaxlinError
from jaxlin.results import store
from jaxlin.results.attribute import Attribution
from jaxlin.results.base import Result
from jaxlin.results.compare import Comparison
from jaxlin.results.compare_models import ModelComparison
from jaxlin.results.layers import LayersResult
from jaxlin.results.points import PointContributions
from jaxlin.results.steer import SteeringResult
from jaxlin.results.svd import SVDResult
from jaxlin.results.tokens import TokensResult

#: Verb -> what it makes. A comparison is of policies or of models; the latter's summary has ``models``.
KINDS: Mapping[str, type[Result]] = {
    kind.kind: kind
    for kind in (
        SVDResult,
        TokensResult,
        LayersResult,
        Attribution,
        Comparison,
        SteeringResult,
        PointContributions,
    )
}


def read(folder: str | Path) -> Result:
    """A result of any kind that was saved, by a verb with ``out`` or by its ``save``.

    Raises:
        JaxlinError: there is no result, one of an unknown kind, or one that cannot be read.
    """
    saved = store.look(Path(folder))
    verb = str(saved.summary.get("verb"))
    if verb not in KINDS:
        raise JaxlinError(
            f"{folder} cannot be shown (a result of {verb[:40]!r}): give one of {', '.join(sorted(KINDS))}"
        )
    kind = ModelComparison if verb == ModelComparison.kind and "models" in saved.summary else KINDS[verb]
    kind.check(saved)
    return kind.restore(saved)
