"""The cells: 700 blood cells with 765 genes, from the file that the package scanpy has inside.

Zheng et al. 2017, "Massively parallel digital transcriptional profiling of single cells", Nature
Communications 8, 14049 (68,000 peripheral blood mononuclear cells), as scanpy reduced it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import sparse

from jaxlin import JaxlinError

#: Where the file is in the package.
INSIDE = "datasets/10x_pbmc68k_reduced.h5ad"


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells, what they express, and what kind they were said to be.

    Attributes:
        expression: log(1 + count), counts scaled to one total for each cell [cells, genes]; 0 where a gene
            was not seen in a cell.
        genes: their names.
        kinds: the kind of every cell, as its authors labelled it by comparison with purified cells.
    """

    expression: Float[np.ndarray, "cells genes"]
    genes: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Every kind once, the largest first."""
        return tuple(sorted(set(self.kinds), key=lambda kind: (-self.kinds.count(kind), kind)))

    def members(self, kind: str) -> np.ndarray:
        """Which cells are of a kind, as a mask [cells]."""
        return np.array([other == kind for other in self.kinds])


def packaged_file() -> Path:
    """The file in the installed package, which itself is not imported.

    Raises:
        JaxlinError: the package is not installed, or has no such file.
    """
    found = find_spec("scanpy")
    path = Path(found.origin).parent / INSIDE if found and found.origin else None
    if path is None or not path.is_file():
        raise JaxlinError(
            f"scanpy/{INSIDE} is not installed: run `make umap`, or `pip install --no-deps scanpy==1.11.5`"
        )
    return path


def read_cells(path: Path) -> Cells:
    """The cells of a file laid out as scanpy's: log counts in ``raw.X``, kinds in ``bulk_labels``."""
    import h5py

    with h5py.File(path) as file:
        parts = [file[f"raw.X/{name}"][:] for name in ("data", "indices", "indptr")]
        genes = tuple(name.decode() for name in file["raw.var"]["index"])
        labels = [name.decode() for name in file["uns/bulk_labels_categories"]]
        kinds = tuple(labels[code] for code in file["obs"]["bulk_labels"])
    counts = sparse.csr_matrix(tuple(parts), shape=(len(kinds), len(genes)))
    return Cells(counts.toarray().astype(np.float64), genes, kinds)
