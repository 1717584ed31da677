"""Rankings judged side by side on the user's own data."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

import ace_scanpy as ace
from ace_scanpy.tl._compare import _sample

KEYS = ["rank_genes_groups", "t-test"]
SMALL = {"keys": KEYS, "n_genes": (1, 4, 9), "min_cells": 20, "k": 10}


@pytest.fixture(scope="module")
def ranked_once(shared, isolated):
    """What `ranked` is a copy of; not to be changed."""
    adata = isolated(shared)
    sc.tl.rank_genes_groups(adata, "group", method="t-test", key_added="t-test")
    return adata


@pytest.fixture
def ranked(ranked_once, isolated):
    """Explained, and ranked by Scanpy."""
    return isolated(ranked_once)


@pytest.fixture
def without_encoder(ranked):
    del ranked.uns["ace"]
    return ranked


def _value(table, **where):
    """The single value, or the values of the folds."""
    kept = np.logical_and.reduce([table[name] == value for name, value in where.items()])
    return table.loc[kept, "value"].to_numpy()


def _cases(table, metric):
    found = table[table["metric"] == metric]
    return found[["key", "n_genes", "group"]].drop_duplicates().itertuples(index=False)


def _stored(groupby, genes):
    """An entry with names alone; `genes` are a list per group."""
    columns = [np.array(names, dtype=object) for names in genes.values()]
    return {"params": {"groupby": groupby}, "names": np.rec.fromarrays(columns, dtype=[(g, "O") for g in genes])}


@pytest.fixture
def backwards(ranked):
    """With ACE's ranking from the last gene to the first; the gene without expression is left out."""
    names = ranked.uns["rank_genes_groups"]["names"]
    genes = {g: [n for n in names[g][::-1] if n != "zero"] for g in names.dtype.names}
    ranked.uns["backwards"] = _stored("group", genes)
    return ranked


def _z(adata):
    x = np.asarray(adata.X.toarray(), dtype=np.float64)
    std = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(std > 0, std, 1.0)


def _top(adata, key, group, size):
    return adata.var_names.get_indexer(adata.uns[key]["names"][group][:size])


def test_every_value_once(ranked):
    table = ace.tl.compare(ranked, "group", **SMALL)
    assert list(table.columns) == ["key", "metric", "n_genes", "group", "fold", "value"]
    assert not table.duplicated(["key", "metric", "n_genes", "group", "fold"]).any()
    assert not table.drop(columns="fold").isna().any(axis=None)
    per_metric = table.groupby("metric").size().to_dict()
    keys, sizes, groups, folds = 2, 3, 4, 3
    everything = keys * sizes * groups
    assert per_metric == {
        "auroc": everything * folds,
        "knn_jaccard": everything,
        "abs_r": keys * (sizes - 1) * groups,  # not for a single gene
        "signed_r": keys * (sizes - 1) * groups,
        "flip_rate": everything,
        "shared": everything,
    }
    assert (table["metric"] == "auroc").equals(table["fold"].notna())
    assert set(table["group"]) == set(ranked.obs["group"].cat.categories)
    assert set(table["key"]) == set(KEYS)


def test_auroc_equals_a_loop(ranked):
    table = ace.tl.compare(ranked, "group", **SMALL, rng=3)
    cells = np.random.default_rng(3).permutation(ranked.n_obs)
    z, labels = _z(ranked)[cells], ranked.obs["group"].to_numpy()[cells]
    for key, size, group in _cases(table, "auroc"):
        x, y = z[:, _top(ranked, key, group, size)], labels == group
        expected = []
        for train, test in StratifiedKFold(3, shuffle=True, random_state=3).split(x, y):
            mean, std = x[train].mean(axis=0), x[train].std(axis=0)
            machine = SVC(gamma="scale").fit((x[train] - mean) / std, y[train])
            expected.append(roc_auc_score(y[test], machine.decision_function((x[test] - mean) / std)))
        found = _value(table, metric="auroc", key=key, n_genes=size, group=group)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_jaccard_equals_sets_of_neighbours(ranked):
    """On panels without ties: of one gene many cells have the same value."""
    table = ace.tl.compare(ranked, "group", **{**SMALL, "n_genes": 9})
    z, labels = _z(ranked), ranked.obs["group"].to_numpy()

    def neighbours(values):
        distance = cdist(values, values)
        np.fill_diagonal(distance, np.inf)
        return [set(row[:10].tolist()) for row in distance.argsort(axis=1)]

    full = neighbours(z)
    for key, size, group in _cases(table, "knn_jaccard"):
        sub = neighbours(z[:, _top(ranked, key, group, size)])
        expected = [1 - len(full[i] & sub[i]) / len(full[i] | sub[i]) for i in np.flatnonzero(labels == group)]
        found = _value(table, metric="knn_jaccard", key=key, n_genes=size, group=group)
        np.testing.assert_allclose(found, np.mean(expected), rtol=1e-12)


def test_redundancy_equals_numpy(ranked):
    table = ace.tl.compare(ranked, "group", **SMALL)
    x = ranked.X.toarray()
    for key, size, group in _cases(table, "abs_r"):
        r = np.corrcoef(x[:, _top(ranked, key, group, size)].T)[np.triu_indices(size, k=1)]
        where = {"key": key, "n_genes": size, "group": group}
        np.testing.assert_allclose(_value(table, metric="abs_r", **where), np.abs(r).mean(), rtol=1e-5)
        np.testing.assert_allclose(_value(table, metric="signed_r", **where), r.mean(), rtol=1e-4, atol=1e-6)


def test_flips_equal_a_loop_through_the_fitted_encoder(ranked):
    """Expression itself is changed, gene by gene, and goes through the whole network."""
    table = ace.tl.compare(ranked, "group", **SMALL | {"n_genes": (4, 20, 35)})
    record = ranked.uns["ace"]["X_ace"]
    encoder = ace.get.encoder(ranked)
    weights = record["fits"]["group"]["weights"]
    state = {name.removeprefix("encoder."): torch.tensor(w) for name, w in weights.items() if "encoder." in name}
    encoder.load_state_dict(state)
    x = torch.tensor(ranked[:, list(record["genes"])].X.toarray())
    groups = list(ranked.obs["group"].cat.categories)
    codes = ranked.obs["group"].cat.codes.to_numpy()
    with torch.no_grad():
        latent = encoder(x)
    prototypes = torch.stack([latent[codes == c].mean(dim=0) for c in range(4)])
    means = [x[codes == c].mean(dim=0) for c in range(4)]
    rates = []
    for key, size, group in _cases(table, "flip_rate"):
        source = groups.index(group)
        top = set(ranked.uns[key]["names"][group][:size])
        changed = torch.tensor([gene in top for gene in record["genes"]])
        flips = []
        for target in set(range(4)) - {source}:
            moved = x[codes == source] + torch.where(changed, means[target] - means[source], 0.0)
            with torch.no_grad():
                nearest = torch.cdist(encoder(moved), prototypes).argmin(dim=1)
            flips.append((nearest == target).float().mean().item())
        rates.append(np.mean(flips))
        found = _value(table, metric="flip_rate", key=key, n_genes=size, group=group)
        np.testing.assert_allclose(found, rates[-1], atol=1e-6)
    assert min(rates) < 0.2 < 0.9 < max(rates)


def test_shared_genes_equal_sets(ranked):
    ranked.uns["copy"] = ranked.uns["t-test"]
    table = ace.tl.compare(ranked, "group", **SMALL | {"keys": [*KEYS, "copy"]})
    for key, size, group in _cases(table, "shared"):
        tops = {other: set(ranked.uns[other]["names"][group][:size]) for other in (*KEYS, "copy")}
        others = set.union(*(top for other, top in tops.items() if other != key))
        found = _value(table, metric="shared", key=key, n_genes=size, group=group)
        np.testing.assert_allclose(found, len(tops[key] & others) / size)
    assert _value(table, metric="shared", key="copy").min() == 1.0


def test_a_worse_ranking_is_worse(backwards):
    table = ace.tl.compare(backwards, "group", **SMALL | {"keys": ["rank_genes_groups", "backwards"], "n_genes": 9})
    mean = table.groupby(["metric", "key"])["value"].mean().unstack()
    assert mean.loc["auroc", "rank_genes_groups"] > mean.loc["auroc", "backwards"] + 0.2
    assert mean.loc["knn_jaccard", "rank_genes_groups"] < mean.loc["knn_jaccard", "backwards"]
    assert mean.loc["flip_rate", "rank_genes_groups"] > mean.loc["flip_rate", "backwards"]


def test_nested_search(backwards):
    arguments = {**SMALL, "keys": ["backwards"], "n_genes": 4, "use_rep": None}
    plain, nested = (ace.tl.compare(backwards, "group", **arguments, nested=n) for n in (False, True))
    cells = np.random.default_rng(0).permutation(80)
    x = _z(backwards)[cells][:, _top(backwards, "backwards", "B", 4)]
    in_group = (backwards.obs["group"] == "B").to_numpy()[cells]
    expected = ace.metrics.panel_auroc_per_split(x, in_group, nested=True)
    np.testing.assert_allclose(_value(nested, metric="auroc", group="B"), expected, atol=1e-12)
    assert not np.allclose(_value(plain, metric="auroc"), _value(nested, metric="auroc"), atol=1e-3)
    pd.testing.assert_frame_equal(plain[plain["metric"] != "auroc"], nested[nested["metric"] != "auroc"])


def test_nothing_is_changed_and_the_seed_decides(ranked, contents, assert_same_contents):
    before = contents(ranked)
    tables = [ace.tl.compare(ranked, "group", **SMALL, rng=r) for r in (0, 0, 1, np.random.default_rng(7))]
    assert_same_contents(contents(ranked), before)
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0]["value"].equals(tables[2]["value"])
    seed = int(np.random.default_rng(7).integers(2**31))
    pd.testing.assert_frame_equal(tables[3], ace.tl.compare(ranked, "group", **SMALL, rng=seed))


def test_order_of_the_categories_does_not_matter(ranked):
    table = ace.tl.compare(ranked, "group", **SMALL)
    ranked.obs["group"] = ranked.obs["group"].cat.reorder_categories(ranked.obs["group"].cat.categories[::-1])
    turned = ace.tl.compare(ranked, "group", **SMALL)
    by = ["key", "metric", "n_genes", "group", "fold"]
    first, second = (t.sort_values(by, ignore_index=True) for t in (table, turned))
    pd.testing.assert_frame_equal(first, second)


def test_matrix_format_does_not_matter(ranked):
    table = ace.tl.compare(ranked, "group", **SMALL)
    ranked.X = ranked.X.toarray()
    dense = ace.tl.compare(ranked, "group", **SMALL)
    pd.testing.assert_frame_equal(table, dense, rtol=1e-5)


def test_cells_without_a_label_are_left_out(without_encoder):
    hidden = np.arange(80) % 10 == 3
    without_encoder.obs["group"] = without_encoder.obs["group"].where(~hidden)
    arguments = {**SMALL, "use_rep": None, "min_cells": 10}
    found = ace.tl.compare(without_encoder, "group", **arguments)
    expected = ace.tl.compare(without_encoder[~hidden].copy(), "group", **arguments)
    pd.testing.assert_frame_equal(found, expected)


def test_small_groups_have_no_auroc(ranked, logged):
    """By default at least 50 cells."""
    with logged() as log:
        table = ace.tl.compare(ranked, "group", keys=["t-test"], n_genes=4)
    assert set(table["metric"]) == {"knn_jaccard", "abs_r", "signed_r", "flip_rate"}
    assert "fewer than 50 cells" in log.getvalue()
    assert "dendritic" in log.getvalue()


def test_groups_as_numbers(without_encoder):
    without_encoder.obs["number"] = without_encoder.obs["group"].cat.codes.to_numpy() + 5
    without_encoder.obs["number"] = without_encoder.obs["number"].astype("category")
    sc.tl.rank_genes_groups(without_encoder, "number", key_added="by number")
    table = ace.tl.compare(without_encoder, "number", **SMALL | {"keys": ["by number"], "use_rep": None})
    assert set(table["group"]) == {"5", "6", "7", "8"}


@pytest.mark.filterwarnings("ignore:invalid value encountered in log2:RuntimeWarning")
def test_raw_and_layer(ranked):
    ranked.raw = ranked.copy()
    ranked.layers["same"] = ranked.X.copy()
    some = ranked[:, [*ranked.var_names[:20], "zero"]].copy()  # other genes are in raw only
    arguments = {**SMALL, "n_genes": (9, 25), "use_rep": None}
    with pytest.raises(ValueError, match=r"'t-test' names genes that are not in `adata\.X`.*use_raw=True"):
        ace.tl.compare(some, "group", **arguments | {"keys": ["t-test"]})
    found = ace.tl.compare(some, "group", **arguments, use_raw=True)
    pd.testing.assert_frame_equal(found, ace.tl.compare(ranked, "group", **arguments))
    pd.testing.assert_frame_equal(found, ace.tl.compare(ranked, "group", **arguments, layer="same"))


def test_flips_are_judged_on_the_matrix_of_the_encoder(ranked):
    """Whatever matrix the other measures are taken on."""
    table = ace.tl.compare(ranked, "group", **SMALL)
    ranked.layers["other"] = ranked.X.toarray() ** 2
    other = ace.tl.compare(ranked, "group", **SMALL, layer="other")
    pd.testing.assert_frame_equal(table[table["metric"] == "flip_rate"], other[other["metric"] == "flip_rate"])
    assert not table["value"].equals(other["value"])


def test_genes_that_the_encoder_does_not_read_move_nothing(planted, small_network):
    planted.var["highly_variable"] = planted.var["up"] != ""
    ace.tl.embed(planted, **small_network)
    ace.tl.explain(planted, "group")
    unread = list(planted.var_names[~planted.var["highly_variable"]])
    planted.uns["unread"] = _stored("group", dict.fromkeys(planted.obs["group"].cat.categories, unread))
    table = ace.tl.compare(planted, "group", **SMALL | {"keys": ["unread", "rank_genes_groups"], "n_genes": 12})
    assert _value(table, metric="flip_rate", key="unread").max() < 0.05
    assert _value(table, metric="flip_rate", key="rank_genes_groups").mean() > 0.9


def test_blanked_genes_of_a_filtered_ranking_are_left_out(without_encoder):
    sc.tl.filter_rank_genes_groups(
        without_encoder, key="t-test", key_added="filtered", min_fold_change=0, max_out_group_fraction=0.9
    )
    group = "Mono 14⁺"
    names = pd.Series(without_encoder.uns["filtered"]["names"][group])
    assert names[:4].isna().sum() == 2
    arguments = {**SMALL, "keys": ["filtered"], "use_rep": None}
    table = ace.tl.compare(without_encoder, "group", **arguments | {"n_genes": 4})
    kept = without_encoder[:, list(names.dropna()[:4])].X.toarray()
    r = np.corrcoef(kept.T)[np.triu_indices(4, k=1)]
    np.testing.assert_allclose(_value(table, metric="signed_r", group=group), r.mean(), rtol=1e-4)
    with pytest.raises(ValueError, match="the ranking 'filtered' has 14 genes"):
        ace.tl.compare(without_encoder, "group", **arguments | {"n_genes": 15})


def test_a_sample_keeps_small_groups():
    codes = np.repeat([0, 1, 2, -1], [4000, 120, 30, 50])
    cells = _sample(codes, 400, 50, np.random.default_rng(0))
    assert len(set(cells.tolist())) == len(cells)
    counts = np.bincount(codes[cells], minlength=3)
    assert counts.tolist() == [round(4000 * 400 / 4150), 50, 30]
    assert not (np.diff(codes[cells]) >= 0).all()  # in random order
    assert len(_sample(codes, 4150, 50, np.random.default_rng(0))) == 4150


def test_large_data_are_sampled(ranked, logged):
    with logged(2) as log:
        table = ace.tl.compare(ranked, "group", **SMALL | {"min_cells": 5, "max_cells": 40})
    assert "on 40 cells" in log.getvalue()
    assert set(table["metric"]) >= {"auroc", "flip_rate"}


def test_real_markers_beat_random_genes(data_file):
    adata = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad"))
    sc.tl.rank_genes_groups(adata, "louvain", method="wilcoxon", use_raw=False, key_added="wilcoxon")
    rng = np.random.default_rng(0)
    groups = adata.uns["wilcoxon"]["names"].dtype.names
    adata.uns["random"] = _stored("louvain", {g: rng.permutation(adata.var_names) for g in groups})
    table = ace.tl.compare(
        adata, "louvain", keys=["wilcoxon", "random"], n_genes=(5, 20), use_rep=None, max_cells=800, min_cells=30
    )
    mean = table.groupby(["metric", "key"])["value"].mean().unstack()
    assert mean.loc["auroc", "wilcoxon"] > 0.9 > 0.8 > mean.loc["auroc", "random"]
    assert mean.loc["knn_jaccard", "wilcoxon"] < mean.loc["knn_jaccard", "random"]
    assert mean.loc["abs_r", "wilcoxon"] > 3 * mean.loc["abs_r", "random"]


WRONG = {
    "no such key": ({"keys": ["no"]}, KeyError, ["`key`='no'", "rank_genes_groups", "t-test"]),
    "not a ranking": ({"keys": ["ace"]}, ValueError, ["adata.uns['ace']", "not a ranking"]),
    "a single string": ({"keys": "t-test"}, TypeError, ["`keys`", "['t-test']"]),
    "no keys": ({"keys": []}, ValueError, ["`keys`", "at least one"]),
    "a key twice": ({"keys": ["t-test", "t-test"]}, ValueError, ["`keys`", "once"]),
    "no such column": ({"groupby": "leidn"}, KeyError, ["`groupby`", "leidn", "group"]),
    "another column": ({"groupby": "half"}, ValueError, ["'rank_genes_groups'", "'group'", "`groupby`='half'"]),
    "some of the groups": ({"keys": ["two"]}, ValueError, ["'two'", "['B', 'dendritic']", "T/NK ζ", "rest"]),
    "too short": ({"keys": ["short"]}, ValueError, ["`n_genes`", "9", "'short' has 3 genes"]),
    "unknown genes": ({"keys": ["foreign"]}, ValueError, ["'foreign'", "adata.X", "'elsewhere'", "use_raw"]),
    "no sizes": ({"n_genes": ()}, ValueError, ["`n_genes`"]),
    "size zero": ({"n_genes": (0, 4)}, ValueError, ["`n_genes`", "0"]),
    "broken size": ({"n_genes": 2.5}, TypeError, ["`n_genes`", "2.5"]),
    "no such layer": ({"layer": "no"}, KeyError, ["`layer`", "'no'"]),
    "no raw": ({"use_raw": True}, ValueError, ["`use_raw", "adata.raw"]),
    "no such embedding": ({"use_rep": "X_no"}, KeyError, ["`use_rep`='X_no'", "X_ace", "`use_rep=None`"]),
    "too many neighbours": ({"k": 80}, ValueError, ["`k`=80", "Got 80"]),
    "no neighbours": ({"k": 0}, ValueError, ["`k`", "0"]),
    "min_cells": ({"min_cells": 4}, ValueError, ["`min_cells`", "5", "4"]),
    "max_cells": ({"max_cells": 1}, ValueError, ["`max_cells`", "1"]),
    "rng": ({"rng": "seed"}, TypeError, ["`rng`", "seed"]),
}


@pytest.fixture(scope="module")
def with_traps(ranked_once, isolated):
    """With a column and the rankings that the wrong arguments above refer to."""
    adata = isolated(ranked_once)
    adata.obs["half"] = pd.Categorical(np.where(np.arange(80) % 2, "A", "B"))
    sc.tl.rank_genes_groups(adata, "group", groups=["B", "dendritic"], method="t-test", key_added="two")
    sc.tl.rank_genes_groups(adata, "group", method="t-test", n_genes=3, key_added="short")
    adata.uns["foreign"] = {**adata.uns["t-test"], "names": adata.uns["t-test"]["names"].copy()}
    adata.uns["foreign"]["names"]["B"][2] = "elsewhere"
    return adata


@pytest.mark.parametrize(("arguments", "error", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments(with_traps, isolated, unchanged, arguments, error, words):
    adata = isolated(with_traps)
    with unchanged(adata, error) as raised:
        ace.tl.compare(adata, **{"groupby": "group", **SMALL, **arguments})
    missing = [word for word in words if word not in str(raised.value)]
    assert not missing, f"{missing} not in: {raised.value}"


def test_without_an_encoder(without_encoder, unchanged):
    with unchanged(without_encoder, KeyError, match=r"`use_rep`='X_ace'.*`use_rep=None`"):
        ace.tl.compare(without_encoder, "group", **SMALL)
    table = ace.tl.compare(without_encoder, "group", **SMALL, use_rep=None)
    assert "flip_rate" not in set(table["metric"])


def test_encoder_of_other_labels(ranked, unchanged):
    """Labels that have changed since the explanation: the fit is of the old ones."""
    labels = ranked.obs["group"].to_numpy(dtype=object)
    labels[0] = "B" if labels[0] != "B" else "dendritic"
    ranked.obs["group"] = pd.Categorical(labels, categories=ranked.obs["group"].cat.categories)
    with unchanged(ranked, ValueError, match=r"not been fitted to obs\['group'\].*ace\.tl\.explain.*`use_rep=None`"):
        ace.tl.compare(ranked, "group", **SMALL)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_values(without_encoder, unchanged, value):
    without_encoder.X.data[3] = value
    with unchanged(without_encoder, ValueError, match=r"`adata\.X` contains NaN or infinite"):
        ace.tl.compare(without_encoder, "group", **SMALL, use_rep=None)
