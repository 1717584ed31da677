"""Neuralised k-means on an AnnData."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, silhouette_score

import ace_scanpy as ace


def _distances(adata, key="ace_cluster"):
    """Squared distance of each cell to each stored prototype, by numpy in double precision."""
    stored = adata.uns["ace"][key]
    latent = adata.obsm[stored["use_rep"]].astype(np.float64)
    return ((latent[:, None] - stored["prototypes"].astype(np.float64)) ** 2).sum(axis=2), stored["beta"]


@pytest.mark.parametrize("joint", [False, True], ids=["k-means", "joint"])
def test_assignment_and_confidence_follow_from_the_prototypes(embedded, joint):
    ace.tl.cluster(embedded, n_clusters=6, joint=joint)
    distances, beta = _distances(embedded)
    clusters = embedded.obs["ace_cluster"]
    assert list(clusters.cat.categories) == [str(c) for c in range(distances.shape[1])]
    codes = clusters.cat.codes.to_numpy()
    np.testing.assert_allclose(distances[np.arange(80), codes], distances.min(axis=1), rtol=1e-4)
    p = np.exp(-beta * (distances - distances.min(axis=1, keepdims=True)))
    p = np.sort(p / p.sum(axis=1, keepdims=True), axis=1)
    confidence = embedded.obs["ace_cluster_confidence"].to_numpy()
    assert confidence.dtype == np.float32
    assert ((confidence >= 0) & (confidence <= 1)).all()
    np.testing.assert_allclose(confidence, p[:, -1] - p[:, -2], atol=1e-4)


def test_largest_cluster_first(embedded):
    ace.tl.cluster(embedded, n_clusters=6)
    sizes = embedded.obs["ace_cluster"].value_counts(sort=False)
    assert len(sizes) == 6
    # k-means centres are the means of their clusters but for rounding, so the sizes fall
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("joint", [False, True], ids=["k-means", "joint"])
def test_planted_groups_are_found(embedded, joint):
    ace.tl.cluster(embedded, n_clusters=4, joint=joint)
    assert adjusted_rand_score(embedded.obs["group"], embedded.obs["ace_cluster"]) > 0.95


@pytest.mark.parametrize("n_groups", [3, 4])
def test_the_planted_number_is_chosen(make_planted, small_network, logged, n_groups):
    adata = make_planted(n_per_group=25, n_groups=n_groups, seed=n_groups)
    ace.tl.embed(adata, **small_network)
    with logged(verbosity=2) as log:
        ace.tl.cluster(adata)
    assert f"chose n_clusters={n_groups}" in log.getvalue()
    assert len(adata.obs["ace_cluster"].cat.categories) == n_groups
    assert adjusted_rand_score(adata.obs["group"], adata.obs["ace_cluster"]) > 0.95


def test_clustering_alone_leaves_the_embedding(explained, contents):
    before = contents(explained)
    ace.tl.cluster(explained, n_clusters=3, key_added="mine")
    after = contents(explained)
    changed = {path for path in after if path not in before}
    assert {path.split("/")[0] for path in changed} == {"uns"}
    assert set(explained.obs) == {"group", "mine", "mine_confidence"}
    np.testing.assert_array_equal(after["obsm/X_ace"], before["obsm/X_ace"])
    for path, value in before.items():
        if path.startswith("uns/ace/X_ace") and isinstance(value, np.ndarray):
            np.testing.assert_array_equal(after[path], value)


def test_joint_learning_changes_embedding_and_record_together(explained):
    before = explained.obsm["X_ace"].copy()
    assert explained.uns["ace"]["X_ace"]["fits"]
    ace.tl.cluster(explained, n_clusters=4, joint=True)
    record = explained.uns["ace"]["X_ace"]
    assert record["fits"] == {}  # copies of the old encoder mean nothing now
    assert np.abs(explained.obsm["X_ace"] - before).max() > 0.01
    genes = list(record["genes"])
    latent = ace.get.encoder(explained)(torch.tensor(explained[:, genes].X.toarray())).detach().numpy()
    np.testing.assert_allclose(latent, explained.obsm["X_ace"], rtol=1e-4, atol=1e-5)


def test_joint_learning_sets_overlapping_clusters_apart(planted):
    noise = np.random.default_rng(0).normal(scale=2.0, size=planted.shape)
    planted.X = np.maximum(planted.X.toarray() + noise, 0.0)
    ace.tl.embed(planted, n_latent=4)
    widths, agreement = [], []
    for joint in (False, True):
        ace.tl.cluster(planted, n_clusters=4, joint=joint)
        widths.append(silhouette_score(planted.obsm["X_ace"], planted.obs["ace_cluster"]))
        agreement.append(adjusted_rand_score(planted.obs["group"], planted.obs["ace_cluster"]))
    assert widths[1] > widths[0] + 0.05, widths
    assert agreement[1] >= agreement[0], agreement


@pytest.mark.parametrize("joint", [False, True], ids=["k-means", "joint"])
def test_same_seed_same_clusters(embedded, isolated, joint):
    other = isolated(embedded)
    for adata in (embedded, other):
        ace.tl.cluster(adata, n_clusters=5, joint=joint, rng=2)
    pd.testing.assert_frame_equal(embedded.obs, other.obs, check_exact=True)
    np.testing.assert_array_equal(embedded.obsm["X_ace"], other.obsm["X_ace"])


def test_clusters_of_another_embedding(embedded):
    ace.tl.embed(embedded, n_epochs=1, n_hidden=(8,), n_latent=3, key_added="X_other")
    ace.tl.cluster(embedded, n_clusters=3, use_rep="X_other", key_added="other")
    stored = embedded.uns["ace"]["other"]
    assert stored["use_rep"] == "X_other"
    assert stored["prototypes"].shape == (3, 3)
    assert set(embedded.obs["other"].cat.categories) == {"0", "1", "2"}


def test_as_many_clusters_as_cells(embedded):
    """The most there can be: every cell its own centre, and sure of it."""
    few = embedded[:12].copy()
    ace.tl.cluster(few, n_clusters=12)
    assert few.obs["ace_cluster"].nunique() == 12
    np.testing.assert_allclose(few.obs["ace_cluster_confidence"], 1.0)


def test_the_run_is_logged(embedded, logged):
    with logged(verbosity=3) as log:
        ace.tl.cluster(embedded, n_clusters=3)
    for words in ("clustering 80 cells on 'X_ace'", "finished", "'ace_cluster_confidence' (adata.obs)"):
        assert words in log.getvalue()
