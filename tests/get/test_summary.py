"""The table with one line per group."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace


def test_values_are_those_of_the_groups(explained, frame):
    entry = explained.uns["rank_genes_groups"]
    table = ace.get.summary(explained, n_genes=3)
    assert list(table.index) == list(explained.obs["group"].cat.categories)
    assert table.index.name == "group"
    assert list(table.columns) == ["n_cells", "fidelity", "flip_rate", "panel_size", "enriched", "depleted"]
    for group, row in table.iterrows():
        assert row["n_cells"] == (explained.obs["group"] == group).sum()
        for name in ("fidelity", "flip_rate", "panel_size"):
            assert row[name] == entry[name][group][0]
        genes = frame(entry, group).query("scores != 0")
        assert row["enriched"] == ", ".join(genes["names"][genes["enriched"]][:3])
        assert row["depleted"] == ", ".join(genes["names"][~genes["enriched"]][:3])
    assert table["enriched"].str.len().min() > 0


def test_types(explained):
    table = ace.get.summary(explained)
    assert table["n_cells"].dtype.kind == table["panel_size"].dtype.kind == "i"
    assert table["fidelity"].dtype.kind == table["flip_rate"].dtype.kind == "f"


def test_genes_without_a_score_are_not_named(explained):
    entry = explained.uns["rank_genes_groups"]
    entry["scores"]["B"][:] = 0
    row = ace.get.summary(explained).loc["B"]
    assert row["enriched"] == row["depleted"] == ""


def test_a_method_without_directions(embedded):
    ace.tl.explain(embedded, "group", method="grs", key_added="grs")
    table = ace.get.summary(embedded, key="grs", n_genes=2)
    assert list(table.columns) == ["n_cells", "fidelity", "flip_rate", "panel_size", "genes"]
    assert table.loc["B", "genes"] == ", ".join(embedded.uns["grs"]["names"]["B"][:2])
    assert np.isnan(table.loc["B", "flip_rate"])


def test_symbols(explained):
    explained.var["symbol"] = [f"S{i}" for i in range(explained.n_vars)]
    first = ace.get.summary(explained, n_genes=1)
    symbols = ace.get.summary(explained, n_genes=1, gene_symbols="symbol")
    assert symbols.loc["B", "enriched"] == explained.var["symbol"][first.loc["B", "enriched"]]


def test_after_a_file(explained, tmp_path):
    explained.write_h5ad(tmp_path / "file.h5ad")
    pd.testing.assert_frame_equal(
        ace.get.summary(ad.read_h5ad(tmp_path / "file.h5ad")), ace.get.summary(explained), check_dtype=False
    )


def test_refused(explained):
    sc.tl.rank_genes_groups(explained, "group", key_added="scanpy")
    with pytest.raises(ValueError, match=r"ace\.tl\.explain"):
        ace.get.summary(explained, key="scanpy")
    with pytest.raises(KeyError, match=r"`gene_symbols`='no'"):
        ace.get.summary(explained, gene_symbols="no")
    with pytest.raises(ValueError, match=r"`n_genes`"):
        ace.get.summary(explained, n_genes=0)
