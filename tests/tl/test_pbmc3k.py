"""On real cells: PBMC3k, 8 known types (paper, section 5.2)."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import ace_scanpy as ace

TOP = 18


@pytest.fixture(scope="module")
def pbmc(data_file):
    adata = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad"))
    ace.tl.explain(adata, "louvain")
    return adata


def test_sign_agrees_with_the_fold_change(pbmc):
    top = ace.get.rank_genes_groups_df(pbmc).groupby("group", observed=True).head(TOP)
    assert len(top) == TOP * pbmc.obs["louvain"].nunique()
    assert (np.sign(top["scores"]) == np.sign(top["logfoldchanges"])).mean() >= 0.9


def test_cd4_t_cells_are_known_by_what_they_lack(pbmc):
    top = ace.get.panel(pbmc, "CD4 T cells", size=TOP)
    assert (top["scores"] < 0).sum() >= 9


def test_cd4_against_cd8_t_cells(pbmc):
    ace.tl.explain(pbmc, "louvain", groups=["CD4 T cells"], reference="CD8 T cells", key_added="cd4_vs_cd8")
    top = ace.get.panel(pbmc, "CD4 T cells", size=TOP, key="cd4_vs_cd8").set_index("names")
    assert {"CCL5", "GZMK"} <= set(top.index)
    assert (top.loc[["CCL5", "GZMK"], "scores"] < 0).all()
    assert not top.loc[["CCL5", "GZMK"], "enriched"].any()


def test_labels_are_reproduced(pbmc):
    entry = pbmc.uns["rank_genes_groups"]
    sizes = [entry["n_cells"][g][0] for g in entry["names"].dtype.names]
    assert sum(sizes) == pbmc.n_obs
    fidelity = [entry["fidelity"][g][0] for g in entry["names"].dtype.names]
    assert np.average(fidelity, weights=sizes) > 0.9
