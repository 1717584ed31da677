"""PBMC3k from raw counts to signed gene panels.

    python tutorials/pbmc3k.py [FOLDER]

Saves its pictures to FOLDER (default: figures).
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

# %% [markdown]
# ## From counts to clusters: Scanpy as usual
# `ace.datasets.pbmc3k()` looks into the folder that ACE_DATA_DIR names, then asks Scanpy to download.

# %%
adata = ace.datasets.pbmc3k()
sc.pp.filter_cells(adata, min_genes=200)
sc.pp.filter_genes(adata, min_cells=3)
sc.pp.normalize_total(adata, target_sum=1e4)
sc.pp.log1p(adata)
sc.pp.highly_variable_genes(adata, n_top_genes=2000)
print(f"{adata.n_obs} cells, {adata.var['highly_variable'].sum()} highly variable genes of {adata.n_vars}")

# %% [markdown]
# ## Embed and cluster
# An autoencoder of ten dimensions, and k-means on it, written as a neural network. With labels of your own
# (Leiden, cell types) skip this: `ace.tl.explain(adata, "leiden")` is enough.

# %%
ace.tl.embed(adata, rng=0)
ace.tl.cluster(adata, n_clusters=8, rng=0)
print(adata.obs["ace_cluster"].value_counts().to_string())
if "louvain" in adata.obs:
    print(
        adata.obs.groupby("ace_cluster", observed=True)["louvain"].agg(lambda x: x.value_counts().index[0]).to_string()
    )

# %% [markdown]
# ## Explain
# For each cluster, the smallest change of the genes that moves its cells to every other cluster.

# %%
ace.tl.explain(adata, "ace_cluster")
for cluster in adata.obs["ace_cluster"].cat.categories:
    panel = ace.get.panel(adata, cluster, size=12)
    genes = [f"{'+' if up else '-'}{name}" for name, up in zip(panel["names"], panel["enriched"], strict=True)]
    print(f"cluster {cluster}: {'  '.join(genes)}")
axes = ace.pl.panel(adata, n_genes=10, show=False)
axes[0].figure.savefig(folder / "pbmc3k_panels.png", dpi=120)

# %% [markdown]
# ## One cell type against its neighbour
# CD4 against CD8 T cells: their panel is made of genes that CD8 T cells have and CD4 T cells lack (paper, section 5.2).

# %%
if "louvain" in adata.obs:
    typed = adata[adata.obs["louvain"].notna()].copy()
    ace.tl.explain(typed, "louvain", groups=["CD4 T cells"], reference="CD8 T cells", key_added="cd4_vs_cd8")
    panel = ace.get.panel(typed, "CD4 T cells", size=18, key="cd4_vs_cd8")
    print(panel.round(3).to_string())
    print(f"depleted: {(~panel['enriched']).sum()} of {len(panel)}")
    ax = plt.figure(figsize=(4, 5), layout="constrained").add_subplot()
    ace.pl.panel(typed, groups=["CD4 T cells"], n_genes=18, key="cd4_vs_cd8", ax=ax)
    ax.set_xlabel("score  (← depleted, enriched →)")
    ax.figure.savefig(folder / "pbmc3k_cd4_vs_cd8.png", dpi=120)
print(f"pictures saved to {folder}")
