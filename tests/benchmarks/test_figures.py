"""The reduced forms of the benchmarks, as a user runs them; a few of their figures are computed again."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

import ace_scanpy as ace

FOLDER = Path(__file__).parents[2] / "benchmarks"
DE_TABLE = {"method": "wilcoxon", "use_raw": False}


def run(script, out, data, *extra):
    """Run a command in its quick form; its CSV and its Markdown."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--quick", *extra]
    command += ["--data", str(data), "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / f"{script}.png").stat().st_size > 10_000
    return pd.read_csv(out / f"{script}.csv"), (out / f"{script}.md").read_text()


@pytest.fixture(scope="module")
def figure2(tmp_path_factory, data_file):
    data = data_file("symsim_clean_1.h5ad").parent
    return run("figure2", tmp_path_factory.mktemp("figure2"), data, "--jobs", "1")


@pytest.fixture(scope="module")
def figure3(tmp_path_factory, data_file):
    data = data_file("pbmc3k_lognorm.h5ad").parent
    return run("figure3", tmp_path_factory.mktemp("figure3"), data, "--jobs", "1")


@pytest.fixture(scope="module")
def figure4(tmp_path_factory):
    out = tmp_path_factory.mktemp("figure4")
    return out, *run("figure4", out, out)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory, data_file):
    data = data_file("pbmc3k_lognorm.h5ad").parent
    return run("encoders", tmp_path_factory.mktemp("encoders"), data)


def standardized(values):
    return (values - values.mean(axis=0)) / np.where(values.std(axis=0) > 0, values.std(axis=0), 1.0)


def nearest(values, k=30):
    """Neighbours as sets, from all distances."""
    distances = cdist(values, values)
    np.fill_diagonal(distances, np.inf)
    return [set(row[:k]) for row in distances.argsort(axis=1)]


def jaccard_distance(full, subset):
    return np.mean([1 - len(a & b) / len(a | b) for a, b in zip(full, subset, strict=True)])


@pytest.mark.parametrize(("kind", "reference"), [("clean", 0.71), ("complex", 0.74)])
def test_the_causal_genes_are_where_others_measured_them(kind, reference, data_file):
    """The README of the data has the mean of seeds 1 to 5, of which 1 to 3 are here; it lies among theirs.

    It does when a cell counts as a neighbour of itself, which it does not in `ace.metrics`; that raises all distances
    by about .015 and is checked against the benchmark's own figure below.
    """
    found = []
    for seed in (1, 2, 3):
        adata = ad.read_h5ad(data_file(f"symsim_{kind}_{seed}.h5ad"))
        values = standardized(np.asarray(adata.X, dtype=float))
        causal = values[:, (adata.var["kind"] == "causal").to_numpy()]
        with_itself = [[near | {cell} for cell, near in enumerate(nearest(v))] for v in (values, causal)]
        found.append(jaccard_distance(*with_itself))
    assert min(found) < reference < max(found)


@pytest.mark.filterwarnings("ignore:invalid value encountered in log2:RuntimeWarning")  # Scanpy's fold changes
@pytest.mark.parametrize("kind", ["clean", "complex"])
def test_figure2_has_the_distances_of_a_slow_loop(kind, figure2, data_file):
    table, _ = figure2
    part = table[(table["data"] == kind) & (table["space"] == "log") & (table["seed"] == 1)]
    adata = ad.read_h5ad(data_file(f"symsim_{kind}_1.h5ad"))
    adata.obs["cluster"] = adata.obs["cluster"].astype(str).astype("category")
    values = standardized(np.asarray(adata.X, dtype=float))
    full = nearest(values)
    causal = part.loc[part["ranking"] == "causal genes", "distance"].item()
    only_causal = nearest(values[:, (adata.var["kind"] == "causal").to_numpy()])
    assert causal == pytest.approx(jaccard_distance(full, only_causal), abs=1e-3)
    sc.tl.rank_genes_groups(adata, "cluster", **DE_TABLE)
    for size in (5, 20):
        kept = np.empty(len(full), dtype=object)
        for cluster in adata.obs["cluster"].cat.categories:
            genes = list(adata.uns["rank_genes_groups"]["names"][cluster][:size])
            found = nearest(values[:, adata.var_names.get_indexer(genes)])
            for cell in np.flatnonzero(adata.obs["cluster"] == cluster):
                kept[cell] = found[cell]
        row = part[(part["ranking"] == "wilcoxon") & (part["size"] == size)]
        assert row["distance"].item() == pytest.approx(jaccard_distance(full, kept), abs=1e-3)


def test_figure2_lists_every_ranking_and_says_where_it_comes_from(figure2):
    table, text = figure2
    assert {"ACE", "JSD", "GCE", "wilcoxon", "logreg", "COSG", "causal genes"} <= set(table["ranking"])
    assert sorted(table.loc[table["ranking"] == "ACE", "size"].unique()) == [3, 5, 8, 12, 16, 20, 25, 30, 40]
    for row in table[table["distance"].isna()].to_dict("records"):
        assert f"{row['ranking']}: {row['note']}" in text
    for word in ("scanpy ", "torch ", "Seeds: ", " cores", " s in all"):
        assert word in text


def quick_pbmc(data_file):
    """The quick form's cells and genes, made again."""
    adata = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad"))
    adata.raw = None
    variance = pd.Series(adata.X.toarray().var(axis=0), index=adata.var_names)
    return adata[:1000, adata.var_names.isin(variance.nlargest(300).index)].copy()


def test_figure3_has_the_areas_and_correlations_of_a_slow_loop(figure3, data_file):
    table, _ = figure3
    adata = quick_pbmc(data_file)
    part = table[
        (table["grouping"] == "louvain") & (table["ranking"] == "wilcoxon") & (table["group"] == "CD4 T cells")
    ]
    size = int(part["size"].min())
    assert size == round(0.02 * adata.n_vars)
    sc.tl.rank_genes_groups(adata, "louvain", **DE_TABLE)
    genes = list(adata.uns["rank_genes_groups"]["names"]["CD4 T cells"][:size])
    values = adata[:, genes].X.toarray()
    correlations = [np.corrcoef(values[:, i], values[:, j])[0, 1] for i, j in combinations(range(size), 2)]
    at = part[part["size"] == size].set_index("metric")["value"]
    assert at["abs_r"] == pytest.approx(np.abs(correlations).mean(), abs=1e-4)
    assert at["signed_r"] == pytest.approx(np.mean(correlations), abs=1e-4)
    member = (adata.obs["louvain"] == "CD4 T cells").to_numpy()
    areas = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(values, member):
        mean, scale = values[train].mean(axis=0), values[train].std(axis=0)
        machine = SVC(C=1.0, gamma="scale").fit((values[train] - mean) / scale, member[train])
        areas.append(roc_auc_score(member[test], machine.decision_function((values[test] - mean) / scale)))
    np.testing.assert_allclose(at["auroc"].to_numpy(), areas, atol=2e-4)


def test_figure3_judges_both_groupings_and_no_small_group(figure3, data_file):
    table, text = figure3
    cells = quick_pbmc(data_file).obs["louvain"].value_counts()
    assert set(table["grouping"]) == {"ace_cluster", "louvain"}
    judged = set(table.loc[table["grouping"] == "louvain", "group"])
    assert judged == set(cells.index[cells >= 50])
    assert judged < set(cells.index)
    assert "CD4 T cells" in text
    assert "Seeds: " in text


def test_encoders_has_the_fidelity_and_correlations_of_a_slow_loop(encoders, data_file):
    table, text = encoders
    row = table[table["encoder"] == "PCA"].squeeze()
    adata = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad"))
    adata.raw = None
    variance = pd.Series(adata.X.toarray().var(axis=0), index=adata.var_names)
    adata = adata[:600, adata.var_names.isin(variance.nlargest(200).index)].copy()
    sc.pp.pca(adata)
    ace.tl.explain(adata, "louvain", use_rep="X_pca")
    entry = adata.uns["rank_genes_groups"]
    labels = adata.obs["louvain"].astype(str).to_numpy()
    correlations = []
    for name in entry["names"].dtype.names:
        if (labels == name).sum() >= 50:
            values = adata[:, list(entry["names"][name][:18])].X.toarray()
            pairs = [np.corrcoef(values[:, i], values[:, j])[0, 1] for i, j in combinations(range(18), 2)]
            correlations.append(np.abs(pairs).mean())
    assert row["abs_r"] == pytest.approx(np.mean(correlations), abs=1e-3)
    right = [entry["fidelity"][name][0] for name in labels]  # of each cell, that of its group
    assert row["fidelity"] == pytest.approx(np.mean(right), abs=1e-6)
    for missing in table[table["fidelity"].isna()].to_dict("records"):
        assert f"{missing['encoder']}: {missing['note']}" in text
    assert {"autoencoder", "PCA", "Harmony, distilled"} == set(table["encoder"])


def test_figure4_leads_every_digit_to_the_other(figure4):
    """All 20 pairs of the paper, five images each, by few pixels; a change back is of the same pixels."""
    out, table, text = figure4
    assert (out / "figure4_umap.png").stat().st_size > 10_000
    ours = table[table["method"] == "ACE"]
    assert (ours.groupby(["source", "target"]).size() == 5).all()
    assert len(ours) == 100
    assert set(ours["source"]) == set(ours["target"]) == set(range(10))
    means = table.groupby("method")[["flipped", "softmax says so", "pixels", "L1"]].mean()
    assert means.loc["ACE", "flipped"] >= 0.99
    assert means.loc["ACE, to the boundary", "flipped"] >= 0.95  # 4 images of 100 end at a kink of the network
    assert means.loc["ACE", "softmax says so"] > means.loc["ACE, to the boundary", "softmax says so"]
    assert means.loc["ACE, to the boundary", "pixels"] < 0.5 * means.loc["plain gradient", "pixels"]
    assert means.loc["ACE, to the boundary", "L1"] < 0.7 * means.loc["plain gradient", "L1"]
    pairs = pd.read_csv(out / "figure4_symmetry.csv")
    assert len(pairs) == 16
    assert (pairs["there and back"] > pairs["other pairs"]).mean() > 0.8
    assert "scikit-learn: test accuracy 0.9" in text
    assert ("EAD (L1)" in means.index) != ("Foolbox is not installed" in text)
