# %% [markdown]
# # Reading a panel
#
# A panel is read in five steps: may it be read at all, what is enriched and what is depleted, what each depleted gene
# is there for, which group is the closest neighbour, and how many genes are enough. The data ship inside Scanpy.

# %% tags=["script"]
"""As a script, `python tutorials/reading_panels.py [FOLDER]`, it saves its pictures to FOLDER (default: figures)."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

sc.settings.autoshow = False
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
folder.mkdir(parents=True, exist_ok=True)

# %%
import pandas as pd
import scanpy as sc

import ace_scanpy as ace

adata = sc.datasets.pbmc68k_reduced()
ace.tl.explain(adata, "bulk_labels", use_raw=True)

# %% [markdown]
# ## May it be read at all?
# A panel explains where a network puts the cells. It speaks of your labels as far as the network agrees with them.

# %%
summary = ace.get.summary(adata, n_genes=3)
print(summary.round(2).to_string())

# %% [markdown]
# - `fidelity`: share of the group's cells that the network assigns to it. Below .9 on average a warning says that the
#   panels explain the assignment and not the labels. The network is fitted to the labels, so a high fidelity does not
#   prove that the groups are real.
# - `flip_rate`: share of the sampled cells that the whole change moves. Where it is low, the panel is not the whole
#   story.
# - `n_cells`: a panel of a handful of cells is a panel of these cells.

# %%
print("fewer than 30 cells:", summary.index[summary["n_cells"] < 30].tolist())
print("fidelity below .9:  ", summary.index[summary["fidelity"] < 0.9].tolist())
print("flip rate below .9: ", summary.index[summary["flip_rate"] < 0.9].tolist())

# %% [markdown]
# ## Enriched and depleted
# The rest of this page reads the panel of one group.

# %%
group = "CD14+ Monocyte"
panel = ace.get.panel(adata, group)
n_up = int(panel["enriched"].sum())
print(f"{len(panel)} genes: {n_up} enriched, {len(panel) - n_up} depleted")
print(panel.head(12).round(3).to_string())

# %% [markdown]
# `scores` are positive for enriched genes, negative for depleted ones, and fall in size from the top. A score says
# how much the gene *adds* to the explanation once the genes above it are there; a gene with the same message as one
# above comes late. `delta` is the change itself, in standard deviations of the gene, the mean over all other groups:
# negative for a gene that has to go down.
#
# In the picture, bars to the right are enriched, hatched bars to the left depleted.

# %%
ace.pl.panel(adata, groups=[group], n_genes=15)

# %% tags=["script"]
plt.savefig(folder / "reading_panel.png", dpi=120)

# %% [markdown]
# Score, `delta` and fold change sum up the other groups in different ways. A fold change compares with all other
# cells together, `delta` is a plain mean, and the sign of a score is that of the larger share of the changes. Where
# the signs differ, the gene is of interest for some neighbours only:

# %%
agree = (panel["scores"] > 0) == (panel["logfoldchanges"] > 0)
print(f"sign of score and fold change agree for {agree.sum()} of {len(panel)} genes")
print(panel[~agree].head(5).round(3).to_string())

# %% [markdown]
# ## What a depleted gene is there for
# A depleted gene is one that another group has. The mean expression of each group says which.

# %%
means = adata.raw.to_adata().to_df().groupby(adata.obs["bulk_labels"], observed=True).mean()
lacking = panel.loc[~panel["enriched"], "names"].head(10)
found = {"mean here": means.loc[group, lacking], "highest": means[lacking].max(), "in": means[lacking].idxmax()}
print(pd.DataFrame(found).rename_axis("depleted").round(2).to_string())
higher = means[lacking].max() > means.loc[group, lacking]
print(f"another group has more of it: {higher.sum()} of {len(lacking)}")

# %% [markdown]
# ## The closest neighbour
# The panel against the rest is made of one contrast per other group, and they are stored with it. For each: how many
# genes change, by how much in all, how many cells that moves, and how far the other group is in the latent space.

# %%
pairs = ace.get.contrasts(adata, group=group).astype({"target": str})
pairs["change"] = pairs["delta"].abs()
contrasts = pairs.groupby("target").agg(
    genes=("names", "size"), change=("change", "sum"), flip_rate=("flip_rate", "first"), distance=("distance", "first")
)
print(contrasts.sort_values("change").astype(float).round(2).to_string())

# %% [markdown]
# The picture shows which genes lead where: a row per other group, the one that costs the least change on top, with `+`
# for enriched and `−` for depleted genes at the top of its contrast. A gene in one row only is there for one neighbour.

# %%
ace.pl.contrast(adata, group, n_genes=4)

# %% tags=["script"]
plt.savefig(folder / "reading_contrasts.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# The neighbour that the least change leads to, alone. (`reference="nearest"` does this for all groups in one call, but
# goes by the distance of the prototypes in the latent space: the two need not name the same group.)

# %%
neighbour = contrasts["change"].idxmin()
print("least change:", neighbour, "| least distance:", contrasts["distance"].idxmin())
ace.tl.explain(adata, "bulk_labels", use_raw=True, groups=[group], reference=neighbour, key_added="neighbour")
ace.pl.panel(adata, groups=[group], n_genes=15, key="neighbour")

# %% tags=["script"]
plt.savefig(folder / "reading_neighbour.png", dpi=120)

# %% [markdown]
# The change itself, in the units of the matrix: the group's cells before and after it, beside those of the neighbour.
# Dots are the means; the change is the same for all cells, and some may end below 0.

# %%
ace.pl.perturbation(adata, group, neighbour, n_genes=8)

# %% tags=["script"]
plt.savefig(folder / "reading_perturbation.png", dpi=120)

# %% [markdown]
# The panel of the neighbour has the genes that tell the group from it alone. Compare it with the first panel: genes
# that are only here are hidden there behind those that tell the group from everything else.

# %%
top, near = panel["names"].head(15), ace.get.panel(adata, group, size=15, key="neighbour")["names"]
print("in both:", sorted(set(top) & set(near)))
print("only against the neighbour:", sorted(set(near) - set(top)))

# %% [markdown]
# ## How many genes are enough?
# Three answers to three questions. To *move* 95 % of the cells to every other group with the change that was found:
# `panel_size`, the length of the panel above.

# %%
print(f"panel_size of {group}: {summary.loc[group, 'panel_size']}")

# %% [markdown]
# The share of cells that the first genes of the ranking move, to whichever group is the hardest to reach; the mark is
# where it passes 95 %, which is `panel_size`.

# %%
ace.pl.flip_curve(adata, groups=[group])

# %% tags=["script"]
plt.savefig(folder / "reading_flip_curve.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# To *explain* most of it: the share of the scores that the first genes have. Scores sum to one in size, so this is a
# share of the whole explanation.

# %%
ranked = ace.get.rank_genes_groups_df(adata, group)
for size in (5, 10, 20, 50, 100):
    print(f"{size:>3} genes: {ranked['scores'].abs().head(size).sum():.2f} of the explanation")

# %% [markdown]
# To *recognise* the cells: how well a classifier tells the group from the rest on these genes alone, on cells that it
# has not seen (AUROC), and how much the genes repeat each other. In the picture, look for the size from which a line
# is flat; bars are standard errors over groups.

# %%
table = ace.tl.compare(adata, "bulk_labels", keys=["rank_genes_groups"], n_genes=[2, 5, 10, 20, 50], use_raw=True)
auroc = table.query("metric == 'auroc' and group == @group").groupby("n_genes")["value"].mean()
print(auroc.round(3).to_string())

# %%
ace.pl.compare(table[table["metric"].isin(["auroc", "abs_r"])])

# %% tags=["script"]
plt.savefig(folder / "reading_sizes.png", dpi=120)
print(f"pictures saved to {folder}")

# %% [markdown]
# For an experiment with room for a few genes ask for that many, `ace.get.panel(adata, group, size=10)`: the ranking
# is the same, only cut earlier.
