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
# # A glass-box UMAP: which genes place a cell?
#
# A UMAP shows which cells are alike. It does not show why. Here a network learns the UMAP, and for every cell
# `jaxlin.contributions` says exactly what each gene adds to its place. The network has ReLU layers without biases, so its
# offset c is zero, and the contributions of the genes that a cell expresses sum to its place in the picture. Nothing is
# left over. The idea is that of
# [Glass-box UMAP](https://arcadia-science.github.io/glass-box-umap/index_v1.0.html) (Arcadia Science, 2025). `make umap` runs this
# in under three minutes.
#
# ## Cells
#
# 700 blood cells and 765 genes, from the file `pbmc68k_reduced` in the package scanpy. Expression is log(1 + count), not
# centred: a gene that was not seen in a cell is 0, and contributes nothing.

# %%
import time
from functools import partial

import jax
import numpy as np
import umap_pictures as pictures
from approximations import expected_gradients, integrated_gradients, kernel_shap, permutation_shap
from cells import packaged_file, read_cells
from expression import first_genes, rank_sum, separation, strongest
from parametric_umap import embed, principal_components, train, umap_graph
from scipy import stats

import jaxlin

jax.config.update("jax_enable_x64", True)
started = time.perf_counter()
cells = read_cells(packaged_file())
x, genes = cells.expression, np.array(cells.genes)
print(f"{x.shape[0]} cells, {x.shape[1]} genes; {np.mean(x > 0):.0%} of the entries are not 0")

# %% [markdown]
# ## The picture
#
# umap-learn makes the graph of neighbours, from 50 principal components as usual. The network, 765 → 128 → 128 → 2, is trained
# with optax in float64 on UMAP's loss, averaged over all its samples. It begins at the first two principal components.

# %%
graph = umap_graph(principal_components(x, 50), neighbours=15)
trained = train(x, graph, seed=0)
print(f"UMAP's loss {trained.losses[50]:.3f} → {trained.losses[-1]:.3f} in {len(trained.losses) - 50} steps")

# %% [markdown]
# ## The exact contributions
#
# J of every cell, [700, 2, 765], and what each gene adds to both dimensions, J ⊙ x. The certificate holds for every cell: c is
# computed by itself, and is 0.

# %%
result = jaxlin.contributions(embed, x, trained.weights, features=cells.genes, outputs=("1", "2"))
assert result.holds
contributions, placed = result.contributions, result.y
gap = np.abs(contributions.sum(-1) - placed).max() / np.abs(placed).max()
assert gap <= 1e-12
assert not result.offset.any()
print(f"largest |sum of contributions − place| = {gap:.0e} of the picture's size, in float64")

# %%
top = strongest(contributions)
figure = pictures.embedding_figure(placed, cells.kinds, genes[top].tolist())

# %% [markdown]
# **a** The labels come with the data. **b** The gene whose contribution, as an arrow in the plane, is longest. The network saw no label, and
# no list of marker genes.
#
# ## Which genes move a kind of cell?
#
# The centre of a kind of cell and that of all other cells are some way apart. The difference of their mean contributions, along the
# line from one to the other, says how much of that way each gene accounts for. The sum over genes is the distance.

# %%
moved = {kind: separation(contributions, cells.members(kind)) for kind in cells.kind_names}
figure = pictures.heat_figure(moved, cells.genes)
for kind, scores in moved.items():
    first = ", ".join(genes[first_genes(scores, 6)])
    print(f"{kind:30} {scores.sum():5.1f} away: {first}")

# %% [markdown]
# ## Against differential expression
#
# Wilcoxon's rank-sum test asks something else: is a gene expressed differently in this kind of cell? It looks at one gene at a
# time. A gene counts for |z|: cells are also moved by what they do not express and others do.

# %%
ranked = {kind: pictures.Ranked(moved[kind], rank_sum(x, cells.members(kind))) for kind in moved}
print(f"{'':30} cells   rank correlation   of the first 20 genes in both")
for kind, scores in ranked.items():
    both = np.intersect1d(first_genes(scores.moved, 20), first_genes(np.abs(scores.z), 20))
    rho = stats.spearmanr(scores.moved, np.abs(scores.z)).statistic
    print(f"{kind:30} {cells.kinds.count(kind):5} {rho:18.2f} {len(both):15}")

# %%
shown = ("Dendritic", "CD14+ Monocyte", "CD19+ B", "CD56+ NK")
figure = pictures.agreement_figure({kind: ranked[kind] for kind in shown}, cells.genes)

# %% [markdown]
# The clearest markers are found by both. They differ where many genes say the same: the test ranks all of them, the network leans on
# a few. And a kind that the picture does not set apart, as among the T cells, has no genes that move it far.
#
# ## What happens without these genes?
#
# Contributions are exact for the network as it is at this cell. They are not a prediction of what happens when a gene is switched
# off: then other ReLUs are active. Here ten genes are set to 0, and the kind's centre moves. Genes whose absence places a kind change
# nothing here, since its cells do not express them.

# %%
embed_all = jax.jit(lambda points: embed(points, trained.weights))
random = np.random.default_rng(0)
print(f"{'':30} ten genes by        contributions   moved by network")
for kind in shown:
    members = cells.members(kind)
    choices = {
        "contribution": first_genes(moved[kind], 10),
        "rank-sum |z|": first_genes(np.abs(ranked[kind].z), 10),
        "chance": random.choice(len(genes), 10, replace=False),
    }
    for name, chosen in choices.items():
        without = x[members].copy()
        without[:, chosen] = 0
        change = np.asarray(embed_all(without)) - placed[members]
        expected = -contributions[members][:, :, chosen].sum(-1)
        lengths = [np.linalg.norm(each.mean(0)) for each in (expected, change)]
        print(f"{kind:30} {name:15} {lengths[0]:15.2f} {lengths[1]:18.2f}")

# %% [markdown]
# ## Another network, other contributions?
#
# The contributions belong to one network. Two more, from other first weights, place the same cells by the same graph, and nearly at the
# same places.

# %%
others = []
for seed in (1, 2):
    weights = train(x, graph, seed=seed).weights
    other = jaxlin.contributions(embed, x, weights)
    assert other.holds
    others.append(other.contributions)
for kind in shown:
    members = cells.members(kind)
    rhos = [stats.spearmanr(moved[kind], separation(each, members)).statistic for each in others]
    ten = set(first_genes(moved[kind], 10))
    shared = [len(ten & set(first_genes(separation(each, members), 10))) for each in others]
    print(
        f"{kind:30} rank correlation {rhos[0]:.2f}, {rhos[1]:.2f}; of the first 10 genes {shared[0]}, {shared[1]} again"
    )
same = [np.mean(strongest(each) == top) for each in others]
print(f"the same strongest gene: {same[0]:.0%} and {same[1]:.0%} of cells")

# %% [markdown]
# ## Against SHAP and its relatives
#
# Five cells for SHAP, which takes long, 100 or all for the others. Times are seconds of one CPU core, with compilation. All of them share out the same place over the genes, by other rules. Integrated gradients from
# no expression are the exact contributions here: along the line from 0 to a cell a network without biases has one and the same
# J. Shapley values average over what happens when genes are absent, so they differ by definition. What they differ by between
# two runs is the error of sampling.

# %%
everyone = np.random.default_rng(0).permutation(len(x))
hundred, five = everyone[:100], everyone[:5]
network = partial(embed, weights=trained.weights)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ as a share of ‖b‖, mean over cells."""
    return float(
        np.mean([np.linalg.norm(one - two) / np.linalg.norm(two) for one, two in zip(a, b, strict=True)])
    )


methods = {
    "integrated gradients, 16 steps": (
        everyone,
        lambda some, seed: integrated_gradients(network, some, steps=16),
    ),
    "expected gradients, 200 samples": (
        hundred,
        lambda some, seed: expected_gradients(network, some, x, samples=200, seed=seed),
    ),
    "SHAP, 10 permutations": (
        five,
        lambda some, seed: permutation_shap(network, some, permutations=10, seed=seed),
    ),
    "kernel SHAP, 3,578 samples": (
        five,
        lambda some, seed: kernel_shap(network, some, samples=3578, seed=seed),
    ),
}
begun = time.process_time()
jaxlin.contributions(embed, x, trained.weights)
rows = [("jaxlin.contributions", (time.process_time() - begun) / len(x), 0.0, 0.0)]
print(f"{'':32} s a cell   distance   two runs   first 10 genes   sum − place")
for name, (numbers, method) in methods.items():
    exact = contributions[numbers]
    first_run = method(x[numbers], 0)
    begun = time.process_time()
    second_run = method(x[numbers], 1)
    seconds = (time.process_time() - begun) / len(numbers)
    off, spread = distance(second_run, exact), distance(second_run, first_run)
    rows.append((name, seconds, off, spread))
    lengths = [np.linalg.norm(each, axis=1) for each in (second_run, exact)]
    ten = np.mean(
        [len(set(first_genes(a, 10)) & set(first_genes(b, 10))) for a, b in zip(*lengths, strict=True)]
    )
    unexplained = np.abs(second_run.sum(-1) - placed[numbers]).max()
    print(f"{name:32} {seconds:8.4f} {off:10.1e} {spread:10.1e} {ten:16.1f} {unexplained:13.0e}")
print(f"{rows[0][0]:32} {rows[0][1]:8.4f}")

# %%
figure = pictures.methods_figure(rows)

# %%
print(f"{time.perf_counter() - started:.0f} s, {time.process_time():.0f} s of one CPU core")
