"""How many cells the training has to read: loss and panels against minibatches, cells shuffled and sorted by group.

    python benchmarks/cells_read.py [--cells 100000] [--data DIR] [--out benchmarks/results]

Cells are drawn from PBMC3k and their counts drawn again (Poisson); then at most 100, 500 or 2,000 minibatches of 256
are read and the groups explained. The loss is that of 1,024 cells held out, in units of the variance; panels are judged
on PBMC3k itself. Sorted by group is how files often are, and the worst case for a reader of neighbouring cells.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from unittest import mock

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from _report import header, markdown, parse, parser, write
from scipy import sparse

import ace_scanpy as ace

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

GROUPBY = "louvain"
MINIBATCHES = (100, 500, 2000)
BATCH_SIZE = 256
SIZES = (5, 18, 54)
ORDERS = ("shuffled", "sorted")
LOSS = "held-out loss"


def resampled(adata: AnnData, n_cells: int, order: str) -> AnnData:
    """Cells drawn with replacement, their counts drawn again, log-normalised; sparse throughout."""
    rng = np.random.default_rng(0)
    picked = rng.integers(adata.n_obs, size=n_cells)
    if order == "sorted":
        picked = picked[np.argsort(adata.obs[GROUPBY].cat.codes.to_numpy()[picked], kind="stable")]
    counts = sparse.csr_matrix(adata.layers["counts"], dtype=np.float32)[picked]
    counts.data = rng.poisson(counts.data).astype(np.float32)
    counts.eliminate_zeros()
    made = ad.AnnData(
        counts,
        obs=adata.obs.iloc[picked][[GROUPBY]].reset_index(drop=True).set_axis([f"cell{i}" for i in range(n_cells)]),
        var=adata.var[[]],
    )
    sc.pp.normalize_total(made, target_sum=2e3)
    sc.pp.log1p(made)
    return made


def measure(adata: AnnData, n_cells: int) -> pd.DataFrame:
    """One row per order of the cells and number of minibatches."""
    rows = []
    for order in ORDERS:
        many = resampled(adata, n_cells, order)
        for most in MINIBATCHES:
            with mock.patch("ace_scanpy.models._training._MOST_STEPS", most):
                ace.tl.embed(many, batch_size=BATCH_SIZE)
            ace.tl.explain(many, GROUPBY)
            loss = many.uns["ace"]["X_ace"]["loss"]
            adata.uns["found"] = many.uns["rank_genes_groups"]
            judged = ace.tl.compare(adata, GROUPBY, keys=["found"], n_genes=SIZES, use_rep=None)
            means = judged.groupby(["metric", "n_genes"])["value"].mean()
            rows.append(
                {
                    "cells": order,
                    "minibatches": int(loss["minibatches"][-1]),
                    "cells read": int(loss["minibatches"][-1]) * BATCH_SIZE,
                    LOSS: float(loss["held_out"][-1]),
                    "fidelity": float(
                        np.mean([many.uns["rank_genes_groups"]["fidelity"][g][0] for g in _groups(many)])
                    ),
                    **{f"AUROC, {size}": float(means["auroc", size]) for size in SIZES},
                    "abs(r), 18": float(means["abs_r", 18]),
                }
            )
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def _groups(adata: AnnData) -> tuple[str, ...]:
    return adata.uns["rank_genes_groups"]["names"].dtype.names


def draw(table: pd.DataFrame, path: Path) -> None:
    """Loss and AUROC against the number of cells read."""
    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.4), layout="constrained")
    for order, part in table.groupby("cells"):
        style = {"color": "black", "marker": "o", "linestyle": "-" if order == "shuffled" else ":", "label": order}
        axes[0].plot(part["cells read"], part[LOSS], **style)
        axes[1].plot(part["cells read"], part["AUROC, 18"], **style)
    for ax, name in zip(axes, (LOSS, "AUROC of 18 genes"), strict=True):
        ax.set(xscale="log", xlabel="cells read in training", ylabel=name)
        ax.spines[["right", "top"]].set_visible(False)
    axes[0].legend(title="cells in the matrix", frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--cells", type=int, default=100_000)
    given = parse(made)
    start = time.perf_counter()
    sc.settings.verbosity = 0
    adata = ad.read_h5ad(given.data / "pbmc3k_lognorm.h5ad")
    adata.raw = None
    table = measure(adata, given.cells)
    table.to_csv(given.out / "cells_read.csv", index=False, float_format="%.4f")
    draw(table, given.out / "cells_read.png")
    command = f"python benchmarks/cells_read.py --cells {given.cells}"
    write(
        given.out,
        "cells_read",
        ["# Cells read in training", header(command, "0", time.perf_counter() - start), markdown(table)],
    )


if __name__ == "__main__":
    main()
