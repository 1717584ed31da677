"""Seconds per method on PBMC3k, one after the other in one process.

    python benchmarks/speed.py [--data DIR] [--out benchmarks/results]

2,638 cells, 1,838 genes, eight groups of `louvain`. Every method runs once on 300 cells first, so that imports and the
compilation of numba do not count. Methods with an encoder are timed from the matrix on, and without its training.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import pandas as pd
import scanpy as sc
from _drawing import style
from _rankings import RANKINGS, WITH_ENCODER, rank
from _report import header, markdown, parse, parser, write

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

GROUPBY = "louvain"
YARDSTICK = "wilcoxon"
WARM_UP_CELLS = 300
WHOLE, STEP, RATIO = "seconds, end to end", "seconds, ranking alone", "times Scanpy's Wilcoxon"


def measure(adata: AnnData) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row per method, and why some are missing."""
    for name in RANKINGS:
        rank(adata[:WARM_UP_CELLS].copy(), GROUPBY, [name])
    rows, missing = [], {}
    for name in RANKINGS:
        fresh = adata.copy()
        whole = rank(fresh, GROUPBY, [name])
        if name in whole.missing:
            missing[name] = whole.missing[name]
            continue
        again = rank(fresh, GROUPBY, [name]).seconds[name] if name in WITH_ENCODER else float("nan")
        rows.append({"ranking": name, WHOLE: whole.seconds[name], STEP: again})
        print(f"{name}: {whole.seconds[name]:.2f} s", flush=True)
    table = pd.DataFrame(rows)
    table[RATIO] = table[WHOLE] / table.loc[table["ranking"] == YARDSTICK, WHOLE].item()
    return table, missing


def draw(table: pd.DataFrame, path: Path) -> None:
    """Bars on a logarithmic axis, the fastest at the top; the ranking alone as a second, narrow bar."""
    ordered = table.sort_values(WHOLE, ascending=False)
    figure, ax = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
    colors = ["black" if name == "ACE" else "0.72" for name in ordered["ranking"]]
    ax.barh(ordered["ranking"], ordered[WHOLE], color=colors, height=0.7)
    ax.barh(ordered["ranking"], ordered[STEP].fillna(0.0), color=style("DESeq2")["color"], height=0.28)
    for y, row in enumerate(ordered.itertuples(index=False)):
        ax.text(row[1] * 1.08, y, f"{row[1]:.2g} s", va="center", fontsize="small")
    ax.set_xscale("log")
    ax.set_xlabel("seconds on PBMC3k (orange: without training the encoder)")
    ax.spines[["right", "top"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    given = parse(parser(__doc__))
    start = time.perf_counter()
    sc.settings.verbosity = 0
    adata = ad.read_h5ad(given.data / "pbmc3k_lognorm.h5ad")
    adata.raw = None
    table, missing = measure(adata)
    table.to_csv(given.out / "speed.csv", index=False, float_format="%.4f")
    draw(table, given.out / "speed.png")
    parts = [
        "# Speed on PBMC3k",
        header("python benchmarks/speed.py", "0", time.perf_counter() - start),
        markdown(table.sort_values(WHOLE), 2),
        *(f"- {name}: {why}" for name, why in missing.items()),
    ]
    write(given.out, "speed", parts)


if __name__ == "__main__":
    main()
