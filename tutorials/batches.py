# %% [markdown]
# # Batches
#
# What a batch effect does to clusters and their panels, and what `batch_key` does about it. The cells are simulated,
# so that the truth is known: five clusters, two batches, and for each gene whether it makes the clusters.

# %% tags=["script"]
"""As a script, `python tutorials/batches.py [FOLDER]`, it saves its pictures to FOLDER (default: figures)."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

sc.settings.autoshow = False
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Data
# SymSim's model with strong batches: two batches of a gene differ by up to 6 in log2 (`batch_size=3`). Of the 220
# genes, 20 are *causal*, 100 *dependent* (sums of causal ones) and 100 *noise*: these do not differ between clusters,
# but, as all genes here, between batches. (Dependent genes are sums of logarithms and may be negative; a warning
# below says that such data have no fold changes.)

# %%
import pandas as pd
import scanpy as sc
from sklearn.metrics import adjusted_rand_score, silhouette_score

import ace_scanpy as ace

adata = ace.datasets.symsim("complex", batch_size=3.0, rng=1)
print(pd.crosstab(adata.obs["cluster"], adata.obs["batch"]).to_string())
letters = pd.Series(adata.var_names.str[0], index=adata.var_names, name="name begins with")
print(pd.crosstab(letters, adata.var["kind"]).to_string())

# %% [markdown]
# ## Two embeddings
# `batch_key` adds a penalty to the training of the embedding: the maximum mean discrepancy between batches in the
# latent space (equation 2). Both are kept, under names of their own.

# %%
ace.tl.embed(adata, key_added="X_plain")
ace.tl.embed(adata, batch_key="batch", key_added="X_corrected")
for rep in ("X_plain", "X_corrected"):
    by_batch = silhouette_score(adata.obsm[rep], adata.obs["batch"])
    by_cluster = silhouette_score(adata.obsm[rep], adata.obs["cluster"])
    print(f"{rep:<12} silhouette by batch {by_batch:5.2f}, by true cluster {by_cluster:5.2f}")

# %% [markdown]
# A silhouette near 0 by batch means that the batches are mixed.

# %% [markdown]
# ## Clusters of each
# The adjusted Rand index is 1 where clusters are the truth (or the batches), and near 0 where they have nothing to do
# with it.

# %%
for rep in ("X_plain", "X_corrected"):
    name = rep.replace("X_", "clusters_")
    ace.tl.cluster(adata, n_clusters=5, use_rep=rep, key_added=name)
    with_truth = adjusted_rand_score(adata.obs["cluster"], adata.obs[name])
    with_batch = adjusted_rand_score(adata.obs["batch"], adata.obs[name])
    print(f"{name:<19} agreement with the true clusters {with_truth:.2f}, with the batches {with_batch:.2f}")

# %% [markdown]
# ## Panels of each
# A noise gene in a panel tells batches apart, not clusters. How many of the top 20 genes of each cluster are of which
# kind:

# %%
for rep in ("X_plain", "X_corrected"):
    name, key = rep.replace("X_", "clusters_"), rep.replace("X_", "panels_")
    ace.tl.explain(adata, name, use_rep=rep, key_added=key)
    panels = {c: ace.get.panel(adata, c, size=20, key=key)["names"] for c in adata.obs[name].cat.categories}
    counts = pd.DataFrame({c: adata.var.loc[genes, "kind"].value_counts() for c, genes in panels.items()})
    print(f"{name}\n{counts.to_string()}\n")

# %% [markdown]
# Four of the panels of each. Look at the first letters of the names: `C` is a causal gene, `D` a dependent one, `N`
# noise.

# %%
ace.pl.panel(adata, groups=["0", "1", "2", "3"], n_genes=8, key="panels_plain")

# %% tags=["script"]
plt.savefig(folder / "batches_panels_plain.png", dpi=120)

# %%
ace.pl.panel(adata, groups=["0", "1", "2", "3"], n_genes=8, key="panels_corrected")

# %% tags=["script"]
plt.savefig(folder / "batches_panels_corrected.png", dpi=120)

# %% [markdown]
# ## With labels of your own
# Where labels do not follow the batches, as the *true* clusters do not, half of the work is done. Their panels on the
# plain embedding:

# %%
ace.tl.explain(adata, "cluster", use_rep="X_plain", key_added="panels_true")
tops = ace.get.rank_genes_groups_df(adata, key="panels_true").groupby("group", observed=True)["names"].head(20)
print(adata.var.loc[tops, "kind"].value_counts().to_string())

# %% [markdown]
# ## Seen
# Each point is a cell. On the plain embedding the colours of the batches lie apart; on the corrected one they overlap,
# while clusters stay apart.

# %%
for rep in ("X_plain", "X_corrected"):
    sc.pp.neighbors(adata, use_rep=rep, key_added=rep)
    sc.tl.umap(adata, neighbors_key=rep, key_added=rep.replace("X_", "umap_"))

# %%
sc.pl.embedding(adata, "umap_plain", color=["batch", "cluster"], title=["plain: batch", "plain: true cluster"])

# %% tags=["script"]
plt.savefig(folder / "batches_plain.png", dpi=120, bbox_inches="tight")

# %%
sc.pl.embedding(
    adata, "umap_corrected", color=["batch", "cluster"], title=["corrected: batch", "corrected: true cluster"]
)

# %% tags=["script"]
plt.savefig(folder / "batches_corrected.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# ## What `batch_key` cannot do
# Where a cluster exists in one batch only, batch and cluster are the same thing, and
# mixing the batches mixes the cluster with others. Look at a table of clusters by batches, as the first one on this
# page, before you trust either.

# %% tags=["script"]
print(f"pictures saved to {folder}")
