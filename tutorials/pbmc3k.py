# %% [markdown]
# # PBMC3k, from counts to panels
#
# The 2,700 blood cells of the standard Scanpy tutorial: from raw counts to clusters, to the panel of each cell type
# beside the markers that the tutorial names, and to the CD4 T cells of the ACE paper, whose panel is made of what
# they lack.
#
# `ace.datasets.pbmc3k()` looks into the folder that the environment variable ACE_DATA_DIR names, then asks Scanpy to
# download.

# %% tags=["script"]
"""As a script, `python tutorials/pbmc3k.py [FOLDER]`, it saves its pictures to FOLDER (default: figures)."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

sc.settings.autoshow = False
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## From counts to clusters: Scanpy as usual

# %%
import pandas as pd
import scanpy as sc

import ace_scanpy as ace

adata = ace.datasets.pbmc3k()
sc.pp.filter_cells(adata, min_genes=200)
sc.pp.filter_genes(adata, min_cells=3)
sc.pp.normalize_total(adata, target_sum=1e4)
sc.pp.log1p(adata)
sc.pp.highly_variable_genes(adata, n_top_genes=2000)
print(f"{adata.n_obs} cells, {adata.var['highly_variable'].sum()} highly variable genes of {adata.n_vars}")

# %% [markdown]
# ## Embed and cluster
# An autoencoder of ten dimensions, and k-means on it, written as a neural network. With labels of your own (Leiden,
# cell types) skip this: `ace.tl.explain(adata, "leiden")` is enough.

# %%
ace.tl.embed(adata, rng=0)
ace.tl.cluster(adata, n_clusters=8, rng=0)
print(adata.obs["ace_cluster"].value_counts().to_string())

# %% [markdown]
# `obs["louvain"]` holds the cell types that the Scanpy tutorial arrives at. Cells by cluster and type:

# %%
print(pd.crosstab(adata.obs["louvain"], adata.obs["ace_cluster"]).to_string())

# %% [markdown]
# Cells in the latent space: on the left by cluster, on the right by how sure the assignment is. Yellow cells lie well
# inside their cluster, dark ones between two.

# %%
ace.pl.embedding(adata, "ace_cluster")

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_embedding.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# ## Explain the clusters
# For each cluster, a small change of the genes that moves its cells to every other cluster. A plus means enriched, a
# minus depleted.

# %%
ace.tl.explain(adata, "ace_cluster")
for cluster in adata.obs["ace_cluster"].cat.categories:
    panel = ace.get.panel(adata, cluster, size=12)
    genes = [f"{'+' if up else '-'}{name}" for name, up in zip(panel["names"], panel["enriched"], strict=True)]
    print(f"cluster {cluster}: {'  '.join(genes)}")

# %%
ace.pl.panel(adata, n_genes=10)

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_panels.png", dpi=120)

# %% [markdown]
# ## Explain the cell types
# From here on the groups are the published cell types, so that names can be compared with what is known of them.

# %%
typed = adata[adata.obs["louvain"].notna()].copy()
ace.tl.explain(typed, "louvain")
print(ace.get.summary(typed, n_genes=4).round(2).to_string())

# %% [markdown]
# ### Beside the Scanpy tutorial's markers
# The tutorial names the types by these genes. For each: its place in the panel ranking of its type, and in Scanpy's
# Wilcoxon ranking of the same genes.

# %%
MARKERS = {
    "CD4 T cells": ["IL7R"],
    "CD14+ Monocytes": ["CD14", "LYZ"],
    "B cells": ["MS4A1"],
    "CD8 T cells": ["CD8A"],
    "NK cells": ["GNLY", "NKG7"],
    "FCGR3A+ Monocytes": ["FCGR3A", "MS4A7"],
    "Dendritic cells": ["FCER1A", "CST3"],
    "Megakaryocytes": ["PPBP"],
}
sc.tl.rank_genes_groups(
    typed, "louvain", method="wilcoxon", mask_var="highly_variable", use_raw=False, key_added="wilcoxon"
)
rows = []
for group, genes in MARKERS.items():
    ranked = ace.get.rank_genes_groups_df(typed, group).set_index("names")
    wilcoxon = sc.get.rank_genes_groups_df(typed, group, key="wilcoxon")["names"].tolist()
    for gene in genes:
        score = ranked.loc[gene, "scores"]
        place = ranked.index.get_loc(gene) + 1 if score else "no score"
        known = wilcoxon.index(gene) + 1 if gene in wilcoxon else "not variable"
        rows.append((group, gene, place, score, known))
print(pd.DataFrame(rows, columns=["group", "marker", "place in panel", "score", "place in Wilcoxon"]).to_string())

# %% [markdown]
# A marker without a score is not wrong: either it is not among the highly variable genes that the encoder reads, or
# the genes of the panel already tell the group from every other, and the marker would only repeat them.

# %%
ace.pl.panel(typed, n_genes=10)

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_types.png", dpi=120)

# %% [markdown]
# The same as a heatmap: a column is a gene, a row a cell type, red is enriched and blue depleted. A plus or minus
# marks a gene among the type's own top five. Read a column to see of which other types the gene says something.

# %%
ace.pl.importance(typed, n_genes=5)

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_importance.png", dpi=120)

# %% [markdown]
# How many genes are enough? A line is the share of a type's cells that the first genes of its ranking move, to
# whichever other type is the hardest to reach; the mark is where it passes 95 %, the `panel_size` of the summary above.
# A line is at 0 % as long as there is one type that no cell gets to.

# %%
ace.pl.flip_curve(typed)

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_flip_curve.png", dpi=120)

# %% [markdown]
# ## The CD4 T cells
# "Much of CD4's cell identity may be due to inhibition rather than activation of specific genes", says the paper
# (section 5.2), after finding 15 of the 18 top genes depleted. Here:

# %%
panel = ace.get.panel(typed, "CD4 T cells", size=18)
print(f"depleted: {(~panel['enriched']).sum()} of {len(panel)}")
highest = typed[:, panel["names"]].to_df().groupby(typed.obs["louvain"], observed=True).mean().idxmax()
print(panel.assign(highest_in=highest.to_numpy()).round(3).to_string())

# %% [markdown]
# `highest_in` says what each depleted gene is for: it is the gene that would have to go up to make a CD4 T cell look
# like that type.

# %% [markdown]
# ### Which gene tells them from which type?
# The panel is made of one contrast per other type, which are stored with it: how many genes each changes, by how much
# in all, and the share of the change that is of depleted genes, which go up.

# %%
pairs = ace.get.contrasts(typed, group="CD4 T cells").astype({"target": str})
pairs["change"] = pairs["delta"].abs()
pairs["depleted"] = pairs["scores"].clip(upper=0).abs()
by_type = pairs.groupby("target").agg(genes=("names", "size"), change=("change", "sum"), depleted=("depleted", "sum"))
print(by_type.sort_values("change").astype(float).round(2).to_string())
print("least change:", by_type["change"].idxmin())

# %% [markdown]
# The same as a picture: a row is another type, the one that costs the least change on top, and a column a gene; a minus
# marks the top genes of a row that are depleted in the CD4 T cells. Nearly all of it is blue, and most columns are
# there for one row.

# %%
ace.pl.contrast(typed, "CD4 T cells", n_genes=4)

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_cd4_contrasts.png", dpi=120)

# %%
top = pairs.groupby("target").head(4)
print(f"{(top['scores'] < 0).mean():.0%} of the marked genes are depleted")
print("marked for more than one type:", top["names"].value_counts().loc[lambda n: n > 1].to_dict())

# %% [markdown]
# ### Against the CD8 T cells
# Against all blood cells, most of the panel is spent on types that are easy to tell apart. Against the type that the
# least change leads to alone, it is not.

# %%
ace.tl.explain(typed, "louvain", groups=["CD4 T cells"], reference="CD8 T cells", key_added="cd4_vs_cd8")
panel = ace.get.panel(typed, "CD4 T cells", size=18, key="cd4_vs_cd8")
print(panel.round(3).to_string())
scored = panel[panel["scores"] != 0]
print(f"depleted: {(~panel['enriched']).sum()} of {len(panel)}; with a score: {len(scored)}")
print(f"of the paper's CCL5 and GZMK: {sorted({'CCL5', 'GZMK'} & set(scored['names']))}")

# %% [markdown]
# The genes with a score are those that a CD4 T cell has to switch on to be taken for a CD8 T cell; the others, with a
# score of exactly 0, are not needed for that.

# %%
ace.pl.panel(typed, groups=["CD4 T cells"], n_genes=18, key="cd4_vs_cd8")

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_cd4_vs_cd8.png", dpi=120)

# %% [markdown]
# The genes themselves in the two groups: the share of cells that express each, and a picture drawn by Scanpy through
# `ace.pl`. The left half of each violin is the CD4 T cells, the right half the CD8 T cells; points away from zero are
# the cells that express the gene.

# %%
expressed = (typed[:, scored["names"]].to_df() > 0).groupby(typed.obs["louvain"], observed=True).mean()
print(expressed.loc[["CD4 T cells", "CD8 T cells"]].T.round(2).to_string())

# %%
ace.pl.rank_genes_groups_violin(typed, ["CD4 T cells"], n_genes=6, key="cd4_vs_cd8")

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_cd4_vs_cd8_violin.png", dpi=120)

# %% [markdown]
# And what the change does to them: each gene in the CD4 T cells before and after it, and in the CD8 T cells. It is one
# change for all cells, so the hatched distributions are the first ones, moved; dots are the means. It may go beyond the
# mean of the target, up to 2.5 times the difference:

# %%
means = typed[:, scored["names"]].to_df().groupby(typed.obs["louvain"], observed=True).mean()
before, target = means.loc["CD4 T cells"], means.loc["CD8 T cells"]
change = scored.set_index("names")["delta"] * typed.var["ace_std"].reindex(scored["names"])
print(pd.DataFrame({"before": before, "after": before + change, "CD8 T cells": target}).round(2).to_string())
print(f"largest change, in differences of the means: {(change / (target - before)).max():.2f}")

# %%
ace.pl.perturbation(typed, "CD4 T cells", "CD8 T cells", n_genes=6, key="cd4_vs_cd8")

# %% tags=["script"]
plt.savefig(folder / "pbmc3k_perturbation.png", dpi=120)
print(f"pictures saved to {folder}")
