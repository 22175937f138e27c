"""What the examples compute, on little: planted effects are found, and contributions sum to the picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import approximations
import cells
import effects
import expression
import jax
import jax.numpy as jnp
import numpy as np
import parametric_umap
import phenotype_network
import pytest
import regression
import simulate
from scipy import stats

import jaxlin

GROUPS, EACH, GENES, MARKERS = 3, 20, 24, 4


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Cells of three kinds [60, 24] and their kinds: kind k alone expresses genes 4k … 4k + 3."""
    random = np.random.default_rng(0)
    kinds = np.repeat(np.arange(GROUPS), EACH)
    x = np.log1p(random.poisson(0.4, (len(kinds), GENES)).astype(np.float64))
    for kind in range(GROUPS):
        marked = np.ix_(kinds == kind, range(kind * MARKERS, (kind + 1) * MARKERS))
        x[marked] += random.uniform(1, 2, (EACH, MARKERS))
    return x, kinds


@pytest.fixture(scope="module")
def network(planted: tuple[np.ndarray, np.ndarray]) -> tuple[jax.Array, ...]:
    x, kinds = planted
    graph = (kinds[:, None] == kinds).astype(np.float64) - np.eye(len(kinds))
    return parametric_umap.train(x, graph, hidden=(16,), steps=120, first_steps=30, rate=1e-2).weights


def test_contributions_sum_to_the_picture(planted, network):
    x, kinds = planted
    result = jaxlin.contributions(parametric_umap.embed, x, network)
    assert result.holds
    assert not result.offset.any()
    direct = parametric_umap.embed(x, network)
    np.testing.assert_allclose(
        result.contributions.sum(-1), direct, rtol=0, atol=1e-12 * np.abs(direct).max()
    )
    assert not result.contributions[np.broadcast_to((x == 0)[:, None], result.contributions.shape)].any()
    centres = np.array([result.y[kinds == kind].mean(0) for kind in range(GROUPS)])
    nearest = np.linalg.norm(result.y[:, None] - centres, axis=-1).argmin(1)
    assert (nearest == kinds).mean() > 0.9


def test_markers_move_their_kind_and_are_found_by_the_test(planted, network):
    x, kinds = planted
    contributions = jaxlin.contributions(parametric_umap.embed, x, network).contributions
    for kind in range(GROUPS):
        members = kinds == kind
        markers = set(range(kind * MARKERS, (kind + 1) * MARKERS))
        assert set(expression.first_genes(expression.rank_sum(x, members), MARKERS)) == markers
        moved = expression.separation(contributions, members)
        places = contributions.sum(-1)
        apart = np.linalg.norm(places[members].mean(0) - places[~members].mean(0))
        assert moved.sum() == pytest.approx(apart, rel=1e-12)
        # Also by what the others express, so that other kinds' markers may come first, but no other gene.
        assert moved[list(markers)].sum() > 0
        assert set(expression.first_genes(moved, MARKERS)) <= set(range(GROUPS * MARKERS))


def test_the_strongest_gene_is_the_longest_arrow():
    contributions = np.zeros((2, 2, 3))
    contributions[0, :, 1], contributions[0, :, 2] = (3, -4), (4.9, 0)
    contributions[1, :, 0] = (0, -1)
    assert expression.strongest(contributions).tolist() == [1, 0]


def test_rank_sums_are_those_of_scipy(planted):
    x, kinds = planted
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)  # a constant gene
    z = expression.rank_sum(x, kinds == 1)
    there = stats.mannwhitneyu(
        x[kinds == 1, :-1], x[kinds != 1, :-1], method="asymptotic", use_continuity=False
    )
    np.testing.assert_allclose(2 * stats.norm.sf(np.abs(z[:-1])), there.pvalue, rtol=1e-9)
    assert (np.sign(z[:-1]) == np.sign(there.statistic - EACH * 2 * EACH / 2)).all()
    assert z[-1] == 0


def test_the_loss_is_the_sum_over_pairs():
    random = np.random.default_rng(1)
    placed, graph = random.standard_normal((5, 2)), random.random((5, 5))
    graph = (graph + graph.T) * (1 - np.eye(5))
    a, b = 1.5, 0.9
    total = 0.0
    for i in range(5):
        for j in range(5):
            closeness = 1 / (1 + a * (np.sum((placed[i] - placed[j]) ** 2) + 1e-3) ** b)
            total -= graph[i, j] * np.log(closeness)
            if i != j:
                total -= 5 / 5 * graph[i].sum() * np.log1p(-closeness)
    found = parametric_umap.loss(jnp.asarray(placed), jnp.asarray(graph), (a, b))
    assert float(found) == pytest.approx(total / graph.sum(), rel=1e-9)


def test_the_curve_of_closeness_is_that_of_umap_learn():
    """``umap.umap_.find_ab_params(1.0, 0.1)`` of umap-learn 0.5.12."""
    assert parametric_umap.closeness_curve(0.1) == pytest.approx(
        (1.5769434602697652, 0.8950608778515733), rel=1e-5
    )


def test_integrated_gradients_of_a_network_without_biases_are_the_contributions(planted, network):
    x = planted[0][:4]
    exact = jaxlin.contributions(parametric_umap.embed, x, network).contributions
    f = partial(parametric_umap.embed, weights=network)
    found = approximations.integrated_gradients(f, x, steps=3)
    np.testing.assert_allclose(found, exact, atol=1e-12 * np.abs(exact).max())


def test_expected_gradients_agree_where_the_network_is_linear(planted):
    x = planted[0][:3]
    matrix = np.random.default_rng(2).standard_normal((GENES, 2))
    f = partial(parametric_umap.embed, weights=(matrix,))
    other = planted[0][5:6]
    found = approximations.expected_gradients(f, x, other, samples=4, seed=0)
    np.testing.assert_allclose(found, (x - other)[:, None] * matrix.T, atol=1e-12)


def test_shap_agrees_where_the_network_is_linear(planted):
    pytest.importorskip("shap")
    x = planted[0][:3]
    matrix = np.random.default_rng(2).standard_normal((GENES, 2))
    f, exact = partial(parametric_umap.embed, weights=(matrix,)), x[:, None] * matrix.T
    found = approximations.permutation_shap(f, x, permutations=1, seed=0)
    np.testing.assert_allclose(found, exact, atol=1e-10)
    found = approximations.kernel_shap(f, x, samples=300, seed=0)
    np.testing.assert_allclose(found, exact, atol=1e-8)


def test_cells_are_read_as_they_are_packaged(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["raw.X/data"], file["raw.X/indices"] = np.float32([1.5, 2.5]), np.int32([2, 0])
        file["raw.X/indptr"] = np.int32([0, 1, 2])
        file["raw.var"] = np.array([(b"LYZ",), (b"CST3",), (b"MS4A1",)], dtype=[("index", "S13")])
        file["uns/bulk_labels_categories"] = np.array([b"B", b"T"])
        file["obs"] = np.array([(1,), (1,)], dtype=[("bulk_labels", "i1")])
    found = cells.read_cells(tmp_path / "cells.h5ad")
    assert found.expression.tolist() == [[0, 0, 1.5], [2.5, 0, 0]]
    assert (found.genes, found.kinds, found.kind_names) == (("LYZ", "CST3", "MS4A1"), ("T", "T"), ("T",))


def test_a_missing_file_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cells, "find_spec", lambda name: None)
    with pytest.raises(jaxlin.JaxlinError, match="make umap"):
        cells.packaged_file()


def test_genotypes_have_their_frequencies_and_their_linkage():
    frequencies = np.array([0.2, 0.2, 0.5])
    alleles = simulate.chromosomes(20_000, frequencies, 0.25, np.random.default_rng(0))
    np.testing.assert_allclose(alleles.mean(0), frequencies, atol=0.015)
    correlation = np.corrcoef(alleles.T)
    # The hidden number is the same with probability 0.75; then so are alleles of one frequency.
    assert correlation[0, 1] == pytest.approx(0.75, abs=0.03)
    assert correlation[0, 2] == pytest.approx(0.75**2 * 0.2 * 0.5 / np.sqrt(0.16 * 0.25), abs=0.03)


def test_the_phenotype_is_made_of_its_effects():
    one = simulate.simulate(300, 12, heritability=0.5, additive_loci=4, pairs=2, seed=3)
    total = one.z @ one.additive
    for j in range(12):
        for k in range(j):
            total = total + one.epistasis[j, k] * one.z[:, j] * one.z[:, k]
    np.testing.assert_allclose(one.genetic, total - total.mean(), atol=1e-12)
    assert np.count_nonzero(one.additive) == 4
    assert np.count_nonzero(one.epistasis) == 4
    assert np.var(one.phenotype - one.genetic) == pytest.approx(1, rel=0.3)


def test_effects_are_read_from_maps_exactly():
    """Of a network that is the truth itself, whose map is additive + epistasis·z / 2."""
    one = simulate.simulate(300, 12, additive_loci=4, pairs=2, seed=3)

    def truth(z: jax.Array) -> jax.Array:
        return z @ one.additive + jax.lax.stop_gradient(z @ one.epistasis / 2) @ z

    result = jaxlin.contributions(truth, one.z)
    maps = result.matrices[:, 0]
    assert result.holds
    mean = one.additive + one.epistasis @ one.z.mean(0) / 2
    np.testing.assert_allclose(effects.additive_effects(maps), mean, atol=1e-12)
    np.testing.assert_allclose(effects.pair_effects(maps, one.z), one.epistasis, atol=1e-12)


@pytest.fixture(scope="module")
def small() -> simulate.Population:
    return simulate.simulate(400, 10, heritability=1.0, additive_loci=4, pairs=2, seed=1)


def test_a_trained_network_gives_back_planted_effects(small):
    fitted = phenotype_network.fit(
        small.z, small.phenotype, hidden=16, members=2, steps=400, rate=2e-2, sparse=(1e-3, 1.0)
    )
    assert fitted.sparse == 1e-3
    assert fitted.explained > 0.9
    result = jaxlin.contributions(phenotype_network.predict, small.z, fitted.weights)
    assert result.holds
    np.testing.assert_allclose(result.offset, fitted.weights["base"].mean(), rtol=1e-12)
    maps = result.matrices[:, 0]
    truth = effects.of_each_pair(small.epistasis)
    found = effects.of_each_pair(effects.pair_effects(maps, small.z))
    assert effects.agreement(effects.additive_effects(maps), small.additive) > 0.98
    assert effects.agreement(found, truth) > 0.95
    assert effects.found_first(found, truth) == 1


def test_regression_gives_back_planted_effects(small):
    truth = effects.of_each_pair(small.epistasis)
    additive, pairs = regression.pair_lasso(
        small.z, small.phenotype, penalties=(0.3, 0.1, 0.03, 0.01), steps=60
    )
    assert effects.agreement(additive, small.additive) > 0.99
    assert effects.agreement(pairs, truth) > 0.99
    assert effects.found_first(regression.pair_scan(small.z, small.phenotype), truth) == 1
    assert effects.agreement(regression.linear(small.z, small.phenotype), small.additive) > 0.9


def test_measures_of_agreement():
    truth = np.array([0.0, 2.0, 0.0, -1.0])
    assert effects.agreement(-truth, truth) == pytest.approx(-1)
    assert effects.agreement(np.zeros(4), truth) == 0
    assert effects.found_first(np.array([0.1, 3.0, 2.0, -1.0]), truth) == 0.5
