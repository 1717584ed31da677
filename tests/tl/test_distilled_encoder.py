"""An embedding without an encoder, reproduced by a network."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse

import ace_scanpy as ace

SMALL = {"n_hidden": (24, 12), "n_epochs": 60, "batch_size": 32}


@pytest.fixture
def drawn(planted):
    """With an embedding in which groups are far apart, in a table with an index."""
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])[planted.obs["group"].cat.codes]
    planted.obsm["X_drawn"] = corners + rng.normal(scale=0.5, size=corners.shape)
    return planted


def test_the_network_reproduces_it_and_is_explained(drawn, logged, isolated, assert_same_ranking):
    before = drawn.obsm["X_drawn"].copy()
    with logged(3) as log:
        ace.tl.embed(drawn, encoder="distill", use_rep="X_drawn", **SMALL)
    assert "R2" in log.getvalue()
    assert "WARNING" not in log.getvalue()
    np.testing.assert_array_equal(drawn.obsm["X_drawn"], before)
    record = drawn.uns["ace"]["X_drawn_distilled"]
    assert (record["kind"], record["distilled"], record["n_latent"]) == ("distill", "X_drawn", 2)
    assert 0.8 < record["r2"] <= 1.0
    found = drawn.obsm["X_drawn_distilled"]
    assert 1 - ((found - before) ** 2).sum() / ((before - before.mean(axis=0)) ** 2).sum() > 0.9
    genes = list(record["genes"])
    latent = ace.get.encoder(drawn, "X_drawn_distilled")(torch.tensor(drawn[:, genes].X.toarray()))
    np.testing.assert_allclose(latent.detach(), found, rtol=1e-4, atol=1e-4)

    drawn.obs["halves"] = np.where(drawn.obs["group"].isin(["B", "dendritic"]), "one", "two")
    alone = isolated(drawn)
    ace.tl.explain(alone, "halves", use_rep="X_drawn_distilled")
    ace.tl.explain(drawn, "group", use_rep="X_drawn_distilled", key_added="groups")
    ace.tl.explain(drawn, "halves", use_rep="X_drawn_distilled")
    assert_same_ranking(drawn.uns["rank_genes_groups"], alone.uns["rank_genes_groups"])
    for group in drawn.obs["group"].cat.categories:
        assert drawn.uns["groups"]["fidelity"][group][0] > 0.9
    ax = ace.pl.training(drawn, "X_drawn_distilled", show=False)
    assert ax.get_title() == "Training of X_drawn_distilled"
    ace.tl.cluster(drawn, n_clusters=4, use_rep="X_drawn_distilled")
    ace.pl.embedding(drawn, "group", basis="X_drawn", use_rep="X_drawn_distilled", show=False)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
@pytest.mark.parametrize("extension", ["h5ad", "zarr"])
def test_it_survives_a_file(drawn, tmp_path, extension, assert_same_ranking):
    ace.tl.embed(drawn, encoder="distill", use_rep="X_drawn", key_added="X_mine", **SMALL)
    ace.tl.explain(drawn, "group", use_rep="X_mine")
    path = tmp_path / f"file.{extension}"
    getattr(drawn, f"write_{extension}")(path)
    read = getattr(ad, f"read_{extension}")(path)
    del read.obsm["X_drawn"], read.obsm["X_mine"]
    ace.tl.explain(read, "group", use_rep="X_mine", key_added="again")
    assert_same_ranking(read.uns["again"], drawn.uns["rank_genes_groups"])


def test_the_same_seed_gives_the_same_bits(drawn, isolated):
    other = isolated(drawn)
    for adata in (drawn, other):
        ace.tl.embed(adata, encoder="distill", use_rep="X_drawn", rng=4, **SMALL)
    np.testing.assert_array_equal(drawn.obsm["X_drawn_distilled"], other.obsm["X_drawn_distilled"])


def test_a_poor_copy_is_a_warning(planted, logged):
    planted.obsm["X_noise"] = np.random.default_rng(0).normal(size=(planted.n_obs, 2))
    with logged() as log:
        ace.tl.embed(planted, encoder="distill", use_rep="X_noise", **SMALL)
    assert "of the variance of obsm['X_noise'] for cells that it was not trained on" in log.getvalue()
    assert planted.uns["ace"]["X_noise_distilled"]["r2"] < 0.8


@pytest.mark.parametrize("form", [sparse.csr_matrix, pd.DataFrame], ids=["sparse", "frame"])
def test_other_forms_of_an_embedding(drawn, isolated, form):
    other = isolated(drawn)
    values = drawn.obsm["X_drawn"]
    other.obsm["X_drawn"] = pd.DataFrame(values, other.obs_names) if form is pd.DataFrame else form(values)
    for adata in (drawn, other):
        ace.tl.embed(adata, encoder="distill", use_rep="X_drawn", **{**SMALL, "n_epochs": 1})
    np.testing.assert_array_equal(drawn.obsm["X_drawn_distilled"], other.obsm["X_drawn_distilled"])


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, KeyError, "name it with `use_rep`. Got None. Available in `adata.obsm`: \\['X_drawn'\\]"),
        ({"use_rep": "X_umap"}, KeyError, "Got 'X_umap'"),
        ({"use_rep": "X_drawn", "n_latent": 3}, ValueError, "`n_latent`=3 does not apply to encoder='distill'"),
        ({"use_rep": "X_drawn", "n_epochs": 0}, ValueError, "`n_epochs` must be at least 1"),
    ],
)
def test_bad_arguments(drawn, unchanged, arguments, error, match):
    with unchanged(drawn, error, match=match):
        ace.tl.embed(drawn, encoder="distill", **arguments)


def test_missing_coordinates_are_refused(drawn, unchanged):
    drawn.obsm["X_drawn"][3, 1] = np.nan
    with unchanged(drawn, ValueError, match="NaN or infinite"):
        ace.tl.embed(drawn, encoder="distill", use_rep="X_drawn")


@pytest.mark.usefixtures("no_training")
def test_explain_points_to_it(drawn, unchanged):
    with unchanged(drawn, KeyError, match=r"encoder='distill', use_rep='X_drawn'\)"):
        ace.tl.explain(drawn, "group", use_rep="X_drawn")


def test_a_umap_of_real_cells(data_file):
    adata = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad"))
    umap = np.asarray(adata.obsm["X_umap"])
    ace.tl.embed(adata, encoder="distill", use_rep="X_umap")
    assert adata.uns["ace"]["X_umap_distilled"]["r2"] > 0.9
    ace.tl.explain(adata, "louvain", use_rep="X_umap_distilled", groups=["B cells"], reference="NK cells")
    found = adata.obsm["X_umap_distilled"]
    # an independent judge: neighbours in the one are of the same type as in the other
    joined = ad.AnnData(np.vstack([umap, found]))
    sc.pp.neighbors(joined, use_rep="X", n_neighbors=15)
    labels = np.tile(adata.obs["louvain"].astype(str), 2)
    rows, columns = joined.obsp["connectivities"].nonzero()
    assert (labels[rows] == labels[columns]).mean() > 0.9
