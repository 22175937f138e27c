"""Effects of alleles and of pairs, from the map of every individual."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def additive_effects(maps: Float[np.ndarray, "individuals loci"]) -> Float[np.ndarray, " loci"]:
    """The mean map: what one more allele adds, in the mean of the population."""
    mean: np.ndarray = maps.mean(0)
    return mean


def pair_effects(
    maps: Float[np.ndarray, "individuals loci"], z: Float[np.ndarray, "individuals loci"]
) -> Float[np.ndarray, "loci loci"]:
    """How the maps change with the genotype: the effect of every pair, symmetric.

    The map's entry of locus j is regressed on the genotypes of all loci at once, so that a locus does not
    count for its neighbours. A product b z_j z_k is held half by each of its loci once coefficients are
    frozen: J_j has b/2 z_k, and J_k has b/2 z_j. So the effect is the sum of both slopes.
    """
    slopes = np.linalg.lstsq(z - z.mean(0), maps - maps.mean(0), rcond=None)[0]
    effects: np.ndarray = slopes + slopes.T
    return effects


def of_each_pair(effects: Float[np.ndarray, "loci loci"]) -> Float[np.ndarray, " pairs"]:
    """Every pair once, in the order of ``numpy.triu_indices``."""
    return effects[np.triu_indices(len(effects), 1)]


def agreement(found: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> float:
    """Pearson's correlation; 0 where nothing was found."""
    return float(np.corrcoef(found, truth)[0, 1]) if np.std(found) > 0 else 0.0


def found_first(found: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> float:
    """The share of true effects among as many of the largest effects that were found."""
    k = np.count_nonzero(truth)
    largest = np.argsort(-np.abs(found), kind="stable")[:k]
    return float(np.mean(truth[largest] != 0))
