"""A solver's state where several processes solve together: process 0 keeps it, and tells the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import safetensors.numpy
from jaxtyping import Array, Shaped

from jaxlin.runtime.hosts import agreed, from_first
from jaxlin.runtime.solver_state import SolverState
from jaxlin.runtime.state_file import Shapes


class SharedState:
    """What a solver saves to and goes on from; a :class:`jaxlin.solvers.result.StateStore`."""

    def __init__(self, own: SolverState | None) -> None:
        """Of process 0 its own state, of the others None."""
        self._own = own

    def restore(
        self, check: Callable[[Shapes], None] | None = None
    ) -> dict[str, Shaped[np.ndarray, ...]] | None:
        """The arrays of the last save, in all processes.

        Raises:
            JaxlinError: see :meth:`SolverState.restore`.
        """
        own = self._own
        found = agreed(lambda: None if own is None else own.restore(check))
        content = from_first(lambda: b"" if found is None else safetensors.numpy.save(found))
        return safetensors.numpy.load(content) if content else None

    def save(self, step: int, arrays: Mapping[str, Array | np.ndarray]) -> None:
        """Keep the arrays of this step, in process 0; see :meth:`SolverState.save`."""
        if self._own is not None:
            self._own.save(step, arrays)
