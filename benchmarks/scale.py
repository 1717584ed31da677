"""Seconds and memory against cells, genes and groups: ACE, Scanpy's PCA and tests, illico, COSG and gradient SHAP.

    python benchmarks/scale.py [--most 1000000] [--only SIZE ...] [--quick] [--data DIR] [--out DIR]

PBMC3k resampled: each cell is a real one whose counts are drawn again (Poisson, at .8 of its depth), then normalised to
10,000 and log1p. Eight groups are those of `louvain`; 30 and 200 are k-means on the principal components of the real
cells, so that many overlap. Genes are the 1,838 of PBMC3k, or the most counted of the raw data; beyond those 13,714,
genes of shuffled cells fill up. Each step runs in a process of its own, after a warm-up on 200 cells, so that imports
and the compilation of numba do not count; memory is the highest resident size above that before the step. One thread.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from _memory import peak, reset_peak, resident
from _rankings import RANKINGS
from _report import header, markdown, parse, parser, write
from _resampled import resample
from _subgradient import against_the_original
from panels import SIZES as PANEL_SIZES
from panels import judge

import ace_scanpy as ace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anndata import AnnData

SIZES = (
    (2_638, 1_838, 8),
    (10_000, 1_838, 8),
    (100_000, 1_838, 8),
    (1_000_000, 1_838, 8),
    (10_000, 2_000, 30),
    (10_000, 2_000, 200),
    (2_000, 1_838, 8),
    (2_000, 20_000, 8),
    (2_000, 20_000, 30),
)
ORIGINAL = 2_000, 1_838, 5_000  # cells, genes, steps
QUICK_ORIGINAL = 300, 60, 20
QUICK_SIZES = ((300, 60, 3), (300, 60, 5))
WARM_UP_CELLS = 200
GROUPBY = "group"
SIZE, MEASURED = ["cells", "genes", "groups"], ["seconds", "processor", "MiB"]
EMBED, FIT, EXPLAIN, SHAP = "ACE embed", "ACE explain, first", "ACE explain", "gradient SHAP"


def _pca(adata: AnnData) -> None:
    sc.pp.pca(adata)


def _embed(adata: AnnData) -> None:
    ace.tl.embed(adata)


def _explain(adata: AnnData) -> None:
    ace.tl.explain(adata, GROUPBY)


def _ranked(name: str) -> Callable[[AnnData], None]:
    def run(adata: AnnData) -> None:
        RANKINGS[name](adata, GROUPBY, 0)

    return run


STEPS: dict[str, Callable[[AnnData], None]] = {
    "PCA": _pca,
    "t-test": _ranked("t-test"),
    "Wilcoxon": _ranked("wilcoxon"),
    "illico": _ranked("illico"),
    "COSG": _ranked("COSG"),
    EMBED: _embed,
    FIT: _explain,
    EXPLAIN: _explain,
    SHAP: _ranked("SHAP"),
}
NEEDS_EMBEDDING = (FIT, EXPLAIN, SHAP)


def measure(step: str, adata: AnnData) -> dict[str, Any]:
    """Seconds, processor seconds and MiB of one step."""
    reset_peak()
    before, start, processor = resident(), time.perf_counter(), time.process_time()
    STEPS[step](adata)
    return {
        "step": step,
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - processor,
        "MiB": max(peak() - before, 0.0),
    }


def run_step(step: str, path: Path) -> dict[str, Any]:
    """One step on the data in a folder; what ACE learns stays there for the steps after it."""
    adata, learnt = ad.read_h5ad(path / "data.h5ad"), path / "learnt.pickle"
    small = adata[np.linspace(0, adata.n_obs - 1, WARM_UP_CELLS).astype(int)].copy()
    small.obs[GROUPBY] = pd.Categorical(np.where(np.arange(len(small)) % 2, "a", "b"))
    if step in NEEDS_EMBEDDING:
        ace.tl.embed(small, n_epochs=1)
        kept = pickle.loads(learnt.read_bytes())
        adata.uns["ace"], adata.obsm["X_ace"] = kept["uns"], kept["obsm"]
    STEPS[step](small)
    row = measure(step, adata)
    if "ace" in adata.uns:
        learnt.write_bytes(pickle.dumps({"uns": adata.uns["ace"], "obsm": adata.obsm["X_ace"]}))
    if step == EXPLAIN:
        entry = adata.uns["rank_genes_groups"]
        names = entry["names"]
        row["top"] = {group: names[group][: PANEL_SIZES[-1]].tolist() for group in names.dtype.names}
        row["flip_rate"] = float(np.mean([entry["flip_rate"][group][0] for group in names.dtype.names]))
    return row


def in_a_process(step: str, path: Path) -> dict[str, Any]:
    """The same in a process of its own, or why it failed."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"step": step, "note": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table_of(
    sizes: Iterable[tuple[int, int, int]],
    steps: Iterable[str],
    data: Path,
    run: Callable[[str, Path], dict[str, Any]],
) -> pd.DataFrame:
    """One row per size and step."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            resample(data, *size).write_h5ad(Path(folder) / "data.h5ad")
            for step in steps:
                row = {**dict(zip(SIZE, size, strict=True)), **run(step, Path(folder))}
                rows.append(row)
                figures = (f"{row[name]:.2f} {name}" for name in MEASURED if name in row)
                print(*size, step, *figures, row.get("note", ""), flush=True)
    return pd.DataFrame(rows, columns=[*SIZE, "step", *MEASURED, "top", "flip_rate", "note"])


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """ACE beside its rivals, in processor seconds, one row per size."""
    wide = table.pivot_table(index=SIZE, columns="step", values="processor", sort=False).reindex(columns=list(STEPS))
    return pd.DataFrame(
        {
            "(embed + first explain) / (PCA + Wilcoxon)": (wide[EMBED] + wide[FIT]) / (wide["PCA"] + wide["Wilcoxon"]),
            "explain / Wilcoxon": wide[EXPLAIN] / wide["Wilcoxon"],
            "explain / illico": wide[EXPLAIN] / wide["illico"],
            "SHAP / explain": wide[SHAP] / wide[EXPLAIN],
        }
    ).reset_index()


def quality(table: pd.DataFrame, data: Path) -> pd.DataFrame:
    """How good the panels of each number of cells are on the real cells."""
    real = ad.read_h5ad(data / "pbmc3k_lognorm.h5ad")
    rows = []
    explained = table[(table["groups"] == 8) & (table["genes"] == real.n_vars)].dropna(subset="top")
    for row in explained.itertuples():
        rows.append({"cells": row.cells, **judge(real, "louvain", row.top)})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Processor seconds against cells, genes and groups."""
    figure, axes = plt.subplots(1, 3, figsize=(12.0, 4.2), layout="constrained", sharey=True)
    fixed = {"cells": {"genes": 1_838, "groups": 8}, "genes": {"cells": 2_000, "groups": 8}, "groups": {"genes": 2_000}}
    steps = list(STEPS)
    for ax, (axis, others) in zip(axes, fixed.items(), strict=True):
        part = table
        if (table[list(others)] == pd.Series(others)).all(axis=1).any():
            part = table[(table[list(others)] == pd.Series(others)).all(axis=1)]
        for step in steps:
            found = part[part["step"] == step].sort_values(axis)
            ours = step.startswith("ACE")
            style = {"color": "black", "linestyle": ("-", "--", ":")[(EXPLAIN, FIT, EMBED).index(step)]} if ours else {}
            ax.plot(found[axis], found["processor"], marker="o", markersize=4, label=step, **style)
        ax.set(xscale="log", yscale="log", xlabel=", ".join([axis, *(f"{v:,} {k}" for k, v in others.items())]))
        ax.spines[["right", "top"]].set_visible(False)
    axes[0].set_ylabel("processor seconds")
    axes[-1].legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--most", type=int, default=SIZES[3][0], help="no size with more cells than this")
    arguments.add_argument("--only", nargs="+", metavar="SIZE", help="these sizes alone, such as 10000x2000x200")
    arguments.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="these steps alone")
    arguments.add_argument("--quick", action="store_true", help="two tiny sizes, in one process")
    arguments.add_argument("--jobs", type=int, default=1, help=argparse.SUPPRESS)  # as its neighbours have
    arguments.add_argument("--step", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parse(arguments)
    sc.settings.verbosity = 0
    if given.step is not None:
        print(json.dumps(run_step(given.step, given.folder)))
        return
    start = time.perf_counter()
    sizes = QUICK_SIZES if given.quick else [size for size in SIZES if size[0] <= given.most]
    if given.only is not None:
        sizes = [tuple(int(part) for part in size.split("x")) for size in given.only]
    table = table_of(sizes, given.steps, given.data, run_step if given.quick else in_a_process)
    *size, steps = QUICK_ORIGINAL if given.quick else ORIGINAL
    original = against_the_original(given.data, *size, steps)
    judged = quality(table, given.data)
    table.drop(columns="top").to_csv(given.out / "scale.csv", index=False, float_format="%.4f")
    draw(table, given.out / "scale.png")
    notes = [f"- {row.step}: {row.note}" for row in table.itertuples() if isinstance(row.note, str)]
    parts = [
        "# Cost against cells, genes and groups",
        header("python benchmarks/scale.py", "0", time.perf_counter() - start),
        markdown(table[[*SIZE, "step", *MEASURED]], 2),
        *notes,
        markdown(ratios(table), 2),
        f"ACE's solver beside {steps:,} subgradient steps, on the same contrasts:",
        markdown(original, 2),
        *(["Panels found on resampled cells, judged on the real ones:", markdown(judged, 4)] if len(judged) else []),
    ]
    write(given.out, "scale", parts)


if __name__ == "__main__":
    main()
