"""One prototype per group against several, on a PCA: fidelity, panels and seconds, median over seeds.

    python benchmarks/prototypes.py [--seeds 3] [--data DIR] [--out benchmarks/results]

The embedding is Scanpy's PCA, so nothing is trained for the labels. Leiden is that of Scanpy's standard workflow
(igraph, two iterations); it needs the package `igraph`. Data come from `--data` or the environment variable
ACE_DATA_DIR.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _rankings import listed
from _report import header, markdown, parse, parser, write
from panels import SIZES, judge, log_normalised, pbmc68k

import ace_scanpy as ace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


def datasets(folder: Path) -> Iterator[tuple[str, AnnData, str]]:
    """Name, data with a PCA, and label column of every data set."""
    standard = log_normalised(ad.read_h5ad(folder / "pbmc3k_raw.h5ad"))
    sc.pp.highly_variable_genes(standard, n_top_genes=2000)
    published = ad.read_h5ad(folder / "pbmc3k_lognorm.h5ad")
    published.uns.pop("log1p", None)
    reduced = pbmc68k()
    del reduced.obsm, reduced.varm
    for adata in (standard, published, reduced):
        sc.pp.pca(adata)
    for adata in (standard, published):
        sc.pp.neighbors(adata)
        sc.tl.leiden(adata, flavor="igraph", n_iterations=2, random_state=0)
    yield "pbmc3k, standard workflow: leiden", standard, "leiden"
    yield "pbmc3k, the paper's matrix: leiden", published, "leiden"
    yield "pbmc3k, the paper's matrix: louvain", published, "louvain"
    yield "pbmc68k_reduced: bulk_labels", reduced, "bulk_labels"


def run(name: str, adata: AnnData, groupby: str, n_seeds: int) -> Iterator[dict[str, object]]:
    """A row per seed and choice."""
    adata.obs[groupby] = adata.obs[groupby].astype("category")
    for prototypes, wanted in (("one", 0.0), ("several", 0.98)):
        for seed in range(n_seeds):
            fresh = adata.copy()
            start = time.process_time()
            ace.tl.embed(fresh, encoder="pca")
            ace.tl.explain(fresh, groupby, use_rep="X_pca", min_fidelity=wanted, rng=seed)
            seconds = time.process_time() - start
            entry = fresh.uns["rank_genes_groups"]
            cells = entry["n_cells"].tolist()[0]
            yield {
                "data": name,
                "prototypes": prototypes,
                "seed": seed,
                "number": int(np.sum(entry["n_prototypes"].tolist()[0])),
                "fidelity": float(np.average(entry["fidelity"].tolist()[0], weights=cells)),
                "held_out": entry["params"]["held_out_fidelity"],
                **judge(fresh, groupby, listed(entry["names"])),
                "panel_size": float(np.mean(entry["panel_size"].tolist()[0])),
                "processor_seconds": seconds,
            }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=3)
    given = parse(arguments)
    sc.settings.verbosity = 0
    start = time.perf_counter()
    rows: list[dict[str, object]] = []
    for data in datasets(given.data):
        rows += run(*data, given.seeds)
        print(f"{data[0]} done after {time.perf_counter() - start:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(given.out / "prototypes.csv", index=False)
    auroc = [f"auroc_{size}" for size in SIZES]
    columns = ["number", "fidelity", "held_out", *auroc, "abs_r", "panel_size", "processor_seconds"]
    medians = table.groupby(["data", "prototypes"], sort=False)[columns].median().reset_index()
    heading = header(
        "python benchmarks/prototypes.py", f"median of 0 to {given.seeds - 1}", time.perf_counter() - start
    )
    write(given.out, "prototypes", [heading, markdown(medians, 4)])


if __name__ == "__main__":
    main()
