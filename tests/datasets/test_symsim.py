"""`ace.datasets.symsim` as its user sees it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import stats

import ace_scanpy as ace

SMALL = {"n_cells": 90, "n_genes": 120, "n_clusters": 3, "rng": 4}


@pytest.fixture(scope="module")
def clean():
    return ace.datasets.symsim(rng=5)


@pytest.fixture(scope="module")
def complex_set():
    return ace.datasets.symsim("complex", rng=5)


@pytest.fixture(scope="module")
def background():
    return ace.datasets.symsim("background", rng=5)


def of_kind(adata, kind):
    return (adata.var["kind"] == kind).to_numpy()


def test_shape_and_clusters(clean, complex_set, background):
    assert clean.shape == complex_set.shape == (500, 220)
    assert background.shape == (500, 2000)
    for adata in (clean, complex_set, background):
        assert adata.obs["cluster"].value_counts(sort=False).to_dict() == dict.fromkeys("12345", 100)
    assert clean.var["kind"].value_counts(sort=False).to_dict() == {"causal": 20, "dependent": 100, "noise": 100}
    assert "batch" not in clean.obs


@pytest.mark.parametrize(("name", "layer"), [("clean", "true_counts"), ("complex_set", "observed_batch_counts")])
def test_a_set_is_cut_out_of_its_background(request, background, name, layer):
    adata = request.getfixturevalue(name)
    simulated = ~of_kind(adata, "dependent")
    gene = adata.var["symsim_gene"].to_numpy()[simulated] - 1
    counts = background.layers[layer].toarray()
    np.testing.assert_array_equal(adata.layers["counts"][:, simulated], counts[:, gene])
    np.testing.assert_array_equal(adata.obs["background_total"], counts.sum(axis=1))
    np.testing.assert_array_equal(adata.varm["log2fc"][simulated], background.varm["log2fc"][gene])
    assert np.isnan(adata.varm["log2fc"][~simulated]).all()
    for column in ("nDiffEVF", "n_de_pairs", "mean_abs_log2fc"):
        np.testing.assert_array_equal(adata.var[column][simulated], background.var[column].iloc[gene])
    assert (adata.var.loc[~simulated, ["symsim_gene", "nDiffEVF", "n_de_pairs"]] == [0, -1, -1]).all(axis=None)
    assert adata.var.loc[~simulated, "mean_abs_log2fc"].isna().all()


def test_clean_and_complex_share_genes_and_weights_but_not_errors(clean, complex_set):
    np.testing.assert_array_equal(clean.var["symsim_gene"], complex_set.var["symsim_gene"])
    np.testing.assert_array_equal(clean.varm["weights"], complex_set.varm["weights"])
    errors = [_error(adata) for adata in (clean, complex_set)]
    assert abs(np.corrcoef(errors[0].ravel(), errors[1].ravel())[0, 1]) < 4 / np.sqrt(errors[0].size)


def _error(adata):
    """What a dependent gene has beyond its weighted sum, in log space."""
    dependent, causal = of_kind(adata, "dependent"), of_kind(adata, "causal")
    assert list(adata.var_names[causal]) == list(adata.uns["causal_names"])
    x = adata.X.astype(np.float64)
    return x[:, dependent] - x[:, causal] @ adata.varm["weights"][dependent].T


@pytest.mark.parametrize("name", ["clean", "complex_set"])
def test_dependent_genes_from_the_stored_weights(request, name):
    adata = request.getfixturevalue(name)
    dependent, causal = of_kind(adata, "dependent"), of_kind(adata, "causal")
    weights = adata.varm["weights"]
    np.testing.assert_array_equal(weights[~dependent], 0)
    np.testing.assert_array_equal((weights > 0).sum(axis=1), adata.var["n_parents"])
    np.testing.assert_array_equal(weights[dependent], adata.uns["dependent_weights"])
    error = _error(adata)
    assert stats.kstest(error.ravel(), "norm").pvalue > 0.01
    sums = np.maximum(adata.layers["counts"][:, causal].astype(float) @ weights[dependent].T + error, 0)
    factor = adata.obs["size_factor"].to_numpy()[:, None]
    # The error is read from single precision, which may turn a rare rounding.
    rounded = np.rint(sums) != adata.layers["counts"][:, dependent]
    assert rounded.mean() < 1e-4
    np.testing.assert_allclose(adata.layers["log1p_countspace"][:, dependent], np.log1p(sums / factor), atol=1e-5)


@pytest.mark.parametrize("name", ["clean", "complex_set"])
def test_normalisation(request, name):
    adata = request.getfixturevalue(name)
    simulated = ~of_kind(adata, "dependent")
    factor = adata.obs["size_factor"].to_numpy()
    assert stats.gmean(factor) == pytest.approx(1)
    if name == "clean":
        np.testing.assert_array_equal(factor, 1)
    expected = np.log1p(adata.layers["counts"][:, simulated] / factor[:, None])
    for values in (adata.X, adata.layers["log1p_countspace"]):
        np.testing.assert_allclose(values[:, simulated], expected, rtol=1e-6)


def test_causal_genes_differ_and_noise_genes_do_not(clean, complex_set, background):
    causal, noise = clean.var[of_kind(clean, "causal")], clean.var[of_kind(clean, "noise")]
    strongest = background.var["mean_abs_log2fc"].sort_values(ascending=False)[:20]
    np.testing.assert_array_equal(causal["mean_abs_log2fc"], strongest)
    assert (causal["n_de_pairs"] > 0).all()
    assert (noise["nDiffEVF"] == 0).all()
    # and the cells show it: an analysis of variance between clusters
    p = np.array(
        [stats.f_oneway(*(clean[clean.obs["cluster"] == c].X[:, i] for c in "12345")).pvalue for i in range(220)]
    )
    # A causal gene may burst so rarely that 500 cells do not prove its difference, but few do.
    assert (p[of_kind(clean, "causal")] < 0.05 / 220).sum() >= 18
    assert stats.kstest(p[of_kind(clean, "noise")], "uniform").pvalue > 0.01
    # In the complex set noise genes follow the batch.
    batches = [complex_set[complex_set.obs["batch"] == b].X[:, of_kind(complex_set, "noise")] for b in "12"]
    assert np.mean(stats.ttest_ind(*batches).pvalue < 0.001) > 0.25


def test_the_verdict_on_differences(background):
    verdict = (background.var["nDiffEVF"].to_numpy()[:, None] > 0) & (np.abs(background.varm["log2fc"]) > 0.8)
    np.testing.assert_array_equal(background.varm["is_de"], verdict)
    np.testing.assert_array_equal(background.var["n_de_pairs"], verdict.sum(axis=1))
    np.testing.assert_array_equal(background.var["de_any"], verdict.any(axis=1))


def test_true_fold_changes_are_those_of_the_molecules(background):
    molecules = background.X.toarray()
    means = np.array([molecules[background.obs["cluster"] == c].mean(axis=0) for c in "12345"])
    large = means.min(axis=0) > 20
    assert large.sum() > 500
    for column, pair in enumerate(background.uns["log2fc_pairs"]):
        a, b = (int(c) - 1 for c in pair.split("_"))
        observed = np.log2(means[a, large] / means[b, large])
        assert np.median(np.abs(observed - background.varm["log2fc"][large, column])) < 0.1
        assert np.corrcoef(observed, background.varm["log2fc"][large, column])[0, 1] > 0.95


def test_counts_only_get_fewer_until_the_batches(background):
    true, observed, shifted = (
        background.layers[f"{name}_counts"].toarray() for name in ("true", "observed", "observed_batch")
    )
    assert (observed <= true).all()
    np.testing.assert_array_equal(shifted[observed == 0], 0)
    np.testing.assert_array_equal(background.X.toarray(), true)
    assert background.obs["capture_alpha"].mean() == pytest.approx(0.05, abs=4 * 0.02 / np.sqrt(500))
    assert background.obs["depth"].mean() == pytest.approx(50_000, abs=4 * 3000 / np.sqrt(500))


def test_only_highly_expressed_genes_do_not_burst(background):
    high = background.var["highly_expressed"].to_numpy()
    assert high.sum() == 30
    ratio = background.X.toarray().mean(axis=0) / background.var["mean_s"].to_numpy()
    np.testing.assert_allclose(ratio[high], 1, atol=0.02)
    assert np.median(ratio[~high]) < 0.5


@pytest.mark.parametrize("kind", ["clean", "complex", "background"])
def test_same_seed_same_data(kind, contents, assert_same_contents):
    first, second = (ace.datasets.symsim(kind, n_cells=60, n_clusters=2, rng=8) for _ in range(2))
    assert_same_contents(contents(first), contents(second))


def test_another_seed_other_data():
    first, second = (ace.datasets.symsim("background", **SMALL | {"rng": rng}) for rng in (1, 2))
    for layer in first.layers:
        assert (first.layers[layer] != second.layers[layer]).nnz > 1000
    assert not np.isin(first.obsm["evf"], second.obsm["evf"]).any()


def test_a_generator_gives_its_seed():
    expected = int(np.random.default_rng(3).integers(2**31))
    found = ace.datasets.symsim("background", **SMALL | {"rng": np.random.default_rng(3)})
    assert found.uns["simulation"]["randseed"] == expected
    again = ace.datasets.symsim("background", **SMALL | {"rng": expected})
    assert (found.X != again.X).nnz == 0


def test_the_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    ace.datasets.symsim("background", **SMALL)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_arguments_reach_the_data():
    found = ace.datasets.symsim(
        "background", **SMALL, smallest_cluster=10, n_evf=4, n_de_evf=1, sigma=0.7, capture=0.3, depth=5000, n_batches=3
    )
    assert found.obs["cluster"].value_counts(sort=False).to_dict() == {"1": 40, "2": 40, "3": 10}
    assert list(found.obs["batch"].cat.categories) == ["1", "2", "3"]
    assert found.obs["batch"].nunique() == 3
    assert found.varm["log2fc"].shape == (120, 3)
    assert list(found.uns["log2fc_pairs"]) == ["1_2", "1_3", "2_3"]
    assert found.obsm["evf"].shape == (90, 12)
    assert [name for name in found.uns["evf_names"] if "_DE_" in name] == ["s_DE_evf4"]
    assert found.obsm["evf"][:, :11].std() == pytest.approx(0.7, rel=0.1)
    assert found.obs["capture_alpha"].mean() == pytest.approx(0.3, rel=0.2)
    assert found.obs["depth"].mean() == pytest.approx(5000, rel=0.05)
    recorded = found.uns["simulation"]
    assert (recorded["ncells_total"], recorded["nevf"], recorded["min_popsize"], recorded["nbatch"]) == (90, 4, 10, 3)


def test_one_batch_changes_nothing():
    found = ace.datasets.symsim("background", **SMALL, n_batches=1)
    assert (found.layers["observed_counts"] != found.layers["observed_batch_counts"]).nnz == 0
    assert set(found.obs["batch"]) == {"1"}


def test_later_stages_leave_earlier_ones_alone():
    first = ace.datasets.symsim("background", **SMALL)
    second = ace.datasets.symsim("background", **SMALL, capture=0.5, n_batches=1)
    assert (first.X != second.X).nnz == 0
    assert first.layers["observed_counts"].sum() * 3 < second.layers["observed_counts"].sum()


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
@pytest.mark.parametrize("kind", ["clean", "complex", "background"])
@pytest.mark.parametrize("fmt", ["h5ad", "zarr"])
def test_round_trip(kind, fmt, tmp_path, request, contents):
    adata = request.getfixturevalue({"complex": "complex_set"}.get(kind, kind))
    getattr(adata, f"write_{fmt}")(tmp_path / f"set.{fmt}")
    read = getattr(ad, f"read_{fmt}")(tmp_path / f"set.{fmt}")
    assert contents(read).keys() == contents(adata).keys()
    for mapping in ("layers", "varm", "obsm"):
        for key, values in getattr(adata, mapping).items():
            a, b = (v.toarray() if hasattr(v, "toarray") else v for v in (values, getattr(read, mapping)[key]))
            np.testing.assert_array_equal(a, b)
    assert read.uns["simulation"] == adata.uns["simulation"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "dirty"}, ValueError, r"`kind` must be one of \['clean', 'complex', 'background'\]\. Got 'dirty'"),
        ({"n_cells": 4}, ValueError, r"`n_cells` must be at least 5\. Got 4"),
        ({"n_cells": 50.0}, TypeError, r"`n_cells` must be a whole number\. Got 50\.0"),
        ({"n_genes": 19}, ValueError, r"`n_genes` must be at least 20\. Got 19"),
        ({"n_clusters": 1}, ValueError, r"`n_clusters` must be at least 2\. Got 1"),
        ({"smallest_cluster": 101}, ValueError, r"`smallest_cluster` must be at most 100, .* Got 101"),
        ({"smallest_cluster": 0}, ValueError, r"`smallest_cluster` must be at least 1\. Got 0"),
        ({"n_evf": 0}, ValueError, r"`n_evf` must be at least 1"),
        ({"n_de_evf": 16}, ValueError, r"`n_de_evf`=16 is more than there are factors \(`n_evf`=15\)"),
        ({"n_de_evf": -1}, ValueError, r"`n_de_evf` must be at least 0"),
        ({"sigma": 0}, ValueError, r"`sigma` must be positive"),
        ({"capture": 1.2}, ValueError, r"`capture` must be between 0\.0005 and 1\. Got 1\.2"),
        ({"capture": 0.0001}, ValueError, r"`capture` must be between 0\.0005 and 1"),
        ({"depth": 100}, ValueError, r"`depth` must be at least 200 reads per cell\. Got 100"),
        ({"depth": float("nan")}, ValueError, r"`depth` must be positive and finite"),
        ({"n_batches": 0}, ValueError, r"`n_batches` must be at least 1"),
        ({"batch_size": -1}, ValueError, r"`batch_size` must be zero or positive"),
        ({"rng": "zero"}, TypeError, r"`rng` must be a non-negative whole number or a numpy Generator"),
    ],
)
def test_wrong_arguments_raise_before_any_work(arguments, error, message, monkeypatch):
    monkeypatch.setattr("ace_scanpy.datasets._symsim.simulate", lambda *_: pytest.fail("simulated"))
    with pytest.raises(error, match=message):
        ace.datasets.symsim(**arguments)


def test_too_few_genes_for_a_set():
    with pytest.raises(ValueError, match=r"100 that no differential factor acts on\. Got \d+ and \d+ among 120 genes"):
        ace.datasets.symsim("clean", **SMALL)
    with pytest.raises(ValueError, match="Got 0 and"):
        ace.datasets.symsim("clean", n_cells=60, n_genes=400, n_de_evf=0)


def test_too_few_molecules():
    with pytest.raises(ValueError, match="simulated cells have no molecule"):
        ace.datasets.symsim("background", **SMALL | {"n_genes": 20}, capture=0.0005)
