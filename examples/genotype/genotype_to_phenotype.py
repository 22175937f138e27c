# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Genotype to phenotype
#
# A network is trained to predict a phenotype from genotypes. Is what it learnt what made the phenotype? Here the truth
# is known, because the population is simulated: 2,000 individuals, 100 loci with 0, 1 or 2 copies of an allele, 20 loci
# with an additive effect, and 10 pairs of loci that interact. `make genotype` runs this in under two minutes.
#
# For every individual, `jaxlin.contributions` computes the exact map J of the network with its coefficients frozen:
# prediction = J·z + c. Two things can be read from 2,000 maps:
#
# * their **mean** is the additive effect of every locus;
# * **how they change with the genotype** is the effect of every pair.

# %%
import time
from functools import cache

import genotype_pictures as pictures
import jax
import numpy as np
from effects import additive_effects, agreement, found_first, of_each_pair, pair_effects
from phenotype_network import fit, predict
from regression import linear, pair_lasso, pair_scan
from simulate import simulate

import jaxlin

jax.config.update("jax_enable_x64", True)
started = time.perf_counter()

# %% [markdown]
# ## One population
#
# Independent loci, and a phenotype of which 80 % of the variance is genetic. 40 % of the genetic variance comes from pairs. z
# is the genotype as a difference from its mean 2p, so that the additive effect of a locus is what one more allele adds in
# the mean of the population.


# %%
@cache
def learn(heritability: float, switch: float):
    """A population, and a network that was trained on it."""
    population = simulate(heritability=heritability, switch=switch, seed=0)
    return population, fit(population.z, population.phenotype)


population, network = learn(heritability=0.8, switch=1.0)
z = population.z
print(f"explains {network.explained:.0%} of the variance of individuals that were left out, of at most 80%")

# %% [markdown]
# The network is the mean of five, and each has one hidden layer of 64 SiLU units. SiLU(h) is σ(h)·h, so
# with σ(h) frozen the network is linear. The certificate compares J·z + c with the prediction of every individual, and
# c is the base value of the network, the same for all.

# %%
result = jaxlin.contributions(predict, z, network.weights)
assert result.holds
maps = result.matrices[:, 0]
gap = np.abs(result.contributions.sum(-1)[:, 0] + result.offset - result.y).max()
assert gap <= 1e-12
print(f"{len(maps):,} maps of {maps.shape[1]} loci; largest |J·z + c − prediction| = {gap:.0e}")
print(f"c = {result.offset.min():.4f} … {result.offset.max():.4f}")

# %% [markdown]
# ## Effects of loci and of pairs
#
# A product b·z_j·z_k is shared once coefficients are frozen: J_j has b/2·z_k, J_k has b/2·z_j. So the map's entry
# of locus j is regressed on all genotypes, and the effect of a pair is the sum of its two slopes.

# %%
additive, epistasis = additive_effects(maps), pair_effects(maps, z)
figure = pictures.effects_figure(
    (population.additive, additive), (population.epistasis, epistasis), maps, population.genotypes
)

# %% [markdown]
# **a**, **b** Found effects against true ones. **c** The map's entry of one locus, in individuals with 0, 1 and 2 copies of the allele
# at its partner and at a locus that does not interact with it. Boxes are quartiles.

# %%
truth = of_each_pair(population.epistasis)
share = found_first(of_each_pair(epistasis), truth)
print(f"additive effects: r = {agreement(additive, population.additive):.3f}")
print(
    f"pairs: r = {agreement(of_each_pair(epistasis), truth):.3f}; {share:.0%} of the true ones are the ten largest"
)

# %% [markdown]
# ## Noise, linkage, and what regression finds
#
# The same with more noise, and in a population with linkage: an allele is passed on along the chromosome, so that
# neighbours are correlated. Regression gets the same data:
#
# * linear regression on all loci, for additive effects;
# * pair after pair: what linear regression leaves, on the product of each pair by itself;
# * the lasso on 100 loci and 4,950 products at once, of which least squares has too many for 2,000 individuals. It is
#   told the form of the truth, sums of effects and products, which the network is not.

# %%
HERITABILITIES = (1.0, 0.8, 0.5)
POPULATIONS = {"independent loci": 1.0, "linked loci": 0.1}
MEASURES = ("additive effects: r", "pairs: r", "pairs: share found")
results = {measure: {name: {} for name in POPULATIONS} for measure in MEASURES}
linked = {}
for name, switch in POPULATIONS.items():
    for heritability in HERITABILITIES:
        one, fitted = learn(heritability=heritability, switch=switch)
        found = jaxlin.contributions(predict, one.z, fitted.weights)
        assert found.holds
        of_loci, of_pairs = pair_lasso(one.z, one.phenotype)
        learnt = pair_effects(found.matrices[:, 0], one.z)
        loci = {
            "maps of the network": additive_effects(found.matrices[:, 0]),
            "linear regression": linear(one.z, one.phenotype),
            "lasso on all pairs": of_loci,
        }
        pairs = {
            "maps of the network": of_each_pair(learnt),
            "pair after pair": pair_scan(one.z, one.phenotype),
            "lasso on all pairs": of_pairs,
        }
        true_pairs = of_each_pair(one.epistasis)
        measured = (
            {method: agreement(effects, one.additive) for method, effects in loci.items()},
            {method: agreement(effects, true_pairs) for method, effects in pairs.items()},
            {method: found_first(effects, true_pairs) for method, effects in pairs.items()},
        )
        for measure, values in zip(MEASURES, measured, strict=True):
            shown = ", ".join(f"{method} {value:.2f}" for method, value in values.items())
            print(f"{name:17} {heritability:4.2f}  {measure:20} {shown}")
            for method, value in values.items():
                results[measure][name].setdefault(method, []).append(value)
        if switch < 1 and heritability == 0.8:
            lasso = np.zeros_like(one.epistasis)
            lasso[np.triu_indices(len(lasso), 1)] = of_pairs
            linked = {"maps of the network": learnt, "lasso on all pairs": lasso + lasso.T}
            linked_truth = one.epistasis

# %%
figure = pictures.noise_figure(HERITABILITIES, results)

# %% [markdown]
# *r* is the correlation of found with true effects over all loci (100) or all pairs (4,950). *Share found* is the share of the ten
# true pairs among the ten largest effects found.

# %%
figure = pictures.pairs_figure(linked, linked_truth)

# %% [markdown]
# Linked loci, heritability 0.8. Above the diagonal are the true pairs, below it what was found. The area of a disc is its effect. An
# effect that is found beside its true place is at a neighbour that is correlated with the true locus.

# %%
print(f"{time.perf_counter() - started:.0f} s, {time.process_time():.0f} s of one CPU core")
