"""The layout itself, field by field, against what Scanpy writes for the same data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace

TYPES = {
    "names": "O",
    "scores": "<f4",
    "logfoldchanges": "<f4",
    "pvals": "<f8",
    "pvals_adj": "<f8",
    "enriched": "?",
    "delta": "<f4",
}
ONE_ROW = {"fidelity": "<f4", "flip_rate": "<f4", "panel_size": "<i8", "n_cells": "<i8"}


@pytest.fixture(scope="module")
def entry(shared):
    return shared.uns["rank_genes_groups"]


@pytest.fixture(scope="module")
def t_test(shared):
    """Scanpy's own entry for the same data, with the same genes for every group."""
    adata = shared.copy()
    sc.tl.rank_genes_groups(adata, "group", method="t-test", key_added="t")
    return adata.uns["t"]


def test_has_every_field_that_scanpy_writes(entry, t_test):
    assert set(t_test) <= set(entry)
    assert set(t_test["params"]) <= set(entry["params"])
    assert entry["params"]["use_raw"] is False
    assert entry["params"]["layer"] is None
    assert (entry["params"]["groupby"], entry["params"]["reference"]) == ("group", "rest")
    assert entry["params"]["method"] == "ace"


@pytest.mark.parametrize(("name", "dtype"), [*TYPES.items(), *ONE_ROW.items()])
def test_fields_are_recarrays_with_a_field_per_category(entry, shared, name, dtype):
    array = entry[name]
    assert type(array) is np.recarray
    assert array.dtype.names == tuple(shared.obs["group"].cat.categories)
    assert {array.dtype[group] for group in array.dtype.names} == {np.dtype(dtype)}
    assert array.shape == ((shared.n_vars,) if name in TYPES else (1,))


def test_types_are_scanpys(entry, t_test):
    for name in ("names", "scores", "logfoldchanges", "pvals", "pvals_adj"):
        assert entry[name].dtype == t_test[name].dtype


def test_params_are_plain(entry):
    assert {type(value) for value in entry["params"].values()} <= {bool, int, float, str, type(None)}


def test_every_gene_once_per_group(entry, shared):
    for group in entry["names"].dtype.names:
        assert sorted(entry["names"][group]) == sorted(shared.var_names)


def test_scores_are_finite_and_fall_in_size(entry):
    for group in entry["scores"].dtype.names:
        size = np.abs(entry["scores"][group])
        assert np.isfinite(size).all()
        assert (np.diff(size) <= 0).all()
        assert size.sum() == pytest.approx(1.0, abs=1e-5)
        assert 0 < (size == 0).sum() < len(size)


def test_genes_without_perturbation_score_exactly_zero(entry):
    for group in entry["scores"].dtype.names:
        scores, delta = entry["scores"][group], entry["delta"][group]
        assert (delta[scores == 0] == 0).all()
        moved = delta != 0
        assert (scores[moved] != 0).all()


def test_enriched_is_the_sign_of_the_score_and_against_that_of_delta(entry):
    for group in entry["scores"].dtype.names:
        scored = entry["scores"][group] != 0
        up = entry["scores"][group][scored] > 0
        np.testing.assert_array_equal(entry["enriched"][group][scored], up)
        # delta is the mean over contrasts; where its sign is clear it leads out of the group
        clear = np.abs(entry["delta"][group][scored]) > 0.5
        assert clear.any()
        np.testing.assert_array_equal(up[clear], entry["delta"][group][scored][clear] < 0)


def test_no_p_values(entry):
    for name in ("pvals", "pvals_adj"):
        for group in entry[name].dtype.names:
            assert np.isnan(entry[name][group]).all()


def test_one_value_per_group(entry, shared):
    sizes = shared.obs["group"].value_counts()
    for group in entry["names"].dtype.names:
        n_scored = (entry["scores"][group] != 0).sum()
        assert entry["n_cells"][group][0] == sizes[group]
        assert 0 <= entry["fidelity"][group][0] <= 1
        assert 0 <= entry["flip_rate"][group][0] <= 1
        assert 0 <= entry["panel_size"][group][0] <= n_scored


def _by_gene(entry, name, group):
    return pd.Series(np.asarray(entry[name][group]), index=np.asarray(entry["names"][group], dtype=object))


def test_fold_changes_are_those_of_scanpys_t_test(entry, t_test):
    for group in entry["names"].dtype.names:
        theirs = _by_gene(t_test, "logfoldchanges", group)
        ours = _by_gene(entry, "logfoldchanges", group).loc[theirs.index]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fold_changes_against_a_reference_are_scanpys(embedded):
    ace.tl.explain(embedded, "group", groups=["B", "dendritic"], reference="Mono 14⁺")
    sc.tl.rank_genes_groups(embedded, "group", groups=["B", "dendritic"], reference="Mono 14⁺", key_added="t")
    for group in ("B", "dendritic"):
        theirs = _by_gene(embedded.uns["t"], "logfoldchanges", group)
        ours = _by_gene(embedded.uns["rank_genes_groups"], "logfoldchanges", group).loc[theirs.index]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fold_changes_heed_the_base_of_the_logarithm(embedded):
    """The same counts with another logarithm, which `uns["log1p"]` tells: the same fold changes as Scanpy's."""
    embedded.X = embedded.X / np.log(2)
    embedded.uns["log1p"] = {"base": 2}
    ace.tl.explain(embedded, "group", groups=["B"], reference="dendritic")
    sc.tl.rank_genes_groups(embedded, "group", groups=["B"], reference="dendritic", key_added="t")
    theirs = _by_gene(embedded.uns["t"], "logfoldchanges", "B")
    ours = _by_gene(embedded.uns["rank_genes_groups"], "logfoldchanges", "B").loc[theirs.index]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_fold_changes_of_scaled_data_come_from_raw(small_network):
    pbmc = sc.datasets.pbmc68k_reduced()
    pbmc = pbmc[pbmc.obs["bulk_labels"].isin(["CD19+ B", "CD56+ NK"])].copy()
    assert pbmc.X.min() < 0
    ace.tl.embed(pbmc, **small_network)
    ace.tl.explain(pbmc, "bulk_labels", groups=["CD19+ B"])
    sc.tl.rank_genes_groups(pbmc, "bulk_labels", key_added="t", use_raw=True)
    theirs = _by_gene(pbmc.uns["t"], "logfoldchanges", "CD19+ B")
    ours = _by_gene(pbmc.uns["rank_genes_groups"], "logfoldchanges", "CD19+ B").loc[theirs.index]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_fold_changes_of_scaled_data_without_raw_are_missing(planted, logged, small_network):
    planted.X = planted.X.toarray()
    sc.pp.scale(planted)
    planted.raw = None
    ace.tl.embed(planted, **small_network)
    with logged() as log:
        ace.tl.explain(planted, "group", groups=["B"], reference="dendritic")
    entry = planted.uns["rank_genes_groups"]
    assert np.isnan(entry["logfoldchanges"]["B"]).all()
    assert np.isfinite(entry["scores"]["B"]).all()
    assert "fold changes are NaN" in log.getvalue()


def test_reference_has_no_field(embedded):
    ace.tl.explain(embedded, "group", reference="T/NK ζ")
    entry = embedded.uns["rank_genes_groups"]
    for name in (*TYPES, *ONE_ROW):
        assert entry[name].dtype.names == ("B", "Mono 14⁺", "dendritic")
    assert entry["params"]["reference"] == "T/NK ζ"


def test_only_the_groups_asked_for_in_the_order_of_the_categories(embedded):
    ace.tl.explain(embedded, "group", groups=["dendritic", "B"], lam=3.0)
    assert embedded.uns["rank_genes_groups"]["names"].dtype.names == ("B", "dendritic")


def test_n_genes_truncates_and_changes_nothing_else(explained):
    whole = explained.uns["rank_genes_groups"]
    ace.tl.explain(explained, "group", n_genes=4, key_added="short")
    short = explained.uns["short"]
    for name in TYPES:
        for group in whole[name].dtype.names:
            np.testing.assert_array_equal(short[name][group], whole[name][group][:4])
    for name in ONE_ROW:
        for group in whole[name].dtype.names:
            assert short[name][group][0] == whole[name][group][0]


def test_more_genes_than_there_are_lists_all(embedded):
    ace.tl.explain(embedded, "group", groups=["B"], reference="dendritic", n_genes=10_000)
    assert len(embedded.uns["rank_genes_groups"]["names"]) == embedded.n_vars


def test_fractions_are_scanpys(embedded):
    embedded.X = embedded.X / 4  # so that a gene may be expressed at less than one
    assert 0 < embedded.X.data.min() < 1
    ace.tl.explain(embedded, "group", pts=True, lam=3.0)
    sc.tl.rank_genes_groups(embedded, "group", pts=True, key_added="t")
    for name in ("pts", "pts_rest"):
        ours, theirs = embedded.uns["rank_genes_groups"][name], embedded.uns["t"][name]
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs, check_names=False)
        assert list(ours.columns) == list(embedded.obs["group"].cat.categories)
    frame = sc.get.rank_genes_groups_df(embedded, group="B")
    expressing = (embedded[embedded.obs["group"] == "B"].to_df() > 0).mean()
    np.testing.assert_allclose(frame["pct_nz_group"], expressing.loc[frame["names"]])


def test_fractions_of_scaled_data_are_scanpys(embedded):
    embedded.X = embedded.X.toarray() - 0.5  # everything differs from zero, half of it lies below
    embedded.X[:5, :5] = 0.0
    ace.tl.explain(embedded, "group", pts=True, lam=3.0)
    with np.errstate(invalid="ignore"):  # Scanpy takes the logarithm of negative means
        sc.tl.rank_genes_groups(embedded, "group", pts=True, key_added="t")
    ours, theirs = embedded.uns["rank_genes_groups"]["pts"], embedded.uns["t"]["pts"]
    pd.testing.assert_frame_equal(ours[theirs.columns], theirs, check_names=False)


def test_fractions_warn_of_names_that_no_file_can_hold(embedded, logged):
    embedded.obs["group"] = embedded.obs["group"].cat.rename_categories({"B": "B/plasma"})
    with logged() as log:
        ace.tl.explain(embedded, "group", pts=True, lam=3.0)
    assert "'/'" in log.getvalue()
    assert "rename" in log.getvalue()


def test_fractions_against_a_reference_include_it(embedded):
    ace.tl.explain(embedded, "group", groups=["B"], reference="dendritic", pts=True)
    sc.tl.rank_genes_groups(embedded, "group", groups=["B"], reference="dendritic", pts=True, key_added="t")
    ours, theirs = embedded.uns["rank_genes_groups"], embedded.uns["t"]
    pd.testing.assert_frame_equal(ours["pts"][theirs["pts"].columns], theirs["pts"], check_names=False)
    assert "pts_rest" not in ours


def test_genes_that_do_not_vary_come_last(entry):
    for group in entry["names"].dtype.names:
        assert entry["names"][group][-1] == "zero"
        assert entry["scores"][group][-1] == 0
        assert entry["delta"][group][-1] == 0


def test_genes_outside_the_mask_come_last(planted, small_network):
    masked_out = ["gene1", "gene20", "zero"]
    planted.var["highly_variable"] = ~planted.var_names.isin(masked_out)
    ace.tl.embed(planted, **small_network)
    ace.tl.explain(planted, "group", lam=10.0)
    entry = planted.uns["rank_genes_groups"]
    for group in entry["names"].dtype.names:
        assert set(entry["names"][group][-3:]) == set(masked_out)
        assert (entry["scores"][group][-3:] == 0).all()
        assert (entry["delta"][group][-3:] == 0).all()
    assert _by_gene(entry, "logfoldchanges", "B")["gene1"] > 2  # ranked last, but its fold change is there


def test_plots_with_a_dendrogram(explained):
    sc.tl.dendrogram(explained, "group", use_rep="X_ace")
    figure = sc.pl.rank_genes_groups_dotplot(explained, n_genes=2, dendrogram=True, return_fig=True)
    figure.make_figure()
    order = explained.uns["dendrogram_group"]["categories_ordered"]
    assert [label.get_text() for label in figure.get_axes()["mainplot_ax"].get_yticklabels()] == list(order)


@pytest.mark.parametrize("kind", ["int", "bool"])
def test_scanpy_reads_groups_that_are_numbers(embedded, kind):
    codes = embedded.obs["group"].cat.codes.to_numpy()
    embedded.obs["number"] = codes.astype(int) if kind == "int" else codes > 1
    ace.tl.explain(embedded, "number", lam=3.0)
    names = [str(value) for value in np.unique(embedded.obs["number"])]
    entry = embedded.uns["rank_genes_groups"]
    assert list(entry["names"].dtype.names) == names
    axes = sc.pl.rank_genes_groups(embedded, n_genes=2, show=False)
    assert [ax.get_title() for ax in axes] == [f"{name} vs. rest" for name in names]
    figure = sc.pl.rank_genes_groups_dotplot(embedded, n_genes=2, dendrogram=False, return_fig=True)
    assert list(figure.var_names) == [gene for name in names for gene in entry["names"][name][:2]]
    frame = sc.get.rank_genes_groups_df(embedded, group=names[1])
    assert list(frame["names"]) == list(entry["names"][names[1]])
    drawn = ace.pl.panel(embedded, n_genes=2, show=False)
    assert [ax.get_title() for ax in drawn] == [f"{name} vs. rest" for name in names]
