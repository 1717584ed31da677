"""What the numbers of a ranking mean, against planted truth and slow recomputation."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace

ONE = {"groups": ["B"], "reference": "dendritic"}


def _encode(weights, values):
    """The encoder, written out: standardise, then linear layers with leaky ReLUs (slope 0.2) between them."""
    hidden = (values - weights["encoder.mean"]) / weights["encoder.scale"]
    layers = ["encoder.first", *sorted({k.rsplit(".", 1)[0] for k in weights if k.startswith("encoder.rest.")})]
    for i, layer in enumerate(layers):
        hidden = hidden @ np.asarray(weights[f"{layer}.weight"], dtype=np.float64).T + weights[f"{layer}.bias"]
        if i + 1 < len(layers):
            hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    return hidden


def _slow_assignment(adata, groupby):
    """Squared distances of the cells to the label means, from the stored copy that was fitted to the labels."""
    record = adata.uns["ace"]["X_ace"]
    weights = record["fits"][groupby]["weights"]
    values = adata[:, list(record["genes"])].X.toarray().astype(np.float64)
    latent = _encode(weights, values)
    codes = adata.obs[groupby].cat.codes.to_numpy()
    prototypes = np.stack([latent[codes == c].mean(axis=0) for c in range(codes.max() + 1)])
    distances = ((latent[:, None] - prototypes) ** 2).sum(axis=2)
    return values, weights, prototypes, distances, codes


def test_planted_genes_lead_with_the_right_sign(explained):
    entry = explained.uns["rank_genes_groups"]
    flat = explained.var_names[(explained.var["up"] == "") & (explained.var["down"] == "")]
    assert len(flat) == 15
    for group in entry["names"].dtype.names:
        table = ace.get.rank_genes_groups_df(explained, group).set_index("names")
        up = explained.var_names[explained.var["up"] == group]
        down = explained.var_names[explained.var["down"] == group]
        # of three genes that are planted alike a panel may leave one out; its direction is known still
        assert (table["scores"][up] >= 0).all()
        assert (table["scores"][up] > 0).sum() >= 2
        assert table["enriched"][up].all()
        assert (table["scores"][down] <= 0).all()
        assert (table["scores"][down] < 0).sum() >= min(2, len(down))
        assert not table["enriched"][down].any()
        assert table.index[0] in {*up, *down}
        # towards another group its own genes count too, but not those that are planted nowhere
        assert not flat.intersection(table.index[:10]).size
        # enriched genes have to go down to leave the group, and the other way round
        assert (np.sign(table["delta"][up]) == -np.sign(table["scores"][up])).all()
        assert (np.sign(table["delta"][down]) == -np.sign(table["scores"][down])).all()


def test_against_a_reference_the_signs_are_of_that_pair(embedded):
    ace.tl.explain(embedded, "group", **ONE)
    table = ace.get.rank_genes_groups_df(embedded, "B").set_index("names")
    enriched = (embedded.var["up"] == "B") | (embedded.var["down"] == "dendritic")
    depleted = (embedded.var["up"] == "dendritic") | (embedded.var["down"] == "B")
    scored = table[table["scores"] != 0]
    own = scored.index[embedded.var.loc[scored.index].pipe(lambda v: enriched[v.index] | depleted[v.index])]
    assert len(own) >= 5
    np.testing.assert_array_equal(scored["enriched"][own], enriched[own])
    assert set(table.index[:4]) <= set(own)


@pytest.mark.parametrize("arguments", [{"rest": "max"}, {"weights": "uniform"}, {"lam": 20.0}, {"alpha": 0.3}], ids=str)
def test_other_forms_are_other_results_with_the_same_signs(explained, arguments):
    ace.tl.explain(explained, "group", key_added="other", **arguments)
    for name, value in arguments.items():
        assert explained.uns["other"]["params"][name] == value
    for group in explained.uns["other"]["names"].dtype.names:
        usual, other = (
            ace.get.rank_genes_groups_df(explained, group, key=key).set_index("names")
            for key in ("rank_genes_groups", "other")
        )
        assert not np.allclose(other["scores"][usual.index], usual["scores"])
        scored = other.index[other["scores"] != 0]
        top = explained.var.loc[scored[:1]]
        assert ((top["up"] != "") | (top["down"] != "")).all()
        planted = (explained.var["up"] == group) | (explained.var["down"] == group)
        own = scored.intersection(explained.var_names[planted])
        assert len(own)
        np.testing.assert_array_equal(other["enriched"][own], explained.var["up"][own] == group)


def test_fixed_values_are_used_and_stored(embedded):
    ace.tl.explain(embedded, "group", lam=7.0, beta=0.25, alpha=0.5, rng=3, **ONE)
    params = embedded.uns["rank_genes_groups"]["params"]
    assert {name: params[name] for name in ("lam", "beta", "alpha", "rng")} == {
        "lam": 7.0,
        "beta": 0.25,
        "alpha": 0.5,
        "rng": 3,
    }
    assert params["rest"] == "each"
    assert params["weights"] == "adaptive"
    assert params["use_rep"] == "X_ace"


def test_chosen_values_are_stored(explained):
    """Beta: one over the mean squared distance of the cells to the mean of their label."""
    _, _, _, distances, codes = _slow_assignment(explained, "group")
    params = explained.uns["rank_genes_groups"]["params"]
    own = distances[np.arange(len(codes)), codes]
    assert params["beta"] == pytest.approx(1 / own.mean(), rel=1e-3)
    assert params["lam"] > 0
    assert params["rng"] == 0


def test_fidelity_is_the_share_of_cells_nearest_to_their_own_mean(embedded):
    rng = np.random.default_rng(1)
    labels = embedded.obs["group"].astype(str).to_numpy(dtype=object)
    shuffled = rng.random(len(labels)) < 0.35
    labels[shuffled] = rng.permutation(labels[shuffled])
    embedded.obs["noisy"] = pd.Categorical(labels)
    ace.tl.explain(embedded, "noisy", lam=3.0, min_fidelity=0)
    _, _, _, distances, codes = _slow_assignment(embedded, "noisy")
    right = distances.argmin(axis=1) == codes
    assert 0.3 < right.mean() < 0.97
    entry = embedded.uns["rank_genes_groups"]
    for code, group in enumerate(embedded.obs["noisy"].cat.categories):
        assert entry["fidelity"][group][0] == pytest.approx(right[codes == code].mean(), abs=1e-6)


def test_low_fidelity_warns(embedded, logged):
    """Labels that have nothing to do with the cells cannot be fitted."""
    embedded.obs["random"] = pd.Categorical(np.random.default_rng(7).permutation(np.repeat(list("abcd"), 20)))
    with logged() as log:
        ace.tl.explain(embedded, "random", lam=1.0)
    overall = np.mean([embedded.uns["rank_genes_groups"]["fidelity"][g][0] for g in "abcd"])
    assert overall < 0.9
    percent = re.match(r"WARNING: Only (\d+)% of the cells are assigned to their own label", log.getvalue())
    assert abs(int(percent[1]) - 100 * overall) <= 1
    with logged() as log:
        ace.tl.explain(embedded, "group", lam=1.0)
    assert log.getvalue() == ""


def test_the_run_is_logged(embedded, logged):
    with logged(verbosity=3) as log:
        ace.tl.explain(embedded, "group", **ONE)
    for words in ("explaining 1 groups of obs['group']", "fidelity 1.000", "finished", "'rank_genes_groups' (adata"):
        assert words in log.getvalue()


def test_flips_of_every_prefix(embedded):
    """The stored perturbation, cut to the first genes, moves the stored shares of the group to the reference."""
    ace.tl.explain(embedded, "group", **ONE)
    values, weights, prototypes, _, codes = _slow_assignment(embedded, "group")
    categories = list(embedded.obs["group"].cat.categories)
    target = categories.index("dendritic")
    cells = values[codes == categories.index("B")]  # 20: all of them are in the sample
    table = ace.get.rank_genes_groups_df(embedded, "B")
    genes = list(embedded.uns["ace"]["X_ace"]["genes"])
    rates = []
    delta = np.zeros(len(genes))
    for name, change in table.loc[table["scores"] != 0, ["names", "delta"]].itertuples(index=False):
        delta[genes.index(name)] = change
        latent = _encode(weights, cells + delta * weights["encoder.scale"])
        nearest = ((latent[:, None] - prototypes) ** 2).sum(axis=2).argmin(axis=1)
        rates.append((nearest == target).mean())
    entry = embedded.uns["rank_genes_groups"]
    assert entry["flip_rate"]["B"][0] == pytest.approx(rates[-1], abs=1e-6)
    enough = [i + 1 for i, rate in enumerate(rates) if rate >= 0.95]
    assert rates[0] < 0.95
    assert entry["panel_size"]["B"][0] == enough[0]
    assert len(ace.get.panel(embedded, "B")) == enough[0]


def _everything(adata, contents):
    return {path: value for path, value in contents(adata).items() if path != "is_view"}


@pytest.mark.usefixtures("short_training")
def test_same_seed_same_bits(make_planted, contents, assert_same_contents):
    one, two, other = (make_planted() for _ in range(3))
    for adata, seed in ((one, 3), (two, 3), (other, 4)):
        np.random.seed(seed + id(adata) % 1000)  # noqa: NPY002  whatever the global state is
        ace.tl.explain(adata, "group", rng=seed)
    assert_same_contents(_everything(one, contents), _everything(two, contents))
    assert not np.array_equal(one.obsm["X_ace"], other.obsm["X_ace"])


@pytest.mark.usefixtures("short_training")
def test_one_call_is_the_steps_one_by_one(make_planted, contents, assert_same_contents):
    at_once, by_steps = make_planted(), make_planted()
    ace.tl.explain(at_once, rng=2)
    ace.pp.standardize(by_steps)
    ace.tl.embed(by_steps, rng=2)
    ace.tl.cluster(by_steps, rng=2)
    ace.tl.explain(by_steps, "ace_cluster", rng=2)
    assert_same_contents(_everything(at_once, contents), _everything(by_steps, contents))


def test_a_generator_is_a_seed(embedded, assert_same_ranking):
    ace.tl.explain(embedded, "group", rng=np.random.default_rng(5), **ONE)
    drawn = int(np.random.default_rng(5).integers(2**31))
    assert embedded.uns["rank_genes_groups"]["params"]["rng"] == drawn
    ace.tl.explain(embedded, "group", rng=drawn, key_added="again", **ONE)
    assert_same_ranking(embedded.uns["again"], embedded.uns["rank_genes_groups"])


def test_the_seed_draws_the_cells(make_planted, small_network):
    """Groups of more than 60 cells are sampled, by the seed and nothing else."""
    adata = make_planted(n_per_group=90, n_groups=2)
    ace.tl.embed(adata, **small_network)
    scores = {}
    for key, seed in {"a": 0, "b": 0, "c": 1}.items():
        ace.tl.explain(adata, "group", rng=seed, key_added=key)
        scores[key] = ace.get.rank_genes_groups_df(adata, "B", key=key).set_index("names")["scores"]
    assert scores["a"].equals(scores["b"])
    assert not np.array_equal(scores["a"], scores["c"][scores["a"].index])


RENAMED = {"B": "z/last", "T/NK ζ": "a first", "Mono 14⁺": "0", "dendritic": "ω"}
SHUFFLED = {"B": "dendritic", "T/NK ζ": "B", "Mono 14⁺": "T/NK ζ", "dendritic": "Mono 14⁺"}


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (None, ["dendritic", "Mono 14⁺", "T/NK ζ", "B"]),
        (None, ["Mono 14⁺", "B", "dendritic", "T/NK ζ"]),
        (RENAMED, ["z/last", "a first", "0", "ω"]),
        (RENAMED, sorted(RENAMED.values())),
        (SHUFFLED, ["B", "T/NK ζ", "Mono 14⁺", "dendritic"]),
    ],
    ids=["reversed", "mixed", "renamed", "renamed and sorted", "names exchanged"],
)
def test_names_and_order_of_categories_do_not_matter(untouched, explained, assert_same_ranking, names, order):
    """From the fit to the labels on, everything is the same, bit by bit, under the new name."""
    labels = untouched.obs["group"].astype(object).map(names or {g: g for g in RENAMED})
    untouched.obs["group"] = pd.Categorical(labels, categories=order)
    ace.tl.explain(untouched, "group")
    entry = untouched.uns["rank_genes_groups"]
    assert list(entry["names"].dtype.names) == order
    assert_same_ranking(entry, explained.uns["rank_genes_groups"], names=names)


def test_explaining_some_groups_changes_nothing_for_them(explained):
    ace.tl.explain(explained, "group", groups=["Mono 14⁺", "B"], key_added="some")
    for group in ("B", "Mono 14⁺"):
        some, every = (ace.get.rank_genes_groups_df(explained, group, key=key) for key in ("some", "rank_genes_groups"))
        scored = (every["scores"] != 0).sum()
        assert list(some["names"][:scored]) == list(every["names"][:scored])
        np.testing.assert_allclose(some["scores"], every["scores"], atol=1e-4)
        np.testing.assert_allclose(some["delta"], every["delta"], atol=1e-3)
        for name in ("panel_size", "fidelity", "n_cells"):
            assert explained.uns["some"][name][group][0] == explained.uns["rank_genes_groups"][name][group][0]


def test_without_labels_it_clusters(embedded):
    ace.tl.explain(embedded, lam=3.0)
    entry = embedded.uns["rank_genes_groups"]
    assert entry["params"]["groupby"] == "ace_cluster"
    assert list(entry["names"].dtype.names) == list(embedded.obs["ace_cluster"].cat.categories)
    clusters = embedded.obs["ace_cluster"].copy()
    confidence = embedded.obs["ace_cluster_confidence"].copy()
    ace.tl.explain(embedded, lam=3.0, rng=9)  # the clusters that are there are used
    pd.testing.assert_series_equal(embedded.obs["ace_cluster"], clusters)
    pd.testing.assert_series_equal(embedded.obs["ace_cluster_confidence"], confidence)


def test_order_of_the_genes_does_not_matter(embedded):
    other = embedded[:, np.random.default_rng(0).permutation(embedded.n_vars)].copy()
    for adata in (embedded, other):
        ace.tl.explain(adata, "group", **ONE)
    one, two = (ace.get.rank_genes_groups_df(adata, "B") for adata in (embedded, other))
    scored = (one["scores"] != 0).sum()
    pd.testing.assert_frame_equal(one[:scored], two[:scored], check_exact=True)


def test_scanpy_agrees_on_the_direction(explained):
    """Scanpy's t-test, an independent judge: the same sign for all genes of every panel."""
    sc.tl.rank_genes_groups(explained, "group", key_added="t")
    for group in explained.uns["t"]["names"].dtype.names:
        theirs = sc.get.rank_genes_groups_df(explained, group=group, key="t").set_index("names")["scores"]
        ours = ace.get.panel(explained, group, size=8).set_index("names")
        np.testing.assert_array_equal(theirs[ours.index] > 0, ours["enriched"])
