"""Panels of ACE against Scanpy's five DE rankings, COSG and NS-Forest: AUROC and redundancy, median over seeds.

    python benchmarks/panels.py [--seeds 5] [--only NAME] [--data DIR] [--out benchmarks/results]

Data come from `--data` or the environment variable ACE_DATA_DIR. One set of defaults serves all data sets.
NS-Forest names at most 15 genes of a group, and is judged at 5 where it names as many for every group.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _rankings import DE_RANKINGS, listed, rank, top
from _report import header, markdown, parse, parser, write

import ace_scanpy as ace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _rankings import Ranking
    from anndata import AnnData

SIZES = (5, 18, 54)
REDUNDANCY_SIZE = 18
FEWEST_CELLS = 50
RIVALS = (*DE_RANKINGS, "COSG", "NS-Forest")


def log_normalised(adata: AnnData, n_top_genes: int | None = None) -> AnnData:
    """Scanpy's usual two steps, and the most variable genes where asked for."""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if n_top_genes is not None:
        sc.pp.highly_variable_genes(adata, n_top_genes=n_top_genes)
        adata = adata[:, adata.var["highly_variable"]].copy()
    return adata


def pbmc68k() -> AnnData:
    """Scanpy's own small data set, log-normalised."""
    adata = sc.datasets.pbmc68k_reduced()
    plain = adata.raw.to_adata()
    plain.obs = adata.obs.copy()
    return plain


def datasets(folder: Path) -> Iterator[tuple[str, AnnData, str]]:
    """Name, data and label column of every data set."""
    yield "pbmc3k", ad.read_h5ad(folder / "pbmc3k_lognorm.h5ad"), "louvain"
    yield "pbmc68k_reduced louvain", pbmc68k(), "louvain"
    yield "pbmc68k_reduced bulk_labels", pbmc68k(), "bulk_labels"
    zeisel = ad.read_h5ad(folder / "zeisel_3types.h5ad")
    label = next(c for c in zeisel.obs if "type" in c or "label" in c)
    yield "zeisel", log_normalised(zeisel), label
    yield "celllines", log_normalised(ad.read_h5ad(folder / "celllines_2batch.h5ad"), 2000), "cell_type"
    for kind in ("clean", "complex"):
        for seed in (1, 2, 3):
            yield f"symsim {kind} {seed}", ad.read_h5ad(folder / f"symsim_{kind}_{seed}.h5ad"), "cluster"


def judge(adata: AnnData, groupby: str, ranking: Ranking) -> dict[str, float]:
    """Mean over groups of 50 cells or more: AUROC at each size, |r| and signed r of the top 18."""
    expression = adata.to_df()
    labels = adata.obs[groupby].astype(str).to_numpy()
    large = [group for group in ranking if (labels == group).sum() >= FEWEST_CELLS]
    found: dict[str, float] = {}
    for size in SIZES:
        panels = top(ranking, size)
        if panels is None:
            continue
        areas = [ace.metrics.panel_auroc(expression[panels[group]], labels == group) for group in large]
        found[f"auroc_{size}"] = float(np.mean(areas))
        if size == REDUNDANCY_SIZE:
            for name, signed in (("abs_r", False), ("signed_r", True)):
                each = [ace.metrics.redundancy(expression[panels[group]], signed=signed) for group in large]
                found[name] = float(np.mean(each))
    return found


def run(name: str, adata: AnnData, groupby: str, n_seeds: int) -> Iterator[dict[str, object]]:
    """One row per ranking, ACE once per seed."""
    adata.obs[groupby] = adata.obs[groupby].astype("category")
    adata.uns.pop("log1p", None)
    rivals = rank(adata, groupby, RIVALS)
    for rival, why in rivals.missing.items():
        print(f"{rival}: {why}", flush=True)
    for rival, ranking in rivals.rankings.items():
        seconds = rivals.seconds[rival]
        yield {"data": name, "ranking": rival, "seconds": seconds, **judge(adata, groupby, ranking)}
    for seed in range(n_seeds):
        fresh = adata.copy()
        start = time.perf_counter()
        ace.tl.explain(fresh, groupby, mask_var=None, rng=seed)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        ace.tl.explain(fresh, groupby, rng=seed)
        step = time.perf_counter() - start
        scores = judge(fresh, groupby, listed(fresh.uns["rank_genes_groups"]["names"]))
        yield {"data": name, "ranking": "ACE", "seed": seed, "seconds": seconds, "explain_seconds": step, **scores}


def beside_the_best(medians: pd.DataFrame) -> pd.DataFrame:
    """ACE and, at each size, the best of the rivals; bold where ACE is below it by more than rounding."""
    rows = []
    for name, part in medians.groupby("data", sort=False):
        found = part.set_index("ranking")
        row = {"data": name}
        for size in SIZES:
            areas = found[f"auroc_{size}"].dropna()
            rivals, mine = areas.drop("ACE"), f"{areas['ACE']:.4f}"
            behind = float(mine) < float(f"{rivals.max():.4f}")
            row[f"{size} genes"] = f"{f'**{mine}**' if behind else mine} / {rivals.max():.4f} {rivals.idxmax()}"
        mine, wilcoxon = found.loc["ACE", "abs_r"], found.loc["wilcoxon", "abs_r"]
        row[f"mean abs(r), {REDUNDANCY_SIZE} genes: ACE / Wilcoxon (ratio)"] = (
            f"{mine:.4f} / {wilcoxon:.4f} ({mine / wilcoxon:.2f})"
        )
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--only", help="only data sets whose name starts with this")
    given = parse(arguments)
    sc.settings.verbosity = 0
    start = time.perf_counter()
    chosen = (d for d in datasets(given.data) if d[0].startswith(given.only or ""))
    rows: list[dict[str, object]] = []
    for data in chosen:
        rows += run(*data, given.seeds)
        print(f"{data[0]} done after {time.perf_counter() - start:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(given.out / "panels.csv", index=False)
    columns = [*(f"auroc_{size}" for size in SIZES), "abs_r", "signed_r", "seconds", "explain_seconds"]
    medians = table.groupby(["data", "ranking"], sort=False)[columns].median().reset_index()
    seeds = f"ACE the median of 0 to {given.seeds - 1}"
    heading = header("python benchmarks/panels.py", seeds, time.perf_counter() - start)
    summary = markdown(beside_the_best(medians))
    write(
        given.out, "panels", ["# Panels", heading, "ACE / the best rival at that size.", summary, markdown(medians, 4)]
    )


if __name__ == "__main__":
    main()
