"""Two rankings of genes for a group of cells: by what moves it, and by differential expression."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats


def separation(
    contributions: Float[np.ndarray, "cells 2 genes"], members: Bool[np.ndarray, " cells"]
) -> Float[np.ndarray, " genes"]:
    """How far each gene moves the centre of a group away from the centre of all other cells.

    The difference of the mean contributions along the line from one centre to the other. The sum over genes
    is the distance of the centres, exactly, because contributions sum to the places of cells.
    """
    apart = contributions[members].mean(0) - contributions[~members].mean(0)
    line = apart.sum(1)
    along: np.ndarray = line @ apart / np.linalg.norm(line)
    return along


def rank_sum(
    expression: Float[np.ndarray, "cells genes"], members: Bool[np.ndarray, " cells"]
) -> Float[np.ndarray, " genes"]:
    """Wilcoxon's rank-sum z of every gene, group against rest, corrected for ties; 0 for a constant gene.

    The statistic of scanpy's ``rank_genes_groups(method="wilcoxon", tie_correct=True)``.
    """
    n, inside = len(members), int(members.sum())
    ranks = stats.rankdata(expression, axis=0)
    surplus = ranks[members].sum(0) - inside * (n + 1) / 2
    # The variance of ranks as they are: with ties it is smaller than that of 1 … n.
    spread = np.sqrt(inside * (n - inside) / (n - 1) * ranks.var(axis=0))
    return np.divide(surplus, spread, out=np.zeros_like(surplus), where=spread > 0)


def first_genes(scores: Float[np.ndarray, " genes"], k: int) -> np.ndarray:
    """The numbers of the k genes with the largest scores, the largest first."""
    return np.argsort(-scores, kind="stable")[:k]


def strongest(contributions: Float[np.ndarray, "cells 2 genes"]) -> np.ndarray:
    """The number of the gene with the longest contribution to the place of every cell [cells]."""
    return np.linalg.norm(contributions, axis=1).argmax(1)
