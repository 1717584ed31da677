"""PBMC3k at any number of cells, genes and groups: real cells whose counts are drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.cluster import KMeans

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

DEPTH = 0.8  # of the counts of the real cell
_LOUVAIN = 8
_COMPONENTS = 20


def resample(folder: Path, n_cells: int, n_genes: int, n_groups: int, seed: int = 0) -> AnnData:
    """Log-normalised expression as float32 CSR, groups in `obs["group"]`."""
    named = ad.read_h5ad(folder / "pbmc3k_lognorm.h5ad")
    raw = ad.read_h5ad(folder / "pbmc3k_raw.h5ad")[named.obs_names]
    counts = sparse.csr_matrix(raw.X, dtype=np.float32)
    depth = np.asarray(counts.sum(axis=1)).ravel()
    rng = np.random.default_rng(seed)
    if n_groups == _LOUVAIN:
        groups = named.obs["louvain"].astype(str).to_numpy()
    else:
        coordinates = named.obsm["X_scanpy_pca"][:, :_COMPONENTS]
        groups = KMeans(n_groups, n_init=1, random_state=seed).fit_predict(coordinates).astype(str)
    genes = _genes(counts, n_genes, raw.var_names.isin(named.var_names))
    chosen = counts[:, genes]
    cells = rng.permutation(np.arange(n_cells) % len(depth))  # every real cell equally often
    values = chosen[cells]
    values.data = rng.poisson(DEPTH * values.data).astype(np.float32)
    values.data *= np.repeat(1e4 / (DEPTH * depth[cells]), np.diff(values.indptr)).astype(np.float32)
    np.log1p(values.data, out=values.data)
    values.eliminate_zeros()
    names = list(raw.var_names[genes])
    if n_genes > len(names):
        shuffled = values[rng.permutation(n_cells), : n_genes - len(names)]
        values = sparse.csr_matrix(sparse.hstack([values, shuffled]))
        names += [f"shuffled {name}" for name in names[: n_genes - len(names)]]
    obs = pd.DataFrame({"group": pd.Categorical(groups[cells])}, index=[f"cell{i}" for i in range(n_cells)])
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=names))


def _genes(counts: sparse.csr_matrix, n_genes: int, published: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The published genes where that many are asked for, otherwise the most counted ones, in the order of the data."""
    if n_genes == published.sum():
        return np.flatnonzero(published)
    totals = np.asarray(counts.sum(axis=0)).ravel()
    return np.sort(np.argsort(-totals, kind="stable")[:n_genes])
