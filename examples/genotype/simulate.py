"""A population with known effects: genotypes along one chromosome, and a phenotype of them with noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Population:
    """Individuals, their phenotype, and what made it.

    ``phenotype = Σ_j additive_j z_j + Σ_{j<k} epistasis_jk z_j z_k + noise``, centred and scaled so that its
    genetic part has variance 1.

    Attributes:
        genotypes: copies of the rarer allele, 0, 1 or 2 [individuals, loci].
        frequencies: of that allele [loci].
        phenotype: [individuals].
        genetic: the phenotype without its noise [individuals].
        additive: effects of one allele in a population with these frequencies [loci].
        epistasis: effects of pairs, symmetric with zeros on the diagonal [loci, loci].
    """

    genotypes: Float[np.ndarray, "individuals loci"]
    frequencies: Float[np.ndarray, " loci"]
    phenotype: Float[np.ndarray, " individuals"]
    genetic: Float[np.ndarray, " individuals"]
    additive: Float[np.ndarray, " loci"]
    epistasis: Float[np.ndarray, "loci loci"]

    @property
    def z(self) -> Float[np.ndarray, "individuals loci"]:
        """Genotypes as differences from their expected value 2p, in alleles."""
        return self.genotypes - 2 * self.frequencies


def chromosomes(
    individuals: int, frequencies: Float[np.ndarray, " loci"], switch: float, random: np.random.Generator
) -> Float[np.ndarray, "individuals loci"]:
    """One allele of each locus for every individual, 0 or 1, by a Markov chain along the chromosome.

    A hidden number between 0 and 1 is passed on from locus to locus and is drawn anew with probability
    ``switch``; the allele is 1 where it is below the locus's frequency. With ``switch=1`` loci are
    independent.
    """
    loci = len(frequencies)
    hidden = random.random((individuals, loci))
    kept = random.random((individuals, loci)) >= switch
    for locus in range(1, loci):
        hidden[:, locus] = np.where(kept[:, locus], hidden[:, locus - 1], hidden[:, locus])
    return (hidden < frequencies).astype(np.float64)


def simulate(
    individuals: int = 2000,
    loci: int = 100,
    *,
    heritability: float = 0.8,
    switch: float = 1.0,
    additive_loci: int = 20,
    pairs: int = 10,
    epistatic_share: float = 0.4,
    seed: int = 0,
) -> Population:
    """A population.

    Args:
        individuals: how many.
        loci: how many, in the order of the chromosome.
        heritability: the share of the phenotype's variance that is genetic; 1 for no noise.
        switch: the probability of a new draw between neighbouring loci: 1 for no linkage.
        additive_loci: how many loci have an additive effect.
        pairs: how many pairs interact; no locus is in two of them.
        epistatic_share: the variance of the pairs' part, where that of both parts is 1 before they are added.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    frequencies = random.uniform(0.2, 0.5, loci)
    genotypes = sum(chromosomes(individuals, frequencies, switch, random) for _ in range(2))
    z = genotypes - 2 * frequencies
    additive = np.zeros(loci)
    additive[random.choice(loci, additive_loci, replace=False)] = random.standard_normal(additive_loci)
    epistasis = np.zeros((loci, loci))
    first, second = random.choice(loci, (2, pairs), replace=False)
    epistasis[first, second] = random.choice([-1, 1], pairs) * random.uniform(0.5, 1.5, pairs)
    epistasis += epistasis.T
    additive *= np.sqrt(1 - epistatic_share) / np.std(z @ additive)
    epistasis *= np.sqrt(epistatic_share) / np.std(of_pairs(z, epistasis))
    genetic = z @ additive + of_pairs(z, epistasis)
    scale = genetic.std()
    genetic = (genetic - genetic.mean()) / scale
    noise = np.sqrt(1 / heritability - 1) * random.standard_normal(individuals)
    return Population(genotypes, frequencies, genetic + noise, genetic, additive / scale, epistasis / scale)


def of_pairs(
    z: Float[np.ndarray, "individuals loci"], epistasis: Float[np.ndarray, "loci loci"]
) -> Float[np.ndarray, " individuals"]:
    """Σ_{j<k} epistasis_jk z_j z_k of every individual."""
    total: np.ndarray = ((z @ epistasis) * z).sum(1) / 2
    return total
