"""What the parts of ACE do by themselves: clusters, batches, gene selection.

    python benchmarks/components.py [clusters batches genes] [--seeds 3] [--data DIR]

Prints one Markdown table for each. Data come from `--data` or the environment variable ACE_DATA_DIR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from _report import markdown, parse, parser
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

import ace_scanpy as ace
from ace_scanpy import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SIZES = (30, 50, 100)


def clusters(folder: Path, n_seeds: int) -> pd.DataFrame:
    """Adjusted Rand index of k-means on X_ace, with and without `joint`, beside k-means on Scanpy's PCA."""
    sets = [("pbmc3k_lognorm", "louvain", 8), *((f"symsim_clean_{i}", "cluster", 5) for i in (1, 2, 3))]
    rows = []
    for name, label, k in sets:
        adata = ad.read_h5ad(folder / f"{name}.h5ad")
        scaled = adata.copy()
        sc.pp.scale(scaled, max_value=10)
        for seed in range(n_seeds):
            row = {"data": name, "seed": seed}
            for column, source in (("PCA", adata.copy()), ("PCA, scaled", scaled)):
                sc.pp.pca(source, mask_var=None, random_state=seed)
                found = KMeans(k, n_init=10, random_state=seed).fit_predict(source.obsm["X_pca"])
                row[column] = adjusted_rand_score(adata.obs[label], found)
            ace.tl.embed(adata, mask_var=None, rng=seed)
            for column, joint in (("ACE", False), ("ACE, joint", True)):
                ace.tl.cluster(adata, n_clusters=k, joint=joint, rng=seed)
                row[column] = adjusted_rand_score(adata.obs[label], adata.obs["ace_cluster"])
            rows.append(row)
    return pd.DataFrame(rows).groupby("data", sort=False).median().drop(columns="seed")


def batches(folder: Path, n_seeds: int) -> pd.DataFrame:
    """Silhouettes of X_ace by batch and by cell type, without and with `batch_key`."""
    adata = ad.read_h5ad(folder / "celllines_2batch.h5ad")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=2000)
    rows = []
    for seed in range(n_seeds):
        for key in (None, "batch"):
            ace.tl.embed(adata, batch_key=key, rng=seed)
            by = {label: silhouette_score(adata.obsm["X_ace"], adata.obs[label]) for label in ("batch", "cell_type")}
            rows.append({"batch_key": str(key), **by})
    return pd.DataFrame(rows).groupby("batch_key", sort=False).median()


def genes(folder: Path, n_seeds: int) -> pd.DataFrame:
    """R2 of held-out cells and mean |r| of the genes: `FeatureGates` beside the most variable genes."""
    adata = ad.read_h5ad(folder / "pbmc3k_lognorm.h5ad")
    expression = adata.X.toarray()
    order = np.random.default_rng(99).permutation(adata.n_obs)
    n_test = adata.n_obs // 5
    test, seen = expression[order[:n_test]], expression[order[n_test:]]
    variable = np.argsort(-seen.std(axis=0))
    rows = []
    for size in SIZES:
        for seed in range(n_seeds):
            for choice in ("most variable", "FeatureGates"):
                kept = variable[:size] if choice == "most variable" else None
                score, chosen = held_out_r2(seen, test, size, kept, seed)
                redundancy = ace.metrics.redundancy(expression[:, chosen])
                rows.append({"genes": size, "choice": choice, "R2": score, "abs_r": redundancy, "kept": len(chosen)})
    return pd.DataFrame(rows).groupby(["genes", "choice"], sort=False).median()


def held_out_r2(
    seen: NDArray[np.float32], test: NDArray[np.float32], size: int, kept: NDArray[np.intp] | None, seed: int
) -> tuple[float, NDArray[np.intp]]:
    """Train on `seen` with the genes `kept`, or with those that the gates choose; R2 over all genes of `test`."""
    source = ad.AnnData(seen)
    ace.pp.standardize(source, mask_var=None)
    varying = np.flatnonzero(source.var["ace_std"] > 0)
    mean, scale = (
        torch.tensor(source.var[k].to_numpy()[varying], dtype=torch.float32) for k in ("ace_mean", "ace_std")
    )
    rng = np.random.default_rng(seed)
    with models.seeded(rng):
        model = models.Autoencoder(mean, scale)
        gates = models.FeatureGates(len(varying), size) if kept is None else FixedGates(len(varying), size)
        if kept is not None:
            gates.fix(np.searchsorted(varying, np.sort(kept)))
    from ace_scanpy._matrix import choose

    models.train(model, choose(source).with_genes(varying), models.Schedule(), rng, gates=gates)
    standardized = model.encoder.standardize(torch.from_numpy(test[:, varying]))
    with torch.no_grad():
        output = model.decoder(model.encoder(torch.from_numpy(test[:, varying])))
    r2 = 1 - float((output - standardized).square().mean() / standardized.square().mean())
    chosen = (model.encoder.weight != 0).any(dim=0).nonzero().squeeze(1).numpy()
    return r2, varying[chosen]


class FixedGates(models.FeatureGates):
    """Gates that stay with the genes they are given."""

    def fix(self, genes: NDArray[np.intp]) -> None:
        """Open the gates of `genes` for good."""
        with torch.no_grad():
            self.logits.fill_(-1e3)
            self.logits[torch.from_numpy(genes)] = 1e3

    def start_from_principal_variables(self, standardized: torch.Tensor) -> None:
        """Keep the given genes."""


def main() -> None:
    parts: dict[str, Callable[[Path, int], pd.DataFrame]] = {"clusters": clusters, "batches": batches, "genes": genes}
    arguments = parser(__doc__)
    arguments.add_argument("parts", nargs="*", choices=[[], *parts], default=[])
    arguments.add_argument("--seeds", type=int, default=3)
    given = parse(arguments)
    sc.settings.verbosity = 0
    for name in given.parts or parts:
        table = parts[name](given.data, given.seeds).reset_index()
        print(f"\n{parts[name].__doc__} Median of {given.seeds} seeds.\n\n{markdown(table)}", flush=True)


if __name__ == "__main__":
    main()
