"""Each contrast by itself, against single calls, slow loops and the ranking that holds it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import ace_scanpy as ace
from ace_scanpy import _contrasts
from ace_scanpy.methods import _perturbation

COLUMNS = ["group", "target", "names", "scores", "delta", "flip_rate", "distance"]
GROUPS = ("B", "T/NK ζ", "Mono 14⁺", "dendritic")


def test_a_row_per_changed_gene_of_every_pair_in_order(explained):
    table = ace.get.contrasts(explained)
    assert list(table.columns) == COLUMNS
    assert list(table.index) == list(range(len(table)))
    pairs = list(dict.fromkeys(zip(table["group"], table["target"], strict=True)))
    assert pairs == [(a, b) for a in GROUPS for b in GROUPS if a != b]
    for _, one in table.groupby(["group", "target"], observed=True):
        assert (np.diff(one["scores"].abs()) <= 0).all()
        assert one["names"].is_unique
    assert (table["delta"] != 0).all()


def test_scores_are_signed_shares(explained):
    table = ace.get.contrasts(explained)
    sums = table["scores"].abs().groupby([table["group"], table["target"]], observed=True).sum()
    np.testing.assert_allclose(sums, 1.0, rtol=1e-6)
    np.testing.assert_array_equal(np.sign(table["scores"]), -np.sign(table["delta"]))
    own = explained.var.loc[table["names"], "up"].to_numpy() == table["group"].to_numpy()
    assert own.any()
    assert (table["scores"][own] > 0).all()


@pytest.mark.parametrize(("group", "target"), [("B", "dendritic"), ("Mono 14⁺", "T/NK ζ")])
def test_is_what_a_single_call_finds(explained, group, target, monkeypatch):
    # to the optimum: four models end near it, where rounding, which differs between batches, decides
    monkeypatch.setattr(_perturbation, "_MODELS", 60)
    monkeypatch.setattr(_perturbation, "_TOLERANCE", 1e-6)
    ace.tl.explain(explained, "group", groups=[group], reference=target, key_added="one")
    ace.tl.explain(explained, "group", key_added="all")
    single = ace.get.rank_genes_groups_df(explained, group, key="one").set_index("names")
    table = ace.get.contrasts(explained, group=group, target=target, key="all").set_index("names")
    changed = single["delta"][single["delta"] != 0]
    assert set(table.index) == set(changed.index)
    np.testing.assert_allclose(table["delta"], changed[table.index], rtol=3e-3, atol=1e-3)
    assert table["flip_rate"].iloc[0] == explained.uns["one"]["flip_rate"][group][0]
    own = ace.get.contrasts(explained, key="one")  # stored with a reference too
    assert own["group"].unique().tolist() == [group]
    assert own["target"].unique().tolist() == [target]
    np.testing.assert_array_equal(own.set_index("names")["delta"][changed.index], changed)


def test_means_over_targets_are_the_delta_and_flip_rate_of_the_ranking(explained):
    entry = explained.uns["rank_genes_groups"]
    for group in GROUPS:
        table = ace.get.contrasts(explained, group=group)
        mean = table.groupby("names")["delta"].sum() / 3
        stored = pd.Series(np.asarray(entry["delta"][group]), index=np.asarray(entry["names"][group], dtype=object))
        np.testing.assert_allclose(mean.reindex(stored.index, fill_value=0.0), stored, atol=1e-6)
        assert table.groupby("target", observed=True)["flip_rate"].first().mean() == pytest.approx(
            entry["flip_rate"][group][0]
        )


def test_distance_is_that_of_the_means_in_the_latent_space(explained):
    genes = list(explained.uns["ace"]["X_ace"]["genes"])
    weights = explained.uns["ace"]["X_ace"]["fits"]["group"]["weights"]
    hidden = (explained[:, genes].X.toarray() - weights["encoder.mean"]) / weights["encoder.scale"]
    layers = ["encoder.first", *sorted({k.rsplit(".", 1)[0] for k in weights if k.startswith("encoder.rest.")})]
    for i, layer in enumerate(layers):
        hidden = hidden @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        hidden = hidden if i + 1 == len(layers) else np.where(hidden > 0, hidden, 0.2 * hidden)
    means = {group: hidden[explained.obs["group"] == group].mean(axis=0) for group in GROUPS}
    for row in ace.get.contrasts(explained).drop_duplicates(["group", "target"]).itertuples():
        assert row.distance == pytest.approx(np.linalg.norm(means[row.group] - means[row.target]), rel=1e-4)


def test_some_groups_and_targets(explained):
    every = ace.get.contrasts(explained)
    some = ace.get.contrasts(explained, group=["dendritic", "B"], target="Mono 14⁺")
    expected = every[every["group"].isin(["B", "dendritic"]) & (every["target"] == "Mono 14⁺")]
    pd.testing.assert_frame_equal(some, expected.reset_index(drop=True), check_categorical=False)
    assert list(some["group"].cat.categories) == ["B", "dendritic"]
    assert ace.get.contrasts(explained, group="B")["group"].unique().tolist() == ["B"]


def test_a_short_ranking_holds_the_changes_of_its_genes(explained):
    ace.tl.explain(explained, "group", n_genes=4, key_added="short")
    whole, short = ace.get.contrasts(explained), ace.get.contrasts(explained, key="short")
    listed = [
        name in set(explained.uns["short"]["names"][group])
        for group, name in zip(whole["group"], whole["names"], strict=True)
    ]
    assert 0 < sum(listed) < len(whole)
    pd.testing.assert_frame_equal(short, whole[listed].reset_index(drop=True))


def test_cells_and_categories_that_are_taken_away_or_sorted_change_nothing(explained):
    before = ace.get.contrasts(explained)
    few = explained[explained.obs["group"].isin(["Mono 14⁺", "dendritic"])].copy()
    assert list(few.obs["group"].cat.categories) == ["Mono 14⁺", "dendritic"]
    pd.testing.assert_frame_equal(ace.get.contrasts(few), before)
    explained.obs["group"] = explained.obs["group"].cat.reorder_categories(GROUPS[::-1])
    pd.testing.assert_frame_equal(ace.get.contrasts(explained), before)


def test_genes_outside_the_mask_and_in_another_order(planted, small_network):
    planted.var["highly_variable"] = np.arange(planted.n_vars) % 5 != 1
    ace.tl.embed(planted, **small_network)
    other = planted[:, ::-1].copy()
    for adata in (planted, other):
        ace.tl.explain(adata, "group", groups=["B", "dendritic"])
    one, two = ace.get.contrasts(planted), ace.get.contrasts(other)
    assert planted.var.loc[one["names"], "highly_variable"].all()
    pd.testing.assert_frame_equal(one, two)


def test_a_pair_that_needs_no_change_has_no_rows():
    order = np.array([[2, 0, 1], [0, 1, 2]])
    delta = sparse.csr_matrix(np.array([[0.0, 0.0, 0.0], [0.5, 0.0, -1.5]]))
    fields = _contrasts.build(
        ["a", "b"], ["a", "b"], [0, 1], np.array([0, 1]), np.array([1, 0]), delta, [1.0, 0.5], np.ones((2, 2)), order, 2
    )
    names = np.rec.fromarrays([["z", "x"], ["x", "y"]], dtype=[("a", "O"), ("b", "O")])
    entry = {"params": {}, "names": names, **fields}
    assert not len(_contrasts.table(entry, "a"))
    table = _contrasts.table(entry, "b")
    assert table[["target", "names", "delta", "scores", "flip_rate"]].values.tolist() == [["a", "x", 0.5, -0.25, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"group": "nobody"}, ValueError, r"`group`='nobody'.*'B'"),
        ({"target": ["nobody"]}, ValueError, r"`target`='nobody'.*'B'"),
        ({"key": "no"}, KeyError, r"`key`='no'"),
        ({"key": "max"}, ValueError, r"method='ace', rest='max'.*rest='each'"),
        ({"key": "jsd"}, ValueError, r"method='jsd'"),
        ({"key": "scanpy"}, ValueError, r"method='t-test'"),
        ({"key": "broken"}, ValueError, r"of 4 rankings, but it has 2"),
    ],
)
def test_refused(explained, arguments, error, match):
    entry = explained.uns["rank_genes_groups"]
    explained.uns["broken"] = {**entry, "names": np.rec.fromarrays([["x"]] * 2, dtype=[("B", "O"), ("c", "O")])}
    if arguments.get("key") in ("max", "jsd"):
        options = {"max": {"rest": "max", "groups": ["B"]}, "jsd": {"method": "jsd"}}[arguments["key"]]
        ace.tl.explain(explained, "group", key_added=arguments["key"], **options)
    sc.tl.rank_genes_groups(explained, "group", method="t-test", key_added="scanpy")
    with pytest.raises(error, match=match):
        ace.get.contrasts(explained, **arguments)
