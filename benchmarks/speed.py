"""Seconds per method on PBMC3k, one after the other in one process.

    python benchmarks/speed.py [--data DIR] [--out benchmarks/results]

2,638 cells, 1,838 genes, eight groups of `louvain`. Every method runs once on 300 cells first, so that imports and the
compilation of numba do not count. Methods with an encoder are timed from the matrix on, and without its training.
Processor time is beside it, because other work on the machine lengthens seconds but hardly that.
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
WHOLE, PROCESSOR = "seconds, end to end", "processor seconds"
STEP, RATIO = "seconds, ranking alone", "times Scanpy's Wilcoxon"


def measure(adata: AnnData) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row per method, and why some are missing."""
    for name in RANKINGS:
        rank(adata[:WARM_UP_CELLS].copy(), GROUPBY, [name])
    rows, missing = [], {}
    for name in RANKINGS:
        fresh = adata.copy()
        before = time.process_time()
        whole = rank(fresh, GROUPBY, [name])
        processor = time.process_time() - before
        if name in whole.missing:
            missing[name] = whole.missing[name]
            continue
        again = rank(fresh, GROUPBY, [name]).seconds[name] if name in WITH_ENCODER else float("nan")
        rows.append({"ranking": name, WHOLE: whole.seconds[name], PROCESSOR: processor, STEP: again})
        print(f"{name}: {whole.seconds[name]:.2f} s", flush=True)
    table = pd.DataFrame(rows)
    table[RATIO] = table[PROCESSOR] / table.loc[table["ranking"] == YARDSTICK, PROCESSOR].item()
    return table, missing


def draw(table: pd.DataFrame, path: Path) -> None:
    """Bars on a logarithmic axis, the fastest at the top; the ranking alone as a second, narrow bar."""
    ordered = table.sort_values(WHOLE, ascending=False)
    figure, ax = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
    seconds, steps = ordered[WHOLE], ordered[STEP]
    colors = ["black" if name == "ACE" else "0.72" for name in ordered["ranking"]]
    ax.barh(ordered["ranking"], seconds, color=colors, height=0.7)
    ax.barh(ordered["ranking"], steps.fillna(0.0), color=style("DESeq2")["color"], height=0.28)
    for y, value in enumerate(seconds):
        ax.text(value * 1.08, y, f"{value:.2g} s", va="center", fontsize="small")
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
