"""Panels and tables from a ranking, ours or Scanpy's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace

COLUMNS = ["names", "scores", "logfoldchanges", "enriched", "delta"]


def _set(adata, name, group, value):
    """Change a field that has one row."""
    adata.uns["rank_genes_groups"][name][group] = value


def test_panel_is_the_prefix_of_the_stored_size(explained, frame):
    entry = explained.uns["rank_genes_groups"]
    for size, group in zip((1, 3, 7, 11), entry["names"].dtype.names, strict=True):
        _set(explained, "panel_size", group, size)
        panel = ace.get.panel(explained, group)
        assert len(panel) == size
        expected = frame(entry, group)[:size][COLUMNS]
        pd.testing.assert_frame_equal(panel, expected, check_dtype=False, check_exact=True)


@pytest.mark.parametrize("size", [1, 6, 35, 1000])
def test_panel_of_a_wanted_size(explained, frame, size):
    panel = ace.get.panel(explained, "B", size=size)
    expected = frame(explained.uns["rank_genes_groups"], "B")[:size][COLUMNS]
    pd.testing.assert_frame_equal(panel, expected, check_dtype=False, check_exact=True)


def test_no_prefix_is_enough(explained, logged):
    _set(explained, "panel_size", "B", 0)
    _set(explained, "flip_rate", "B", 0.42)
    with logged() as log:
        panel = ace.get.panel(explained, "B")
    for words in ("WARNING", "No prefix", "95%", "'B'", "42%"):
        assert words in log.getvalue()
    scores = explained.uns["rank_genes_groups"]["scores"]["B"]
    assert len(panel) == (scores != 0).sum()
    assert (panel["scores"] != 0).all()


def test_no_warning_when_a_size_is_given_or_enough(explained, logged):
    with logged() as log:
        ace.get.panel(explained, "B")
        _set(explained, "panel_size", "B", 0)
        ace.get.panel(explained, "B", size=2)
    assert log.getvalue() == ""


def test_panel_longer_than_the_list(explained, logged):
    ace.tl.explain(explained, "group", n_genes=3, key_added="short")
    assert explained.uns["short"]["panel_size"]["B"][0] > 3
    with logged() as log:
        panel = ace.get.panel(explained, "B", key="short")
    assert len(panel) == 3
    assert "only 3 are stored in `uns['short']`" in log.getvalue()


def test_changing_a_table_changes_nothing_stored(explained, contents, assert_same_contents):
    before = contents(explained)
    for table in (ace.get.panel(explained, "B", size=9), ace.get.rank_genes_groups_df(explained)):
        table["scores"] = 0.0
        table.loc[table.index[0], "names"] = "other"
    assert_same_contents(contents(explained), before)


def test_tables_of_one_several_and_all_groups(explained):
    groups = list(explained.obs["group"].cat.categories)
    every = ace.get.rank_genes_groups_df(explained)
    assert list(every.columns) == ["group", *COLUMNS[:3], "pvals", "pvals_adj", *COLUMNS[3:]]
    assert list(every["group"].cat.categories) == groups
    assert list(every.index) == list(range(35 * 4))
    for group in groups:
        one = ace.get.rank_genes_groups_df(explained, group)
        rows = every[every["group"] == group].drop(columns="group").reset_index(drop=True)
        pd.testing.assert_frame_equal(one, rows)
    some = ace.get.rank_genes_groups_df(explained, ["dendritic", "B"])
    assert list(some["group"].unique()) == ["dendritic", "B"]
    assert list(some["names"]) == [
        *ace.get.rank_genes_groups_df(explained, "dendritic")["names"],
        *ace.get.rank_genes_groups_df(explained, "B")["names"],
    ]


def test_columns_have_plain_types(explained):
    table = ace.get.rank_genes_groups_df(explained, "B")
    assert table["names"].map(type).eq(str).all()
    assert table["enriched"].dtype == bool
    assert table[["scores", "logfoldchanges", "delta"]].dtypes.eq(np.float32).all()


@pytest.mark.parametrize("method", ["t-test", "logreg"])
@pytest.mark.filterwarnings("ignore:.*failed to converge:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:'multi_class' was deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:'penalty' was deprecated:FutureWarning")
def test_scanpys_own_ranking(planted, method):
    sc.tl.rank_genes_groups(planted, "group", method=method)
    theirs = sc.get.rank_genes_groups_df(planted, group="B")
    ours = ace.get.rank_genes_groups_df(planted, "B")
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, check_exact=True)
    panel = ace.get.panel(planted, "B", size=4)
    assert list(panel["names"]) == list(theirs["names"][:4])
    with pytest.raises(ValueError, match=r"no 'panel_size'.*not made by `ace\.tl\.explain`"):
        ace.get.panel(planted, "B")


@pytest.mark.parametrize("function", [ace.get.panel, ace.get.rank_genes_groups_df])
class TestErrors:
    def test_no_such_ranking(self, explained, function):
        explained.uns["mine"] = explained.uns["rank_genes_groups"]
        with pytest.raises(KeyError, match=r"`key`='no'.*\['rank_genes_groups', 'mine'\]"):
            function(explained, "B", key="no")

    def test_before_explain(self, planted, function):
        with pytest.raises(KeyError, match=r"`key`='rank_genes_groups' not found.*\[\]"):
            function(planted, "B")

    def test_not_a_ranking(self, explained, function):
        with pytest.raises(ValueError, match=r"adata\.uns\['log1p'\]` is not a ranking"):
            function(explained, "B", key="log1p")

    def test_no_such_group(self, explained, function):
        with pytest.raises(ValueError, match=r"`group`='nobody'.*'B', 'T/NK ζ', 'Mono 14⁺', 'dendritic'"):
            function(explained, "nobody")

    def test_the_reference_has_no_ranking(self, embedded, function):
        ace.tl.explain(embedded, "group", groups=["B"], reference="dendritic")
        with pytest.raises(ValueError, match=r"`group`='dendritic'.*\['B'\]"):
            function(embedded, "dendritic")


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-2, ValueError), (2.5, TypeError), ("3", TypeError)])
def test_wrong_size(explained, size, error):
    with pytest.raises(error, match=r"`size`"):
        ace.get.panel(explained, "B", size=size)


def test_no_groups(explained):
    with pytest.raises(ValueError, match=r"`group`"):
        ace.get.rank_genes_groups_df(explained, [])


def test_groups_that_are_numbers(embedded):
    embedded.obs["number"] = embedded.obs["group"].cat.codes.to_numpy().astype(int)
    ace.tl.explain(embedded, "number", lam=3.0)
    pd.testing.assert_frame_equal(ace.get.panel(embedded, 2, size=4), ace.get.panel(embedded, "2", size=4))
    some = ace.get.rank_genes_groups_df(embedded, [3, 1])
    assert list(some["group"].unique()) == ["3", "1"]
    pd.testing.assert_frame_equal(
        ace.get.rank_genes_groups_df(embedded, 2), ace.get.rank_genes_groups_df(embedded, "2")
    )
