"""A stack of layers that are not all in one form: stacks by form, and where in them each layer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Mixed:
    """Stacks by form, in the place of one stack; ``np.asarray`` makes that.

    Attributes:
        stacks: each of the layers of one form: packed, or an array.
        places: of every layer, (number of its stack, its place there).
    """

    stacks: tuple[Any, ...]
    places: tuple[tuple[int, int], ...] = field(metadata={"static": True})

    def __repr__(self) -> str:
        return f"Mixed({', '.join(map(repr, self.stacks))})"

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        if index is Ellipsis:
            return self
        which, place = self.places[index]
        return jax.tree.map(lambda a: a[place], self.stacks[which])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.stack([np.asarray(self[i], dtype) for i in range(len(self))])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stack."""
        return (len(self.places), *self.stacks[0].shape[1:])

    @property
    def dtype(self) -> Any:
        """Of the numbers."""
        return self.stacks[0].dtype


def is_mixed(node: Any) -> bool:
    """Whether a node of a pytree is a stack of several forms."""
    return isinstance(node, Mixed)
