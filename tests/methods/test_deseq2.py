"""DESeq2 through PyDESeq2, against that package's own formula, contrast and table."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from ace_scanpy.methods import Contrasts, deseq2

dds = pytest.importorskip("pydeseq2.dds")
ds = pytest.importorskip("pydeseq2.ds")

N_GENES = 40


@pytest.fixture(scope="module")
def data():
    """Negative binomial counts of 3 groups; gene 0 is up in group 0, gene 1 down, gene 2 is never seen."""
    rng = np.random.default_rng(1)
    codes = rng.permutation(np.repeat(np.arange(3), 30))
    mean = rng.gamma(2.0, 6.0, size=N_GENES) * np.ones((3, 1))
    mean[0, 0], mean[0, 1], mean[:, 2] = 8 * mean[1, 0], 0.1 * mean[1, 1], 0.0
    depth = rng.uniform(0.6, 1.6, size=len(codes))
    mu = mean[codes] * depth[:, None]
    counts = rng.poisson(mu * rng.gamma(4.0, 0.25, size=mu.shape))
    return counts, codes


def _own_table(counts, codes, contrast):
    names = [f"c{i}" for i in range(len(codes))]
    fit = dds.DeseqDataSet(
        counts=pd.DataFrame(counts, index=names, columns=[f"g{i}" for i in range(N_GENES)]),
        metadata=pd.DataFrame({"group": np.array(["a", "b", "c"])[codes]}, index=names),
        design="~group",
        size_factors_fit_type="poscounts",
        refit_cooks=False,
        min_mu=1e-6,
        quiet=True,
        n_cpus=1,
    )
    fit.deseq2()
    test = ds.DeseqStats(fit, contrast, cooks_filter=False, independent_filter=False, quiet=True, n_cpus=1)
    test.summary()
    return test.results_df


def test_against_a_reference_is_pydeseq2s_own_contrast(data):
    found = deseq2(*data, Contrasts((0, 1), 3, reference=2))
    for row, name in enumerate("ab"):
        table = _own_table(*data, ["group", name, "c"])
        np.testing.assert_allclose(found.scores[row], table["stat"].fillna(0.0), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.pvals[row], table["pvalue"], rtol=1e-2, atol=1e-12)


def test_against_the_rest_is_the_mean_of_the_other_coefficients(data):
    found = deseq2(*data, Contrasts((0, 1, 2), 3))
    intercept_b_c = {0: [0.0, -0.5, -0.5], 1: [0.0, 1.0, -0.5], 2: [0.0, -0.5, 1.0]}
    for row, vector in intercept_b_c.items():
        table = _own_table(*data, np.array(vector))
        np.testing.assert_allclose(found.scores[row], table["stat"].fillna(0.0), rtol=1e-3, atol=1e-3)


def test_p_values_are_adjusted_over_the_genes_tested(data):
    found = deseq2(*data, Contrasts((0, 1, 2), 3))
    tested = np.arange(N_GENES) != 2
    for pvals, adjusted in zip(found.pvals, found.pvals_adj, strict=True):
        np.testing.assert_allclose(adjusted[tested], false_discovery_control(pvals[tested]), rtol=1e-12)


def test_signs_and_genes_without_counts(data):
    found = deseq2(*data, Contrasts((0, 1, 2), 3))
    assert found.signed
    assert set(np.argsort(-np.abs(found.scores[0]))[:2]) == {0, 1}
    assert found.scores[0, 0] > 0 > found.scores[0, 1]
    assert (found.scores[:, 2] == 0).all()
    assert np.isnan(found.pvals[:, 2]).all()
    assert np.isnan(found.pvals_adj[:, 2]).all()


def test_cells_without_counts_are_left_out(data):
    counts, codes = data
    empty = np.zeros((2, N_GENES), dtype=counts.dtype)
    found = deseq2(np.vstack([counts, empty]), np.append(codes, [0, 1]), Contrasts((0,), 3))
    expected = deseq2(counts, codes, Contrasts((0,), 3))
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_nothing_counted_twice(data):
    counts, codes = data
    with pytest.raises(ValueError, match="3 group"):
        deseq2(np.minimum(counts, 1), codes, Contrasts((0,), 3))


def test_without_pydeseq2(data, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydeseq2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydeseq2", None)
    with pytest.raises(ImportError, match=r"'deseq2'.*pydeseq2.*pip install \"ace_scanpy\[methods\]\""):
        deseq2(*data, Contrasts((0,), 3))
