"""Several prototypes per group where the means fall short of the labels, and the means alone where they do not."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from sklearn.datasets import make_moons

import ace_scanpy as ace
from ace_scanpy import _labels, _neuralized, _records
from ace_scanpy._explained import Explained
from ace_scanpy.methods import distances
from ace_scanpy.models import NeuralizedClustering

PCA = {"use_rep": "X_pca"}
NAMES = ["upper/1", "нижняя", "far"]


def _moons(n_cells=240, seed=0):
    """Two moons and a round group far off, in the plane of the first two components of 24 genes."""
    rng = np.random.default_rng(seed)
    plane, codes = make_moons(n_cells, noise=0.07, random_state=seed)
    plane = np.concatenate([plane, rng.normal([0.5, 3.0], 0.1, size=(40, 2))])
    codes = np.append(codes, np.full(40, 2))
    order = rng.permutation(len(codes))
    values = 4 + plane[order] @ rng.normal(size=(2, 24)) + rng.normal(scale=0.02, size=(len(order), 24))
    adata = ad.AnnData(
        values.clip(0).astype(np.float32),
        obs=pd.DataFrame(
            {"group": pd.Categorical(np.array(NAMES)[codes[order]], categories=NAMES)},
            index=[f"cell{i}" for i in range(len(order))],
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(24)]),
    )
    sc.pp.pca(adata, n_comps=2)
    return adata


@pytest.fixture(scope="module")
def explained_moons():
    """Not to be changed."""
    adata = _moons()
    ace.tl.explain(adata, "group", **PCA)
    return adata


@pytest.fixture
def moons(explained_moons, isolated):
    return isolated(explained_moons)


@pytest.fixture
def no_refit(monkeypatch):
    """Prototypes are read, not fitted."""

    def refuse(*_args, **_kwargs):
        pytest.fail("fitted")

    monkeypatch.setattr("ace_scanpy._neuralized.neuralize", refuse)


def _overall(entry):
    """Share of all cells with their label."""
    return np.average([entry["fidelity"][g][0] for g in NAMES], weights=[entry["n_cells"][g][0] for g in NAMES])


def _logits(adata, key="rank_genes_groups"):
    return Explained.load(adata, adata.uns[key]).clustering(torch.tensor(adata.obsm["X_pca"]))


def test_moons_are_told_apart_by_several_prototypes_and_not_by_their_means(moons):
    entry = moons.uns["rank_genes_groups"]
    ace.tl.explain(moons, "group", min_fidelity=0, key_added="means", **PCA)
    means = moons.uns["means"]
    assert _overall(means) < 0.95
    assert _overall(entry) >= 0.98
    assert entry["params"]["min_fidelity"] == 0.98
    assert 0.9 < entry["params"]["held_out_fidelity"] <= 1
    assert means["params"]["held_out_fidelity"] is None
    assert 1 < max(entry["n_prototypes"].tolist()[0]) <= 10
    assert means["n_prototypes"].tolist() == [(1, 1, 1)]
    for group in NAMES:
        assert entry["flip_rate"][group][0] > 0.9


def test_the_stored_prototypes_give_the_stored_fidelity(moons):
    """Read field by field, and assigned by a loop."""
    entry, z = moons.uns["rank_genes_groups"], moons.obsm["X_pca"].astype(float)
    gamma = entry["params"]["sharpness"]
    outlierness = []
    for group in NAMES:
        n = entry["n_prototypes"][group][0]
        prototypes = np.asarray(entry["prototypes"][group])[: 2 * n].reshape(n, 2).astype(float)
        assert np.isnan(entry["prototypes"][group][2 * n :]).all()
        squared = np.stack([((z - p) ** 2).sum(axis=1) for p in prototypes])
        outlierness.append(-np.log(np.exp(-gamma * squared).sum(axis=0)) / gamma)
    right = np.array(NAMES)[np.argmin(outlierness, axis=0)] == moons.obs["group"].to_numpy()
    for group in NAMES:
        of_group = (moons.obs["group"] == group).to_numpy()
        assert entry["fidelity"][group][0] == pytest.approx(right[of_group].mean(), abs=1e-6)


def test_means_that_are_enough_are_kept_to_the_bit(planted, assert_same_ranking):
    sc.pp.pca(planted, n_comps=6)
    ace.tl.explain(planted, "group", **PCA)
    ace.tl.explain(planted, "group", min_fidelity=0, key_added="means", **PCA)
    assert_same_ranking(planted.uns["rank_genes_groups"], planted.uns["means"])
    entry = planted.uns["rank_genes_groups"]
    assert entry["params"]["held_out_fidelity"] is None
    for group in entry["names"].dtype.names:
        assert entry["n_prototypes"][group].tolist() == [1]
        mean = planted.obsm["X_pca"][(planted.obs["group"] == group).to_numpy()].mean(axis=0)
        np.testing.assert_allclose(entry["prototypes"][group], mean, rtol=1e-4, atol=1e-5)


def test_clusters_of_k_means_keep_their_means(moons, assert_same_ranking):
    ace.tl.cluster(moons, n_clusters=4, **PCA)
    ace.tl.explain(moons, **PCA, lam=10.0)
    ace.tl.explain(moons, min_fidelity=0, key_added="means", **PCA, lam=10.0)
    assert_same_ranking(moons.uns["rank_genes_groups"], moons.uns["means"])
    assert moons.uns["rank_genes_groups"]["n_prototypes"].tolist() == [(1, 1, 1, 1)]


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
@pytest.mark.usefixtures("no_refit")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_file_gives_the_same_network_without_a_fit(moons, tmp_path, kind):
    path, before = tmp_path / f"file.{kind}", _logits(moons)
    getattr(moons, f"write_{kind}")(path)
    again = (ad.read_h5ad if kind == "h5ad" else ad.read_zarr)(path)
    assert torch.equal(_logits(again), before)
    assert again.uns["rank_genes_groups"]["n_prototypes"].tolist() == [
        moons.uns["rank_genes_groups"]["n_prototypes"].tolist()[0]
    ]


@pytest.mark.usefixtures("no_refit")
def test_renamed_and_reordered_categories_keep_the_network(moons):
    before = _logits(moons)
    moons.rename_categories("group", ["a", "b/c", "ü"])
    assert torch.equal(_logits(moons), before)
    moons.obs["group"] = moons.obs["group"].cat.reorder_categories(["ü", "a", "b/c"])
    assert torch.equal(_logits(moons), before)


@pytest.mark.usefixtures("no_refit")
def test_other_groups_under_the_same_key_are_refused(moons):
    moons.obs["group"] = pd.Categorical(np.where(moons.obs["group"] == "far", "x", "y"))
    with pytest.raises(ValueError, match="was made for the groups"):
        ace.pl.flip_curve(moons, show=False)


@pytest.mark.usefixtures("no_refit")
def test_plots_and_the_judge_have_the_network_of_the_ranking(moons):
    entry = moons.uns["rank_genes_groups"]
    (drawn,) = ace.pl.flip_curve(moons, groups=["нижняя"], show=False)
    line = drawn.get_lines()[0]
    assert line.get_xdata()[line.get_markevery()[0]] == entry["panel_size"]["нижняя"][0]
    axes = ace.pl.embedding(moons, "group", basis="pca", use_rep="X_pca", show=False)
    assert axes[0].get_title() == "group, as assigned"
    table = ace.tl.compare(moons, "group", keys=["rank_genes_groups"], n_genes=[24], use_rep="X_pca")
    flips = table[table["metric"] == "flip_rate"].set_index("group")["value"]
    clustering = Explained.load(moons, entry).clustering
    cells = {g: torch.tensor(moons.obsm["X_pca"][moons.obs["group"] == g]) for g in NAMES}
    means = {g: z.mean(dim=0) for g, z in cells.items()}
    labels = _labels.read(moons, "group")
    for group in NAMES:  # all genes change by the difference of the means, and the encoder is linear
        rates = []
        for target in set(NAMES) - {group}:
            assigned = clustering.assign(cells[group] + means[target] - means[group])
            rates.append(float((assigned == labels.group("", target)).double().mean()))
        assert flips[group] == pytest.approx(np.mean(rates), abs=0.02)


def _network(adata):
    return _records.explained(adata, "X_pca", _labels.read(adata, "group"))


def test_of_several_rankings_the_first_with_these_labels_is_drawn(moons, no_refit):
    labels, z = _labels.read(moons, "group"), torch.tensor(moons.obsm["X_pca"])
    found = _neuralized.of_labels(moons, "X_pca", labels, *_network(moons))
    assert torch.equal(found(z), _logits(moons))
    moons.uns["other"] = moons.uns.pop("rank_genes_groups")
    assert torch.equal(_neuralized.of_labels(moons, "X_pca", labels, *_network(moons))(z), found(z))
    del no_refit


@pytest.mark.usefixtures("no_refit")
def test_a_ranking_of_another_encoder_is_not_read(moons):
    sc.pp.pca(moons, n_comps=3)
    ace.tl.embed(moons, encoder="pca")
    with pytest.raises(ValueError, match="is no longer the one that the ranking was made with"):
        ace.pl.flip_curve(moons, show=False)
    with pytest.raises(pytest.fail.Exception, match="fitted"):  # prototypes anew, and not those of other components
        ace.pl.embedding(moons, "group", basis="pca", use_rep="X_pca", show=False)


def test_without_a_ranking_of_these_labels_the_default_is_made(moons):
    labels, z = _labels.read(moons, "group"), torch.tensor(moons.obsm["X_pca"])
    expected = _logits(moons)
    del moons.uns["rank_genes_groups"]
    torch.testing.assert_close(
        _neuralized.of_labels(moons, "X_pca", labels, *_network(moons))(z), expected, rtol=1e-3, atol=1e-3
    )


def test_one_explanation_does_not_change_the_next(moons, isolated, assert_same_ranking):
    moons.obs["two"] = pd.Categorical(np.where(moons.obs["group"] == "far", "x", "y"))
    alone = isolated(moons)
    del alone.uns["rank_genes_groups"]
    for adata in (moons, alone):
        ace.tl.explain(adata, "two", key_added="b", **PCA)
    ace.tl.explain(alone, "group", **PCA)
    assert_same_ranking(moons.uns["b"], alone.uns["b"])
    assert_same_ranking(alone.uns["rank_genes_groups"], moons.uns["rank_genes_groups"])


def test_levels_have_prototypes_of_their_own(moons):
    moons.obs["half"] = pd.Categorical(np.where(np.arange(moons.n_obs) % 2, "one", "two"))
    ace.tl.explain(moons, "group", by="half", lam=10.0, **PCA)
    first, second = (moons.uns[f"rank_genes_groups_{level}"] for level in ("one", "two"))
    assert not np.array_equal(first["prototypes"]["far"], second["prototypes"]["far"])
    for entry in (first, second):
        found = Explained.load(moons, entry).clustering.prototypes
        assert len(found) == sum(entry["n_prototypes"].tolist()[0])


def test_distance_of_groups_is_that_of_their_closest_prototypes():
    rng = np.random.default_rng(0)
    prototypes, groups = rng.normal(size=(7, 3)), np.array([0, 0, 0, 1, 1, 2, 2])
    found = distances(NeuralizedClustering(torch.tensor(prototypes), 1.0, torch.tensor(groups)))
    for a in range(3):
        for b in range(3):
            pairs = [np.linalg.norm(p - q) for p in prototypes[groups == a] for q in prototypes[groups == b]]
            assert found[a, b] == pytest.approx(min(pairs))


def test_labels_learnt_by_heart_are_said_to_be(logged):
    """Many dimensions, few cells, random labels: all are reproduced, and none of other cells."""
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.normal(size=(60, 50)).clip(-3, 3).astype(np.float32) + 4)
    adata.obs["random"] = pd.Categorical(np.array(["a", "b"])[rng.permutation(60) % 2])
    sc.pp.pca(adata, n_comps=40)
    with logged() as log:
        ace.tl.explain(adata, "random", lam=10.0, **PCA)
    assert adata.uns["rank_genes_groups"]["params"]["held_out_fidelity"] < 0.9
    assert "learnt by heart" in log.getvalue()
    assert "min_fidelity=0" in log.getvalue()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"min_fidelity": 1.5}, ValueError, "`min_fidelity` must be from 0 to 1"),
        ({"min_fidelity": -0.1}, ValueError, "`min_fidelity` must be zero or positive"),
        ({"min_fidelity": "high"}, TypeError, "`min_fidelity` must be a number"),
        ({"min_fidelity": 0.5, "method": "jsd"}, ValueError, "`min_fidelity`=0.5 does not apply to method='jsd'"),
    ],
)
def test_a_wrong_fidelity_raises_before_any_work(planted, unchanged, arguments, error, words):
    with unchanged(planted, error, match=words):
        ace.tl.explain(planted, "group", **arguments)


def test_a_sample_of_many_cells_tells_the_fidelity_of_all(monkeypatch):
    """The share of all cells lies where the binomial law of the sample allows it, and the cells are all counted."""
    few, encoded = _moons(3000), []
    monkeypatch.setattr("ace_scanpy.models._communities._MOST_CELLS", 400)
    encode = _neuralized.encode
    monkeypatch.setattr(_neuralized, "encode", lambda *given: encoded.append(given[2]) or encode(*given))
    ace.tl.explain(few, "group", **PCA, min_fidelity=0)
    assert len(encoded) == 1
    assert len(encoded[0]) <= 400
    entry = few.uns["rank_genes_groups"]
    assert [entry["n_cells"][g][0] for g in NAMES] == few.obs["group"].value_counts()[NAMES].tolist()
    network, z = Explained.load(few, entry), torch.tensor(few.obsm["X_pca"])
    right = network.clustering.assign(z).numpy() == network.labels.codes
    drawn = few.obs["group"].iloc[encoded[0]].value_counts()
    for group in NAMES:
        of_all = right[(few.obs["group"] == group).to_numpy()].mean()
        error = max(np.sqrt(of_all * (1 - of_all) / drawn[group]), 1e-3)
        assert entry["fidelity"][group][0] == pytest.approx(of_all, abs=4 * error)
    assert right.mean() < 0.98
