"""Genes before, after, and in the group that they lead to."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

import ace_scanpy as ace


def _means(ax):
    """The drawn means, by which violin and gene."""
    genes = [label.get_text() for label in ax.get_xticklabels()]
    dots = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) == len(genes)]
    return {
        which: {genes[round(x)]: y for x, y in offsets}
        for which, offsets in zip(("before", "after", "target"), dots, strict=True)
    }


def _bodies(ax):
    return [collection for collection in ax.collections if isinstance(collection, PolyCollection)]


def test_means_before_after_and_in_the_target(explained):
    ax = ace.pl.perturbation(explained, "B", "dendritic", n_genes=5, show=False)
    table = ace.get.contrasts(explained, group="B", target="dendritic").head(5)
    assert [label.get_text() for label in ax.get_xticklabels()] == list(table["names"])
    assert ax.get_title() == "B to dendritic"
    values = explained.to_df()
    record = explained.uns["ace"]["X_ace"]
    scale = dict(zip(record["genes"], record["weights"]["encoder.scale"], strict=True))
    means = _means(ax)
    for name, delta in zip(table["names"], table["delta"], strict=True):
        before = values.loc[explained.obs["group"] == "B", name].mean()
        assert means["before"][name] == pytest.approx(before, abs=1e-5)
        assert means["after"][name] == pytest.approx(before + scale[name] * delta, abs=1e-5)
        there = values.loc[explained.obs["group"] == "dendritic", name].mean()
        assert means["target"][name] == pytest.approx(there, abs=1e-5)
        # it leads towards the target
        assert (means["after"][name] - before) * (there - before) > 0


def test_violins_span_the_cells(explained):
    ax = ace.pl.perturbation(explained, "B", "dendritic", n_genes=2, show=False)
    name = ax.get_xticklabels()[0].get_text()
    before = explained.to_df().loc[explained.obs["group"] == "B", name]
    shift = _means(ax)["after"][name] - _means(ax)["before"][name]
    bodies = _bodies(ax)
    assert len(bodies) == 6
    for body, move in ((bodies[0], 0.0), (bodies[2], shift)):
        y = body.get_paths()[0].vertices[:, 1]
        assert (y.min(), y.max()) == pytest.approx((before.min() + move, before.max() + move), abs=1e-4)


def test_the_default_target_is_the_closest_prototype(explained):
    table = ace.get.contrasts(explained, group="B")
    closest = table.loc[table["distance"].idxmin(), "target"]
    assert ace.pl.perturbation(explained, "B", show=False).get_title() == f"B to {closest}"
    ace.tl.explain(explained, "group", groups=["B"], reference="Mono 14⁺", key_added="one")
    assert ace.pl.perturbation(explained, "B", key="one", show=False).get_title() == "B to Mono 14⁺"


def test_colours_and_legend(explained):
    explained.uns["group_colors"] = ["#112233", "#445566", "#778899", "#aabbcc"]
    ax = ace.pl.perturbation(explained, "B", "dendritic", n_genes=1, show=False)
    before, after, there = _bodies(ax)
    assert to_hex(before.get_facecolor()[0]) == "#112233"
    assert to_hex(after.get_facecolor()[0]) == "#ffffff"
    assert after.get_hatch()
    assert not before.get_hatch()
    assert to_hex(there.get_facecolor()[0]) == "#aabbcc"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["B, before", "B, after", "dendritic"]


def test_the_matrix_that_was_ranked(planted, small_network):
    planted.layers["logged"] = planted.X.copy()
    planted.X = planted.X * 0
    ace.tl.embed(planted, layer="logged", **small_network)
    ace.tl.explain(planted, "group", layer="logged", groups=["B"], reference="dendritic")
    means = _means(ace.pl.perturbation(planted, "B", n_genes=2, show=False))
    values = sc.get.obs_df(planted, list(means["before"]), layer="logged")[planted.obs["group"] == "B"]
    assert list(means["before"].values()) == pytest.approx(values.mean().tolist(), abs=1e-5)


def test_within_a_level(explained):
    explained.obs["half"] = np.where(np.arange(explained.n_obs) % 2, "one", "two")
    ace.tl.explain(explained, "group", by="half", lam=10.0)
    means = _means(ace.pl.perturbation(explained, "B", n_genes=2, key="rank_genes_groups_one", show=False))
    inside = (explained.obs["group"] == "B") & (explained.obs["half"] == "one")
    for name, mean in means["before"].items():
        assert mean == pytest.approx(explained.to_df().loc[inside, name].mean(), abs=1e-5)


def test_symbols_given_axes_and_room(explained, names_inside):
    explained.var["symbol"] = [f"SYM{i}" for i in range(explained.n_vars)]
    _, ax = plt.subplots()
    assert ace.pl.perturbation(explained, "B", gene_symbols="symbol", ax=ax) is ax
    assert all(label.get_text().startswith("SYM") for label in ax.get_xticklabels())
    names_inside(ace.pl.perturbation(explained, "B", show=False).figure)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"group": "nobody"}, ValueError, r"`group`='nobody'"),
        ({"target": "B"}, ValueError, r"`target`='B' is not a group.*T/NK"),
        ({"n_genes": 0}, ValueError, r"`n_genes`"),
        ({"key": "no"}, KeyError, r"`key`='no'"),
        ({"gene_symbols": "no"}, KeyError, r"`gene_symbols`='no'"),
    ],
)
def test_wrong_arguments(explained, arguments, error, match):
    with pytest.raises(error, match=match):
        ace.pl.perturbation(explained, **{"group": "B", "show": False, **arguments})
    assert not plt.get_fignums()
