"""Everything in Scanpy that reads a ranking, on ours, in every state of the AnnData."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace

N_GENES = 3

pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning"),
    pytest.mark.filterwarnings("ignore:set_ticklabels.. should only be used with a fixed number:UserWarning"),
]
plots = getattr(sc.pl, "legacy", sc.pl)  # where Scanpy's next plots are switched on, these ones moved


def _top(case, n=N_GENES):
    """The first genes of every group, one list."""
    return [name for group in case.groups for name in case.tables[group]["names"][:n]]


def _labels(axis_labels):
    return [label.get_text() for label in axis_labels]


def test_groups_are_those_of_the_column(case):
    assert list(case.adata.uns["rank_genes_groups"]["names"].dtype.names) == case.groups
    assert list(case.adata.obs[case.groupby].cat.categories) == case.groups


def test_values_per_group_follow_their_group(case):
    entry = case.adata.uns["rank_genes_groups"]
    for code, group in enumerate(case.groups):
        assert entry["n_cells"][group][0] == (case.codes == code).sum()
        assert entry["fidelity"][group][0] > 0.5


def test_scanpy_frame_of_one_group(case):
    for group, table in case.tables.items():
        found = sc.get.rank_genes_groups_df(case.adata, group=group)
        expected = table[["names", "scores", "logfoldchanges", "pvals", "pvals_adj"]]
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=True)


def test_scanpy_frame_of_all_groups(case):
    found = sc.get.rank_genes_groups_df(case.adata, group=None)
    assert list(found["group"].unique()) == case.groups
    assert list(found["names"]) == _top(case, None)


def test_scanpy_frame_with_cutoffs(case):
    for group, table in case.tables.items():
        found = sc.get.rank_genes_groups_df(case.adata, group=group, log2fc_min=0.5, log2fc_max=3.0)
        between = table["logfoldchanges"].between(0.5, 3.0, inclusive="neither")
        assert 0 < between.sum() < len(table)
        assert list(found["names"]) == list(table["names"][between])
        # no test was made, so nothing passes one
        assert len(sc.get.rank_genes_groups_df(case.adata, group=group, pval_cutoff=0.05)) == 0


def test_our_frame_agrees_with_scanpys(case):
    ours = ace.get.rank_genes_groups_df(case.adata)
    scanpys = sc.get.rank_genes_groups_df(case.adata, group=None)
    pd.testing.assert_frame_equal(
        ours[list(scanpys.columns)], scanpys, check_dtype=False, check_exact=True, check_categorical=False
    )
    assert set(ours.columns) - set(scanpys.columns) == {"enriched", "delta"}
    for group, table in case.tables.items():
        one = ace.get.rank_genes_groups_df(case.adata, group)
        pd.testing.assert_frame_equal(one, table[list(one.columns)], check_dtype=False, check_exact=True)


def test_our_panel_is_a_prefix(case):
    for group, table in case.tables.items():
        size = int(case.adata.uns["rank_genes_groups"]["panel_size"][group][0])
        assert size > 0
        panel = ace.get.panel(case.adata, group)
        assert list(panel["names"]) == list(table["names"][:size])


def test_our_plot(case):
    axes = ace.pl.panel(case.adata, n_genes=N_GENES, show=False)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. rest" for group in case.groups]
    for ax, table in zip(axes, case.tables.values(), strict=True):
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches], table["scores"][:N_GENES], rtol=1e-6)


def test_ranking_plot(case):
    axes = plots.rank_genes_groups(case.adata, n_genes=N_GENES, show=False)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. rest" for group in case.groups]
    for ax, table in zip(axes, case.tables.values(), strict=True):
        assert _labels(ax.texts) == list(table["names"][:N_GENES])
        np.testing.assert_allclose([text.get_position()[1] for text in ax.texts], table["scores"][:N_GENES])


def test_violin_plot(case):
    group = case.groups[1]
    (axes,) = plots.rank_genes_groups_violin(case.adata, groups=[group], n_genes=N_GENES, show=False)
    assert axes.get_title() == f"{group} vs. rest"
    assert _labels(axes.get_xticklabels()) == list(case.tables[group]["names"][:N_GENES])


@pytest.mark.parametrize("kind", ["stacked_violin", "dotplot", "matrixplot"])
def test_grid_plots(case, kind):
    draw = getattr(plots, f"rank_genes_groups_{kind}")
    figure = draw(case.adata, n_genes=2, dendrogram=False, return_fig=True)
    axes = figure.get_axes()["mainplot_ax"]
    assert _labels(axes.get_xticklabels()) == _top(case, 2)
    assert _labels(axes.get_yticklabels()) == case.groups
    assert _labels(figure.get_axes()["gene_group_ax"].texts) == case.groups


@pytest.mark.parametrize("value", ["scores", "logfoldchanges"])
def test_grid_plots_of_our_values(case, value):
    options = {"n_genes": N_GENES, "dendrogram": False, "return_fig": True, "values_to_plot": value}
    dots = plots.rank_genes_groups_dotplot(case.adata, **options)
    squares = plots.rank_genes_groups_matrixplot(case.adata, **options)
    expected = np.stack([table.set_index("names")[value].loc[_top(case)] for table in case.tables.values()])
    for values in (dots.dot_color_df, squares.values_df):
        np.testing.assert_allclose(values.loc[case.groups].to_numpy(), expected, rtol=1e-6)
    assert _labels(dots.get_axes()["mainplot_ax"].get_xticklabels()) == _top(case)


def test_dotplot_of_enriched_genes_only(case):
    figure = plots.rank_genes_groups_dotplot(
        case.adata, n_genes=2, min_logfoldchange=1.5, dendrogram=False, return_fig=True
    )
    expected = [name for t in case.tables.values() for name in t["names"][t["logfoldchanges"] > 1.5][:2]]
    assert list(figure.var_names) == expected
    assert set(expected) - set(_top(case, 2))


def test_dotplot_of_some_groups(case):
    chosen = [case.groups[2], case.groups[0]]
    figure = plots.rank_genes_groups_dotplot(
        case.adata, groups=chosen, n_genes=N_GENES, dendrogram=False, return_fig=True
    )
    assert list(figure.var_names) == [name for group in chosen for name in case.tables[group]["names"][:N_GENES]]


def test_heatmap(case):
    axes = plots.rank_genes_groups_heatmap(
        case.adata, n_genes=N_GENES, dendrogram=False, show_gene_labels=True, show=False
    )
    assert _labels(axes["heatmap_ax"].get_xticklabels()) == _top(case)


def test_tracksplot(case):
    axes = plots.rank_genes_groups_tracksplot(case.adata, n_genes=2, dendrogram=False, show=False)
    drawn = [ax.get_ylabel() for ax in axes["track_axes"]]
    assert [name for name in drawn if name] == _top(case, 2)


def test_marker_gene_overlap(case):
    first, second = case.groups[:2]
    known = {"one": set(case.tables[first]["names"][:5]), "two": set(case.tables[second]["names"][3:9])}
    found = sc.tl.marker_gene_overlap(case.adata, known, top_n_markers=6)
    for label, genes in known.items():
        for group, table in case.tables.items():
            assert found.loc[label, group] == len(genes & set(table["names"][:6]))


def test_scores_of_a_panel(case):
    """The enriched genes of a panel are high in its group, the depleted ones low."""
    raw = case.adata.raw is not None
    adata = case.adata.copy()
    for code, group in enumerate(case.groups):
        panel = ace.get.panel(adata, group, size=6)
        inside = case.codes == code
        for enriched in (True, False):
            genes = panel["names"][panel["enriched"] == enriched].tolist()
            if genes:
                sc.tl.score_genes(adata, genes, ctrl_size=10, n_bins=4, score_name="score", use_raw=raw)
                score = adata.obs["score"].to_numpy()
                assert (score[inside].mean() > score[~inside].mean()) == enriched


def test_filter(case):
    """The genes that are kept: those whose fold change and shares of expressing cells pass, in the same order."""
    adata = case.adata.copy()
    limits = {"min_in_group_fraction": 0.3, "max_out_group_fraction": 0.97, "min_fold_change": 0.4}
    sc.tl.filter_rank_genes_groups(adata, **limits)
    # Scanpy reads the fractions from X, as `params["use_raw"]` says
    expressed = pd.DataFrame(np.asarray(adata.to_df()) != 0, columns=adata.var_names)
    for code, group in enumerate(case.groups):
        table = case.tables[group]
        inside = expressed[case.codes == code].mean().loc[table["names"]].to_numpy()
        outside = expressed[case.codes != code].mean().loc[table["names"]].to_numpy()
        kept = (inside > 0.3) & (outside < 0.97) & (table["logfoldchanges"] > 0.4)
        found = pd.Series(adata.uns["rank_genes_groups_filtered"]["names"][group])
        assert list(found[found.notna()]) == list(table["names"][kept])
        assert case.data == "pbmc68k" or kept.any()


def test_our_heatmap(case):
    axes = ace.pl.importance(case.adata, n_genes=N_GENES, show=False)
    groups, genes = (_labels(labels()) for labels in (axes.get_yticklabels, axes.get_xticklabels))
    assert sorted(groups) == sorted(case.groups)
    shown = pd.DataFrame(np.asarray(axes.images[0].get_array()), index=groups, columns=genes)
    for group, table in case.tables.items():
        expected = table.set_index("names")["scores"].loc[genes]
        np.testing.assert_allclose(shown.loc[group], expected, rtol=1e-6)


def test_our_summary(case):
    found = ace.get.summary(case.adata, n_genes=2)
    assert list(found.index) == case.groups
    for code, (group, table) in enumerate(case.tables.items()):
        assert found.loc[group, "n_cells"] == (case.codes == code).sum()
        scored = table[table["scores"] != 0]
        assert found.loc[group, "enriched"] == ", ".join(scored["names"][scored["enriched"]][:2])
        assert found.loc[group, "depleted"] == ", ".join(scored["names"][~scored["enriched"]][:2])


@pytest.mark.parametrize("direction", ["enriched", "depleted"])
def test_our_dotplot(case, direction):
    """One direction, of the matrix that was ranked, which is X though there may be a raw."""
    figure = ace.pl.rank_genes_groups_dotplot(
        case.adata, n_genes=2, direction=direction, dendrogram=False, return_fig=True
    )
    up = direction == "enriched"
    expected = [name for table in case.tables.values() for name in table["names"][table["enriched"] == up][:2]]
    assert list(figure.var_names) == expected
    values = pd.DataFrame(np.asarray(case.adata.to_df()), columns=case.adata.var_names)
    means = values.groupby(case.codes).mean()[expected]
    np.testing.assert_allclose(figure.dot_color_df.to_numpy(), means.to_numpy(), rtol=1e-4, atol=1e-6)
