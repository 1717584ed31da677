# %% [markdown]
# # Comparing methods
#
# Is the panel better than what you have? Ask your own data. `ace.tl.explain(method=...)` has the six methods that the
# paper compares ACE with, `ace.tl.compare` measures any of them, and Scanpy's rankings, side by side, and
# `ace.pl.compare` draws it.

# %% tags=["script"]
"""As a script, `python tutorials/comparing_methods.py [FOLDER]`, it saves its pictures to FOLDER (default: figures)."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

sc.settings.autoshow = False
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Five rankings of the same groups
# Each under a key of its own. All read the same matrix, `raw`, as Scanpy's function does by default. The methods
# named `"smoothgrad"`, `"shap"` and `"deseq2"` need `pip install "ace_scanpy[methods]"`.

# %%
import scanpy as sc

import ace_scanpy as ace

adata = sc.datasets.pbmc68k_reduced()
ace.tl.explain(adata, "bulk_labels", use_raw=True, key_added="panels")
for method in ("jsd", "smoothgrad"):
    ace.tl.explain(adata, "bulk_labels", use_raw=True, method=method, key_added=method)
sc.tl.rank_genes_groups(adata, "bulk_labels", method="wilcoxon", key_added="wilcoxon")
sc.tl.rank_genes_groups(adata, "bulk_labels", method="logreg", max_iter=1000, key_added="logreg")
keys = ["panels", "wilcoxon", "logreg", "jsd", "smoothgrad"]

# %% [markdown]
# ## Measured
# One row per value; here the means over the groups.

# %%
table = ace.tl.compare(adata, "bulk_labels", keys=keys, n_genes=[5, 10, 20, 50], use_raw=True)
means = table.groupby(["metric", "key", "n_genes"])["value"].mean().unstack("n_genes")
for metric in ("auroc", "knn_jaccard", "abs_r", "flip_rate", "shared"):
    print(f"{metric}\n{means.loc[metric].round(3).to_string()}\n")

# %% [markdown]
# - `auroc`: how well the genes tell the group from the rest, on held-out cells. Higher is better.
# - `knn_jaccard`: how far the neighbours of the cells on these genes are from those on all genes (equation 9 of the
#   paper). Lower is better.
# - `abs_r`: how much the genes repeat each other. Lower is better, but genes that say nothing do not repeat each
#   other either: never read it without the AUROC.
# - `flip_rate`: how many cells change group in the network that ACE explains when these genes take another group's
#   mean. ACE plays at home there.
# - `shared`: how many of the genes another of the rankings has too. Neither end of it is better.
#
# Who is best, by measure and size:

# %%
for metric, best in (("auroc", "idxmax"), ("knn_jaccard", "idxmin"), ("abs_r", "idxmin"), ("flip_rate", "idxmax")):
    print(f"{metric:<12}", getattr(means.loc[metric], best)().to_dict())

# %% [markdown]
# Where more than one name stands in these lines, no ranking is best at everything. On other data the names may be
# others; that is why there is a function and not a claim.
#
# The same as curves. Compare lines at the number of genes that you can afford; bars are standard errors over groups,
# and the same groups are behind every line.

# %%
ace.pl.compare(table)

# %% tags=["script"]
plt.savefig(folder / "comparing_curves.png", dpi=120)

# %% [markdown]
# ## The same genes?
# An UpSet plot: a column is a combination of rankings (filled dots), its bar the number of genes that exactly these
# have in their top 18. The columns with a single dot are genes that only one ranking names. It is drawn by Marsilea:
# `pip install "ace_scanpy[plots]"`.

# %%
ace.pl.overlap(adata, "CD19+ B", keys=keys, n_genes=18)

# %% tags=["script"]
plt.savefig(folder / "comparing_overlap.png", dpi=120, bbox_inches="tight")

# %%
rankings = {key: sc.get.rank_genes_groups_df(adata, "CD19+ B", key=key)["names"].tolist() for key in keys}
shared = ace.metrics.membership(rankings, 18)
print("in all five:", shared.index[shared.all(axis=1)].tolist())
print("in the panel alone:", shared.index[shared["panels"] & (shared.sum(axis=1) == 1)].tolist())

# %% [markdown]
# ## Where the truth is known
# Simulated cells (SymSim) with 20 genes that cause the clusters, 100 that are sums of these, and 100 that say
# nothing. Of the top 10 genes of each cluster, how many are of which kind, the mean over clusters:

# %%
simulated = ace.datasets.symsim("clean", rng=1)
ace.tl.explain(simulated, "cluster", key_added="panels")
ace.tl.explain(simulated, "cluster", method="deseq2", counts_layer="counts", key_added="deseq2")
ace.tl.explain(simulated, "cluster", method="smoothgrad", key_added="smoothgrad")
sc.tl.rank_genes_groups(simulated, "cluster", method="wilcoxon", rankby_abs=True, key_added="wilcoxon |score|")
for key in ("panels", "deseq2", "smoothgrad", "wilcoxon |score|"):
    tops = sc.get.rank_genes_groups_df(simulated, None, key=key).groupby("group", observed=True)["names"].head(10)
    share = simulated.var.loc[tops, "kind"].value_counts() / simulated.obs["cluster"].nunique()
    print(f"{key:<17}", share.round(1).to_dict())

# %% [markdown]
# The measurements behind the paper's figures, on more data and with more rivals, are under
# [Benchmarks](../benchmarks.md).

# %% tags=["script"]
print(f"pictures saved to {folder}")
