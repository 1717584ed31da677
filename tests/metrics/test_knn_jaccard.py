from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from ace_scanpy import metrics


def slow_neighbors(values, k):
    """Sets of nearest other cells, by all distances."""
    distance = cdist(values, values)
    np.fill_diagonal(distance, np.inf)
    return [set(row[:k].tolist()) for row in distance.argsort(axis=1, kind="stable")]


def slow_jaccard(values, panel_of, k):
    """Equation 9, cell by cell, with sets."""
    distances = []
    full = slow_neighbors(values, k)
    for cell in range(len(values)):
        sub = slow_neighbors(values[:, panel_of(cell)], k)[cell]
        distances.append(1 - len(full[cell] & sub) / len(full[cell] | sub))
    return distances


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(70, 12))


@pytest.mark.parametrize("k", [1, 7, 30, 69])
def test_neighbors_equal_all_distances(values, k):
    found = metrics.nearest_neighbors(values, k=k)
    assert found.shape == (70, k)
    assert [set(row) for row in found.tolist()] == slow_neighbors(values, k)
    expected = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(values).kneighbors(return_distance=False)
    np.testing.assert_array_equal(found, expected)


def test_neighbors_of_some_cells_are_sought_among_all(values):
    cells = np.array([50, 3, 3])
    found = metrics.nearest_neighbors(values, k=4, cells=cells)
    np.testing.assert_array_equal(found, metrics.nearest_neighbors(values, k=4)[cells])


@pytest.mark.parametrize("n_equal", [3, 40])
def test_a_cell_is_not_its_own_neighbor_among_equal_cells(values, n_equal):
    values[:n_equal] = 1.0
    found = metrics.nearest_neighbors(values, k=5)
    assert not (found == np.arange(70)[:, None]).any()
    assert {len(set(row)) for row in found.tolist()} == {5}
    if n_equal > 5:
        assert (found[:n_equal] < n_equal).all()


@pytest.mark.parametrize("k", [1, 5, 30])
@pytest.mark.parametrize("size", [1, 4, 12])
def test_one_panel_for_all_equals_sets(values, size, k):
    genes = np.random.default_rng(1).permutation(12)[:size]
    found = metrics.knn_jaccard_per_cell(values, genes, k=k)
    np.testing.assert_allclose(found, slow_jaccard(values, lambda _cell: genes, k), rtol=1e-14)
    assert metrics.knn_jaccard(values, genes, k=k) == pytest.approx(found.mean(), rel=1e-14)


@pytest.mark.parametrize("names", [("b", "a", "ζ/1"), (7, 3, 5)])
def test_panels_by_group_equal_sets(values, names):
    labels = np.random.default_rng(2).permutation(np.array(names, dtype=object)[np.arange(70) % 3])
    panels = dict(zip(names, ([0, 5, 6], [1], [11, 10, 9, 8]), strict=True))
    found = metrics.knn_jaccard_per_cell(values, panels, labels, k=6)
    np.testing.assert_allclose(found, slow_jaccard(values, lambda cell: panels[labels[cell]], 6), rtol=1e-14)


def test_given_neighbors_are_used(values):
    full = metrics.nearest_neighbors(values, k=6)
    assert metrics.knn_jaccard(values, [0, 1], k=6, neighbors=full) == metrics.knn_jaccard(values, [0, 1], k=6)
    elsewhere = metrics.nearest_neighbors(values[:, [0, 1]], k=6)
    assert metrics.knn_jaccard(values, [0, 1], k=6, neighbors=elsewhere) == 0.0


def test_all_genes_are_at_distance_zero_and_noise_near_chance():
    rng = np.random.default_rng(3)
    signal, noise = rng.normal(size=(400, 3)), 1e-6 * rng.normal(size=(400, 2))
    values = np.hstack([signal, noise])
    assert metrics.knn_jaccard(values, range(5)) == 0.0
    assert metrics.knn_jaccard(values, [0, 1, 2]) < 0.01
    assert metrics.knn_jaccard(values, [3, 4]) == pytest.approx(1 - 30 / (2 * 400 - 30), abs=0.01)


def test_nothing_is_z_scored(values):
    """The scale of a gene is the caller's."""
    stretched = values * np.r_[100.0, np.ones(11)]
    assert metrics.knn_jaccard(stretched, [0], k=5) < 0.1 < metrics.knn_jaccard(values, [0], k=5)


@pytest.mark.parametrize(
    ("kind", "all_genes", "bounds"),
    [("clean", 0.0, (0.66, 0.76)), ("complex", 0.0, (0.69, 0.79))],
)
def test_causal_genes_of_the_simulated_sets(data_file, kind, all_genes, bounds):
    """The figures that come with the data, means over seeds: .71 clean, .74 complex."""
    adata = ad.read_h5ad(data_file(f"symsim_{kind}_1.h5ad"))
    values = np.asarray(adata.to_df())
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    full = metrics.nearest_neighbors(values)
    by_kind = {name: np.flatnonzero(adata.var["kind"] == name) for name in ("causal", "noise")}
    causal, noise = (metrics.knn_jaccard(values, by_kind[name][:20], neighbors=full) for name in ("causal", "noise"))
    assert metrics.knn_jaccard(values, np.arange(adata.n_vars), neighbors=full) == all_genes
    assert bounds[0] < causal < bounds[1] < 0.9 < noise < 0.95


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"genes": [0], "k": 70}, ValueError, "`k`=70 neighbours need at least 71 cells. Got 70"),
        ({"genes": [0], "k": 0}, ValueError, "`k` must be at least 1"),
        ({"genes": {"a": [0]}}, TypeError, "`genes` must be a mapping.*only then"),
        ({"genes": [0], "labels": ["a"] * 70}, TypeError, "`genes` must be a mapping"),
        ({"genes": {"a": [0]}, "labels": ["a", "b"] * 35}, ValueError, r"no panel for the labels \['b'\].*\['a'\]"),
        ({"genes": {"a": [0]}, "labels": ["a"] * 7}, ValueError, r"`labels` must have shape .*\(70,\). Got \(7,\)"),
        ({"genes": [0], "neighbors": np.zeros((70, 3), int)}, ValueError, r"`neighbors`.*\(70, 30\). Got \(70, 3\)"),
    ],
)
def test_wrong_arguments(values, arguments, error, words):
    with pytest.raises(error, match=words):
        metrics.knn_jaccard(values, **arguments)
