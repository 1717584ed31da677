"""Quickstart: what makes each cluster of 700 blood cells what it is?

    python tutorials/quickstart.py [FOLDER]

Runs on `sc.datasets.pbmc68k_reduced()`, which ships inside Scanpy (no network). Prints the panel of every cluster and
saves two pictures to FOLDER (default: figures).
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import scanpy as sc

import ace_scanpy as ace

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
folder.mkdir(parents=True, exist_ok=True)

# %% 700 cells, already clustered: X is scaled, raw is log-normalised.
adata = sc.datasets.pbmc68k_reduced()

# %% The one call. Whatever is missing (standardisation, embedding) runs by itself.
ace.tl.explain(adata, "louvain", use_raw=True)

# %% The panel of each cluster: the genes that have to change to move its cells to any other cluster.
# A plus means enriched (the gene has to go down), a minus depleted (it has to go up).
for cluster in adata.obs["louvain"].cat.categories:
    panel = ace.get.panel(adata, cluster, size=10)
    genes = [f"{'+' if up else '-'}{name}" for name, up in zip(panel["names"], panel["enriched"], strict=True)]
    n_cells = int((adata.obs["louvain"] == cluster).sum())
    print(f"cluster {cluster:>2} ({n_cells:>3} cells)  {'  '.join(genes)}")

# %% Signed bars: enriched to the right, depleted to the left.
axes = ace.pl.panel(adata, n_genes=8, show=False)
axes[0].figure.savefig(folder / "panels.png", dpi=120)

# %% The result has the layout of `sc.tl.rank_genes_groups`: every Scanpy plot and getter works on it.
sc.pl.rank_genes_groups_dotplot(adata, n_genes=3, use_raw=True, dendrogram=False, show=False)
plt.savefig(folder / "dotplot.png", dpi=120, bbox_inches="tight")
print(f"saved {folder / 'panels.png'} and {folder / 'dotplot.png'}")
