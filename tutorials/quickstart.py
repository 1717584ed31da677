# %% [markdown]
# # Quickstart
#
# What makes each cluster of 700 blood cells what it is? The data ship inside Scanpy, so this page needs no network,
# and nothing is prepared first: it takes one call.

# %% tags=["script"]
"""As a script, `python tutorials/quickstart.py [FOLDER]`, it saves its pictures to FOLDER (default: figures)."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

sc.settings.autoshow = False
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Data
# The cells are clustered already: `obs["louvain"]`. Here `X` is scaled, and `raw` holds the log-normalised expression
# that `ace_scanpy` wants to see.

# %%
import scanpy as sc

import ace_scanpy as ace

adata = sc.datasets.pbmc68k_reduced()
print(f"{adata.n_obs} cells, {adata.raw.n_vars} genes, {adata.obs['louvain'].nunique()} clusters")

# %% [markdown]
# ## The one call
# What is missing (standardisation, embedding) runs by itself.

# %%
ace.tl.explain(adata, "louvain", use_raw=True)

# %% [markdown]
# ## The panel of each cluster
# The genes that have to change to move the cluster's cells to *every* other cluster, the most important first. A plus
# means enriched (the gene has to go down), a minus depleted (it has to go up).

# %%
for cluster in adata.obs["louvain"].cat.categories:
    panel = ace.get.panel(adata, cluster, size=10)
    genes = [f"{'+' if up else '-'}{name}" for name, up in zip(panel["names"], panel["enriched"], strict=True)]
    n_cells = int((adata.obs["louvain"] == cluster).sum())
    print(f"cluster {cluster:>2} ({n_cells:>3} cells)  {'  '.join(genes)}")

# %% [markdown]
# The same as bars. Look at the side first: bars to the right are enriched genes, hatched bars to the left are genes
# that the cluster lacks and at least one other cluster has. Then at the length: a gene that repeats a longer bar has
# a short one.

# %%
ace.pl.panel(adata, n_genes=8)

# %% tags=["script"]
plt.savefig(folder / "panels.png", dpi=120)

# %% [markdown]
# ## How far to trust it
# `fidelity` is the share of a cluster's cells that the explained network puts into that cluster, `flip_rate` the
# share that the change of the genes moves, and `panel_size` the number of genes that is enough for 95 % of them.

# %%
print(ace.get.summary(adata, n_genes=3).round(2).to_string())

# %% [markdown]
# ## On with Scanpy
# The result has the layout of `sc.tl.rank_genes_groups`, so every Scanpy plot and getter works on it. In the picture,
# a group's own genes stand under its bracket: dark and large for enriched ones, pale and small for depleted ones.

# %%
sc.pl.rank_genes_groups_dotplot(adata, n_genes=3, use_raw=True, dendrogram=False)

# %% tags=["script"]
plt.savefig(folder / "dotplot.png", dpi=120, bbox_inches="tight")
print(f"saved {folder / 'panels.png'} and {folder / 'dotplot.png'}")

# %% [markdown]
# Next: [PBMC3k from counts to panels](pbmc3k.ipynb), or [how to read a panel](reading_panels.ipynb).
