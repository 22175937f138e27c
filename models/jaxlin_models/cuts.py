"""How the positions of a prompt are cut into blocks, and which blocks have to do with each other."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

#: The number of a block or of a position, or several of them.
Index = int | Int[Array, "..."] | Int[np.ndarray, "..."]


@dataclass(frozen=True)
class Cut:
    """Positions in runs of one length, one for each device that has some, and every run in equal blocks.

    The last block of a run may be longer than what is left of the run; the rest of it is filled.

    Attributes:
        run: positions in a run.
        size: positions in a block.
        runs: how many runs there are.
    """

    run: int
    size: int
    runs: int = 1

    @classmethod
    def of(cls, length: int, block: int, runs: int = 1) -> Cut:
        """The fewest equal blocks of at most ``block`` positions, so that little is filled.

        ``runs`` divides ``length``.
        """
        run = length // runs
        return cls(run, -(-run // -(-run // block)), runs)

    @property
    def blocks_of_run(self) -> int:
        """Blocks in a run."""
        return -(-self.run // self.size)

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.runs * self.blocks_of_run

    @property
    def filled(self) -> bool:
        """Whether some block has places for which there is no position."""
        return self.run % self.size != 0

    def first(self, block: Index) -> Index:
        """The first position of a block."""
        return block // self.blocks_of_run * self.run + block % self.blocks_of_run * self.size

    def count(self, block: Index) -> Index:
        """Positions in a block."""
        return jnp.minimum(self.run - block % self.blocks_of_run * self.size, self.size)

    def block_of(self, position: Index) -> Index:
        """The block that a position is in."""
        return position // self.run * self.blocks_of_run + position % self.run // self.size

    def visible_key_blocks(self, query_block: Index, reach: Index) -> tuple[Index, Index]:
        """[first, last) of the key blocks of which some query of a block sees something."""
        furthest = jnp.maximum(self.first(query_block) - reach + 1, 0)
        return self.block_of(furthest), query_block + 1

    def seeing_query_blocks(self, key_block: Index, reach: Index) -> tuple[Index, Index]:
        """[first, last) of the query blocks of which some query sees something of a key block."""
        furthest = self.first(key_block) + self.count(key_block) + reach - 2  # sees the block's last key
        return key_block, self.block_of(jnp.minimum(furthest, self.runs * self.run - 1)) + 1

    def apart(self, x: Float[Array, "*heads t f"]) -> Float[Array, "n *heads size f"]:
        """The position axis cut into blocks, which come first; filled with zeros."""
        *heads, _, features = x.shape
        missing = self.blocks_of_run * self.size - self.run
        x = x.reshape(*heads, self.runs, self.run, features)
        x = jnp.pad(x, [*[(0, 0)] * (len(heads) + 1), (0, missing), (0, 0)])
        return jnp.moveaxis(x.reshape(*heads, self.blocks, self.size, features), -3, 0)

    def together(self, x: Float[Array, "b n size ..."]) -> Float[Array, "b t ..."]:
        """Blocks of positions as one axis again, without what was filled."""
        probes, _, _, *rest = x.shape
        x = x.reshape(probes, self.runs, self.blocks_of_run * self.size, *rest)[:, :, : self.run]
        return x.reshape(probes, self.runs * self.run, *rest)
