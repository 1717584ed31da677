"""What is compared with what: the nearest group, named pairs, and the levels of another column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace
from ace_scanpy import _labels, _records

GROUPS = ["B", "T/NK ζ", "Mono 14⁺", "dendritic"]
RENAMED = {"B": "z/last", "T/NK ζ": "a first", "Mono 14⁺": "0", "dendritic": "ω"}


def _assert_like_single(adata, key, field, group, reference):
    """A ranking says what a call for this pair alone says, up to where the solver stops."""
    ace.tl.explain(adata, "group", groups=[group], reference=reference, key_added="single", pts=True)
    one = ace.get.rank_genes_groups_df(adata, group, key="single").set_index("names")
    found = ace.get.rank_genes_groups_df(adata, field, key=key).set_index("names")
    assert (one["scores"] != 0).sum() >= 3
    # batches of the solver round otherwise and stop at different points; a single contrast is compared exactly below
    np.testing.assert_allclose(found["scores"][one.index], one["scores"], atol=1e-2)
    np.testing.assert_allclose(found["logfoldchanges"][one.index], one["logfoldchanges"], rtol=1e-6)
    for name in ("n_cells", "fidelity"):
        assert adata.uns[key][name][field][0] == adata.uns["single"][name][group][0]


def _nearest(adata, key):
    pairs = ace.get.contrasts(adata, key=key).drop_duplicates(["group", "target"])
    return dict(zip(pairs["group"], pairs["target"], strict=True))


class TestNearest:
    def test_each_group_is_compared_with_its_closest_neighbour(self, explained):
        ace.tl.explain(explained, "group", reference="nearest", key_added="nearest")
        entry = explained.uns["nearest"]
        assert entry["params"]["reference"] == "nearest"
        assert list(entry["names"].dtype.names) == GROUPS
        every = ace.get.contrasts(explained).drop_duplicates(["group", "target"]).reset_index()
        closest = every.loc[every.groupby("group", observed=True)["distance"].idxmin()]
        assert _nearest(explained, "nearest") == dict(zip(closest["group"], closest["target"], strict=True))

    def test_equals_the_call_for_that_pair(self, explained):
        ace.tl.explain(explained, "group", reference="nearest", key_added="nearest")
        for group, target in _nearest(explained, "nearest").items():
            _assert_like_single(explained, "nearest", group, group, target)

    @pytest.mark.parametrize("group", GROUPS)
    def test_a_single_group_equals_that_call_exactly(self, explained, assert_same_ranking, group):
        ace.tl.explain(explained, "group", groups=[group], reference="nearest", key_added="nearest")
        (target,) = _nearest(explained, "nearest").values()
        ace.tl.explain(explained, "group", groups=[group], reference=target, key_added="single")
        ace.tl.explain(explained, "group", contrasts=[(group, target)], key_added="named")
        for key in ("nearest", "named"):
            assert_same_ranking(explained.uns[key], explained.uns["single"])

    def test_of_some_groups_the_neighbours_may_be_others(self, explained):
        ace.tl.explain(explained, "group", reference="nearest", key_added="nearest")
        ace.tl.explain(explained, "group", groups=["B"], reference="nearest", key_added="some")
        assert _nearest(explained, "some") == {"B": _nearest(explained, "nearest")["B"]}

    @pytest.mark.parametrize("order", [list(RENAMED.values()), sorted(RENAMED.values())])
    def test_names_and_order_of_categories_do_not_matter(self, explained, assert_same_ranking, order):
        ace.tl.explain(explained, "group", reference="nearest", key_added="before")
        labels = explained.obs["group"].astype(object).map(RENAMED)
        explained.obs["group"] = pd.Categorical(labels, categories=order)
        ace.tl.explain(explained, "group", reference="nearest", key_added="after")
        assert_same_ranking(explained.uns["after"], explained.uns["before"], names=RENAMED)

    def test_a_group_of_that_name_is_that_group(self, explained):
        explained.rename_categories("group", ["B", "nearest", "Mono 14⁺", "dendritic"])
        ace.tl.explain(explained, "group", groups=["B"], reference="nearest", key_added="named")
        assert _nearest(explained, "named") == {"B": "nearest"}

    def test_other_methods_refuse(self, explained, unchanged):
        with unchanged(explained, ValueError, match=r"`reference`='nearest'.*method='jsd', only to 'ace'.*'B'"):
            ace.tl.explain(explained, "group", method="jsd", reference="nearest")


class TestNamed:
    def test_pairs_equal_the_calls_one_by_one(self, explained):
        pairs = [("dendritic", "B"), ("T/NK ζ", "Mono 14⁺")]
        ace.tl.explain(explained, "group", contrasts=pairs, key_added="named")
        assert list(explained.uns["named"]["names"].dtype.names) == ["T/NK ζ", "dendritic"]  # order of the categories
        assert explained.uns["named"]["params"]["reference"] == "targets"
        for group, target in pairs:
            _assert_like_single(explained, "named", group, group, target)

    def test_several_targets_are_one_vs_one_with_each(self, explained):
        ace.tl.explain(explained, "group", contrasts=[("B", ["dendritic", "T/NK ζ"])], key_added="named", pts=True)
        found = ace.get.contrasts(explained, key="named")
        assert found["target"].unique().tolist() == ["T/NK ζ", "dendritic"]
        expected = ace.get.contrasts(explained, group="B", target=["T/NK ζ", "dendritic"])
        indices = ["target", "names"]
        found, expected = (t.astype({"target": str}).set_index(indices)["delta"] for t in (found, expected))
        np.testing.assert_allclose(found, expected[found.index], rtol=3e-3, atol=1e-3)
        # against both: Scanpy's fold changes and fractions of the cells of the three groups alone
        three = explained[explained.obs["group"] != "Mono 14⁺"].copy()
        sc.tl.rank_genes_groups(three, "group", key_added="t", pts=True)
        theirs = sc.get.rank_genes_groups_df(three, group="B", key="t").set_index("names")
        ours = sc.get.rank_genes_groups_df(explained, group="B", key="named").set_index("names").loc[theirs.index]
        for name in ("logfoldchanges", "pct_nz_group", "pct_nz_reference"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5)

    def test_a_group_with_several_rankings(self, explained):
        pairs = [("B", "dendritic"), ("Mono 14⁺", "B"), ("B", ["dendritic", "T/NK ζ"])]
        ace.tl.explain(explained, "group", contrasts=pairs, key_added="named")
        fields = ["B vs dendritic", "B vs T/NK ζ, dendritic", "Mono 14⁺"]
        assert list(explained.uns["named"]["names"].dtype.names) == fields
        _assert_like_single(explained, "named", "B vs dendritic", "B", "dendritic")
        axes = ace.pl.panel(explained, key="named", show=False)
        titles = ["B vs. dendritic", "B vs. T/NK ζ, dendritic", "Mono 14⁺ vs. B"]
        assert [ax.get_title() for ax in axes] == titles
        assert [ax.get_title() for ax in ace.pl.rank_genes_groups(explained, key="named", show=False)] == titles
        plots = getattr(sc.pl, "legacy", sc.pl)
        figure = plots.rank_genes_groups_dotplot(explained, n_genes=2, key="named", dendrogram=False, return_fig=True)
        names = explained.uns["named"]["names"]
        assert list(figure.var_names) == [gene for field in fields for gene in names[field][:2]]
        assert ace.pl.contrast(explained, fields[1], key="named", show=False).get_ylabel() == "B vs."
        curves = ace.pl.flip_curve(explained, key="named", show=False)[0].get_lines()[:-1]
        for line in curves:
            x, y = line.get_data()
            field = line.get_label().rsplit(" (", 1)[0]
            assert x[y >= 0.95][0] == explained.uns["named"]["panel_size"][field][0]

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"contrasts": "B"}, TypeError, r"`contrasts` must be a list of pairs.*'B'"),
            ({"contrasts": ["B"]}, TypeError, r"must be a pair.*'B'"),
            ({"contrasts": [("B", "dendritic", "T/NK ζ")]}, TypeError, r"must be a pair"),
            ({"contrasts": []}, ValueError, r"at least one pair"),
            ({"contrasts": [("B", "nobody")]}, ValueError, r"`contrasts`='nobody'.*'dendritic'"),
            ({"contrasts": [("nobody", "B")]}, ValueError, r"`contrasts`='nobody'"),
            ({"contrasts": [("B", [])]}, ValueError, r"`contrasts` names no group"),
            ({"contrasts": [("B", ["dendritic", "B"])]}, ValueError, r"'B' with itself"),
            ({"contrasts": [("B", "dendritic"), ("B", ["dendritic"])]}, ValueError, r"twice"),
            ({"contrasts": [("B", "dendritic")], "reference": "B"}, ValueError, r"leave out `reference`"),
            ({"contrasts": [("B", "dendritic")], "groups": ["B"]}, ValueError, r"leave out `groups`"),
            ({"contrasts": [("B", "dendritic")], "rest": "max"}, ValueError, r"leave out `rest`"),
            (
                {"contrasts": [("B", "dendritic")], "method": "jsd"},
                ValueError,
                r"`contrasts`.*'jsd', only to \['ace'\]",
            ),
        ],
    )
    def test_refused(self, explained, unchanged, arguments, error, match):
        with unchanged(explained, error, match=match):
            ace.tl.explain(explained, "group", **arguments)


@pytest.fixture
def two_levels(explained):
    """Cells in two conditions of different size; in one of them gene20 takes part in what makes B."""
    explained.obs["condition"] = np.where(np.arange(explained.n_obs) % 5 < 3, "ctrl", "stim/1")
    return explained


class TestLevels:
    def test_equals_the_call_on_the_cells_of_the_level(self, two_levels, assert_same_ranking):
        """With the same network: the fit to the labels of all cells, put in place of one to those of the level."""
        ace.tl.explain(two_levels, "group", by="condition", key_added="by")
        assert {"by_ctrl", "by_stim%2F1"} <= set(two_levels.uns)
        assert "by" not in two_levels.uns
        for level, key in (("ctrl", "by_ctrl"), ("stim/1", "by_stim%2F1")):
            alone = two_levels[two_levels.obs["condition"] == level].copy()
            record = alone.uns["ace"]["X_ace"]
            codes = _labels.read(alone, "group").codes
            record["fits"]["group"] = {**record["fits"]["group"], "labels": _records.digest(codes)}
            ace.tl.explain(alone, "group", key_added="alone")
            entry = dict(two_levels.uns[key])
            assert (entry["params"].pop("by"), entry["params"].pop("level")) == ("condition", level)
            assert entry["params"].pop("labels") != alone.uns["alone"]["params"].pop(
                "labels"
            )  # of all cells, and of some
            assert entry["params"] == alone.uns["alone"]["params"]
            assert_same_ranking(entry, alone.uns["alone"])

    @pytest.mark.parametrize("arguments", [{"reference": "nearest"}, {"contrasts": [("B", "dendritic")]}], ids=str)
    def test_with_other_contrasts(self, two_levels, arguments):
        ace.tl.explain(two_levels, "group", by="condition", key_added="by", **arguments)
        for key in ("by_ctrl", "by_stim%2F1"):
            assert two_levels.uns[key]["params"]["reference"] in ("nearest", "targets")
            assert "B" in _nearest(two_levels, key)

    def test_the_whole_is_not_changed(self, two_levels, contents, assert_same_contents):
        before = contents(two_levels)
        ace.tl.explain(two_levels, "group", by="condition", key_added="by")
        for key in ("by_ctrl", "by_stim%2F1"):
            del two_levels.uns[key]
        assert_same_contents(contents(two_levels), before)

    def test_levels_side_by_side(self, two_levels):
        ace.tl.explain(two_levels, "group", by="condition", key_added="by")
        table = ace.get.levels(two_levels, by="condition", key="by")
        assert list(table.columns) == ["group", "names", "level", "scores", "delta", "difference"]
        assert list(table["level"].cat.categories) == ["ctrl", "stim/1"]
        for group in GROUPS:
            keys = ("by_ctrl", "by_stim%2F1")
            one, two = (ace.get.rank_genes_groups_df(two_levels, group, key=key).set_index("names") for key in keys)
            found = table[table["group"] == group]
            scored = one.index[(one["scores"] != 0) | (two["scores"][one.index] != 0)]
            assert set(found["names"]) == set(scored)
            wide = found.astype({"level": str}).pivot(index="names", columns="level", values="scores")
            np.testing.assert_array_equal(wide["ctrl"], one["scores"][wide.index])
            np.testing.assert_array_equal(wide["stim/1"], two["scores"][wide.index])
            first = found[found["level"] == "ctrl"].set_index("names")["difference"]
            np.testing.assert_allclose(first, (wide["ctrl"] - wide["stim/1"]).abs()[first.index], rtol=1e-6)
            assert (np.diff(first) <= 0).all()
        some = ace.get.levels(two_levels, "B", by="condition", key="by")
        assert some["group"].unique().tolist() == ["B"]
        assert len(some) == (table["group"] == "B").sum()

    def test_genes_that_make_a_group_in_one_level_alone(self, make_planted, small_network):
        """In one condition three genes that were planted nowhere take the part of the three that mark B."""
        adata = make_planted(n_per_group=60)
        adata.obs["condition"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "stim", "ctrl"))
        own = adata.var_names[adata.var["up"] == "B"]
        other = adata.var_names[(adata.var["up"] == "") & (adata.var["down"] == "")][:3]
        values = adata.to_df()
        cells = ((adata.obs["group"] == "B") & (adata.obs["condition"] == "stim")).to_numpy()
        values.loc[cells, [*own, *other]] = values.loc[cells, [*other, *own]].to_numpy()
        adata.X = values.to_numpy()
        ace.tl.embed(adata, **small_network)
        ace.tl.explain(adata, "group", by="condition", lam=1000.0)  # as many genes as the network reads
        table = ace.get.levels(adata, "B", by="condition")
        scores = table.astype({"level": str}).pivot(index="names", columns="level", values="scores")
        for level, here, elsewhere in (("ctrl", own, other), ("stim", other, own)):
            assert (scores.loc[here, level] > 0).sum() >= 2
            assert (scores.loc[elsewhere, level] == 0).all()

    def test_a_group_that_one_level_lacks(self, two_levels):
        lacking = (two_levels.obs["group"] == "dendritic") & (two_levels.obs["condition"] == "ctrl")
        adata = two_levels[~lacking].copy()
        ace.tl.explain(adata, "group", by="condition", key_added="by", lam=10.0)
        assert list(adata.uns["by_ctrl"]["names"].dtype.names) == GROUPS[:3]
        table = ace.get.levels(adata, "dendritic", by="condition", key="by")
        assert table.loc[table["level"] == "ctrl", "scores"].isna().all()
        assert table.loc[table["level"] == "stim/1", "scores"].notna().all()

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"by": "no"}, KeyError, r"`by`='no'.*'condition'"),
            ({"by": "group"}, ValueError, r"`by`='group' needs a `groupby` that is another column"),
            ({"by": "one"}, ValueError, r"`by`='one' needs two or more levels"),
            ({"by": "like group"}, ValueError, r"level 'B' has cells of 1 group.*at least 2"),
            ({"by": "lacking", "reference": "B"}, ValueError, r"in the level 'b', `reference`='B' is not a group"),
            ({"by": "condition", "method": "jsd"}, ValueError, r"`by`='condition'.*'jsd', only to \['ace'\]"),
        ],
    )
    @pytest.mark.usefixtures("no_training")
    def test_refused(self, two_levels, unchanged, arguments, error, match):
        two_levels.obs["one"] = "x"
        two_levels.obs["like group"] = two_levels.obs["group"]
        two_levels.obs["lacking"] = np.where(two_levels.obs["group"] == "B", "a", "b")
        two_levels.obs.loc[two_levels.obs_names[:40], "lacking"] = "a"
        two_levels.obs.loc[two_levels.obs["group"] == "B", "lacking"] = "a"
        with unchanged(two_levels, error, match=match):
            ace.tl.explain(two_levels, "group", **arguments)

    def test_no_levels_to_compare(self, two_levels):
        with pytest.raises(KeyError, match=r"'rank_genes_groups_\.\.\.'.*`by`='condition'.*ace\.tl\.explain"):
            ace.get.levels(two_levels, by="condition")


def test_scanpys_consumers_of_the_nearest(explained):
    """They take it as a reference whose name they do not look up; the filter judges by all other cells, as for any."""
    ace.tl.explain(explained, "group", reference="nearest")
    plots = getattr(sc.pl, "legacy", sc.pl)
    axes = plots.rank_genes_groups(explained, n_genes=2, show=False)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. nearest" for group in GROUPS]
    dots = plots.rank_genes_groups_dotplot(
        explained, n_genes=2, values_to_plot="scores", dendrogram=False, return_fig=True
    )
    assert list(dots.dot_color_df.index) == GROUPS
    frame = sc.get.rank_genes_groups_df(explained, group=None)
    assert list(frame["group"].unique()) == GROUPS
    limits = {"min_in_group_fraction": 0.2, "max_out_group_fraction": 1.01, "min_fold_change": 0.3}
    sc.tl.filter_rank_genes_groups(explained, key_added="kept", **limits)
    entry = explained.uns["rank_genes_groups"]
    explained.uns["as a group"] = {**entry, "params": {**entry["params"], "reference": "B"}}
    sc.tl.filter_rank_genes_groups(explained, key="as a group", key_added="expected", **limits)
    for group in GROUPS:
        found, expected = (pd.Series(explained.uns[key]["names"][group]) for key in ("kept", "expected"))
        pd.testing.assert_series_equal(found, expected)
        assert 0 < found.notna().sum() < explained.n_vars


def test_our_violins_of_the_nearest_show_that_group(explained):
    ace.tl.explain(explained, "group", reference="nearest")
    nearest = _nearest(explained, "rank_genes_groups")
    axes = ace.pl.rank_genes_groups_violin(explained, n_genes=2, show=False)
    assert [ax.get_title() for ax in axes] == [f"{group} vs. {nearest[group]}" for group in GROUPS]
    n_dots = {sum(len(c.get_offsets()) for c in ax.collections if len(c.get_offsets()) > 1) for ax in axes}
    assert n_dots == {2 * 40}  # of two genes, the cells of two groups
