"""UMAPs of the paper's figures 2A and B, 3A, A.1 and A.2.

    python benchmarks/appendix.py [--data DIR] [--out benchmarks/results]

SymSim, seed 1: the causal, dependent, noise and all genes, z-scored, and ACE's embedding, by cluster, and for the
complex set by batch. PBMC3k: ACE's embedding with its k-means and with `louvain`. Each with a figure: silhouettes of
the labels in the space that the UMAP was made from, and the adjusted Rand index of k-means.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from _report import header, markdown, parse, parser, write
from figure2 import load
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.preprocessing import StandardScaler

import ace_scanpy as ace

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

N_TYPES, N_SIMULATED = 8, 5
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999933")
_COLUMNS = 5


def umap(space: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two dimensions by Scanpy's UMAP of 15 neighbours."""
    adata = ad.AnnData(space)
    sc.pp.neighbors(adata, use_rep="X")
    sc.tl.umap(adata)
    return adata.obsm["X_umap"]


def spaces(adata: AnnData, batch_key: str | None) -> dict[str, NDArray[np.float32]]:
    """The genes of each kind, all genes, and ACE's embedding; k-means is left in `obs`."""
    expression = StandardScaler().fit_transform(adata.X)
    kinds = {f"{kind} genes": expression[:, adata.var["kind"] == kind] for kind in ("causal", "dependent", "noise")}
    ace.tl.embed(adata, mask_var=None, batch_key=batch_key)
    ace.tl.cluster(adata, n_clusters=N_SIMULATED)
    return {**kinds, "all genes": expression, "ACE's embedding": adata.obsm["X_ace"]}


def scatter(ax: Axes, where: NDArray[np.float32], labels: pd.Series, title: str, *, names: bool = False) -> None:
    """Cells coloured by a label; the names at the medians of the groups where asked for."""
    order = np.random.default_rng(0).permutation(len(labels))  # no group covers another
    codes = labels.cat.codes.to_numpy()
    ax.scatter(*where[order].T, c=np.array(_COLORS)[codes[order]], s=5, linewidths=0)
    if names:
        for code, name in enumerate(labels.cat.categories):
            ax.text(
                *np.median(where[codes == code], axis=0),
                name,
                ha="center",
                fontsize="small",
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0},
            )
    ax.set_title(title, fontsize="medium")
    ax.set_xticks([])
    ax.set_yticks([])


def simulated(folder: Path, rows: dict[str, list[Axes]]) -> list[dict[str, object]]:
    """Figures 2A, 2B and A.1."""
    found: list[dict[str, object]] = []
    for kind, colored in (("clean", ["cluster"]), ("complex", ["cluster", "batch"])):
        adata = load(folder, kind, 1, "log")
        for column, (name, space) in enumerate(spaces(adata, "batch" if kind == "complex" else None).items()):
            where = umap(space)
            for label in colored:
                width = float(silhouette_score(space, adata.obs[label]))
                found.append({"data": f"SymSim {kind} 1", "space": name, "label": label, "silhouette": width})
                labels = adata.obs[label].astype(str).astype("category")
                scatter(
                    rows[f"{kind} {label}"][column],
                    where,
                    labels,
                    f"{kind}: {name}\nby {label}, silhouette {width:.2f}",
                )
        index = float(adjusted_rand_score(adata.obs["cluster"], adata.obs["ace_cluster"]))
        found.append({"data": f"SymSim {kind} 1", "space": "ACE's embedding", "label": "k-means", "ARI": index})
    return found


def blood(folder: Path, axes: list[Axes]) -> list[dict[str, object]]:
    """Figures 3A and A.2."""
    adata = ad.read_h5ad(folder / "pbmc3k_lognorm.h5ad")
    ace.tl.embed(adata, mask_var=None)
    ace.tl.cluster(adata, n_clusters=N_TYPES)
    where, louvain, kmeans = umap(adata.obsm["X_ace"]), adata.obs["louvain"], adata.obs["ace_cluster"]
    index = float(adjusted_rand_score(louvain, kmeans))
    found: list[dict[str, object]] = []
    for ax, labels, name in ((axes[0], louvain, "Louvain"), (axes[1], kmeans, "ACE's k-means")):
        width = float(silhouette_score(adata.obsm["X_ace"], labels))
        found.append({"data": "PBMC3k", "space": "ACE's embedding", "label": name, "silhouette": width})
        scatter(ax, where, labels, f"PBMC3k, ACE's embedding: {name}\nsilhouette {width:.2f}", names=True)
    axes[1].set_title(f"PBMC3k, ACE's embedding: ACE's k-means\nARI with Louvain {index:.2f}", fontsize="medium")
    found.append({"data": "PBMC3k", "space": "ACE's embedding", "label": "k-means", "ARI": index})
    return found


def main() -> None:
    given = parse(parser(__doc__))
    start = time.perf_counter()
    sc.settings.verbosity = 0
    figure = plt.figure(figsize=(15.0, 16.0), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[3.0, 1.9])
    grid = above.subplots(3, _COLUMNS)
    rows = dict(zip(("clean cluster", "complex cluster", "complex batch"), grid.tolist(), strict=True))
    table = pd.DataFrame([*simulated(given.data, rows), *blood(given.data, below.subplots(1, 2).tolist())])
    figure.savefig(given.out / "appendix.png", dpi=70)
    table.to_csv(given.out / "appendix.csv", index=False, float_format="%.4f")
    parts = [
        "# UMAPs: figures 2A, 2B, 3A, A.1 and A.2",
        header("python benchmarks/appendix.py", "1 of the sets, 0 of the methods", time.perf_counter() - start),
        markdown(table),
    ]
    write(given.out, "appendix", parts)


if __name__ == "__main__":
    main()
