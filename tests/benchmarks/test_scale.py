"""The reduced form of the benchmark of cost, and the data it is run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
STEPS = {
    "PCA",
    "t-test",
    "Wilcoxon",
    "illico",
    "COSG",
    "ACE embed",
    "ACE explain, first",
    "ACE explain",
    "gradient SHAP",
}


@pytest.fixture(scope="module")
def resample():
    sys.path.insert(0, str(FOLDER))
    try:
        from _resampled import resample
    finally:
        sys.path.remove(str(FOLDER))
    return resample


def test_every_step_of_every_size_is_measured(tmp_path, data_file):
    for package in ("captum", "cosg", "illico"):
        pytest.importorskip(package)
    data = data_file("pbmc3k_raw.h5ad").parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, str(FOLDER / "scale.py"), "--quick", "--data", str(data), "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "scale.csv")
    for _, part in table.groupby(["cells", "genes", "groups"]):
        assert set(part["step"]) == STEPS
    assert table["groups"].nunique() == 2
    assert (table[["seconds", "processor"]] > 0).all(axis=None)
    assert (table["MiB"] >= 0).all()
    assert (tmp_path / "scale.png").stat().st_size > 10_000
    text = (tmp_path / "scale.md").read_text()
    for word in ("explain / illico", "SHAP / explain", "20 subgradient steps", "scanpy ", " cores"):
        assert word in text


def test_resampled_groups_have_the_means_of_the_real_ones(resample, data_file):
    real = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad"))
    made = resample(data_file("pbmc3k_raw.h5ad").parent, 2 * real.n_obs, real.n_vars, 8)
    assert list(made.var_names) == list(real.var_names)
    sizes = real.obs["louvain"].value_counts()
    assert made.obs["group"].value_counts().to_dict() == (2 * sizes).to_dict()  # each real cell twice
    for group in sizes.index[sizes > 100]:
        one, other = (
            np.expm1(adata.X[(adata.obs[key] == group).to_numpy()].toarray()).mean(axis=0)
            for adata, key in ((made, "group"), (real, "louvain"))
        )
        assert np.corrcoef(one, other)[0, 1] > 0.99
        assert one.sum() == pytest.approx(other.sum(), rel=0.02)
    # drawn again, and not copied
    assert len({row.tobytes() for row in made.X[:200].toarray()}) == 200


def test_more_genes_than_there_are_come_from_shuffled_cells(resample, data_file):
    made = resample(data_file("pbmc3k_raw.h5ad").parent, 300, 14_000, 5)
    n_real = sum(not name.startswith("shuffled ") for name in made.var_names)
    assert (made.n_vars, n_real) == (14_000, 13_714)
    assert made.obs["group"].nunique() == 5
    real, shuffled = (np.sort(made.X[:, part].toarray(), axis=0) for part in (slice(286), slice(n_real, None)))
    np.testing.assert_array_equal(real, shuffled)
