"""Panels of ACE through each kind of encoder: fidelity, AUROC and redundancy, median over seeds.

    python benchmarks/encoders.py [--quick] [--seeds 3] [--jobs 2] [--data DIR] [--out benchmarks/results]

PBMC3k with groups from Scanpy's standard workflow (PCA of log-normalised expression, neighbours, Leiden) and with
`louvain`, its published types; and the cell lines, which come in two batches, with `cell_type`. Harmony integrates the
batches of the cell lines; PBMC3k has one, so that it is given a random half of the cells as a batch, and has nothing to
correct. The autoencoder has `batch_key` on the cell lines, and scVI is set up with it. scVI is trained for 100 epochs
in place of its default, 400 for so few cells.

Only the autoencoder is fitted to the labels; the others are explained as they are. Seconds are those of the processor:
`embed` is what it takes to come from the counts or the PCA to an encoder (training of scVI, Harmony or UMAP included),
`explain` the ranking of all groups.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from _report import header, markdown, parse, parser, write
from joblib import Parallel, delayed
from panels import SIZES, judge, log_normalised

import ace_scanpy as ace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes

EPOCHS = 100
COLUMNS = ["fidelity", "r2", *(f"auroc_{size}" for size in SIZES), "abs_r", "embed_seconds", "explain_seconds"]


def pbmc3k(folder: Path, *, quick: bool) -> tuple[AnnData, tuple[str, ...], str | None]:
    """The data, the groupings to explain, and the column of batches."""
    adata = ad.read_h5ad(folder / "pbmc3k_lognorm.h5ad")
    adata.raw = None
    if quick:
        variance = pd.Series(adata.X.toarray().var(axis=0), index=adata.var_names)
        adata = adata[:600, adata.var_names.isin(variance.nlargest(200).index)].copy()
        sc.pp.pca(adata)
        return adata, ("louvain",), None
    sc.pp.pca(adata)
    sc.pp.neighbors(adata)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    return adata, ("leiden", "louvain"), None


def cell_lines(folder: Path, *, quick: bool) -> tuple[AnnData, tuple[str, ...], str | None]:  # noqa: ARG001
    """The same of the cell lines."""
    adata = ad.read_h5ad(folder / "celllines_2batch.h5ad")
    adata.layers["counts"] = adata.X.copy()
    adata = log_normalised(adata, 2000)
    adata.var = adata.var[[]]
    sc.pp.pca(adata)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
    return adata, ("cell_type",), "batch"


DATA = {"PBMC3k": pbmc3k, "cell lines": cell_lines}


def autoencoder(adata: AnnData, batch_key: str | None, seed: int, *, quick: bool) -> str:
    ace.tl.embed(adata, batch_key=batch_key, rng=seed, n_epochs=10 if quick else None)
    return "X_ace"


def pca(adata: AnnData, batch_key: str | None, seed: int, *, quick: bool) -> str:  # noqa: ARG001
    ace.tl.embed(adata, encoder="pca")
    return "X_pca"


def scvi(adata: AnnData, batch_key: str | None, seed: int, *, quick: bool) -> str:  # noqa: ARG001
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        import scvi as package

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        package.settings.seed = seed
        package.model.SCVI.setup_anndata(adata, layer="counts", batch_key=batch_key)
        model = package.model.SCVI(adata)
        model.train(EPOCHS, accelerator="cpu", enable_progress_bar=False, logger=False)
    ace.tl.embed(adata, encoder=model, key_added="X_scVI")
    return "X_scVI"


def harmony(adata: AnnData, batch_key: str | None, seed: int, *, quick: bool) -> str:
    from harmonypy import run_harmony

    if batch_key is None:
        batch_key = "half"
        adata.obs[batch_key] = np.random.default_rng(seed).integers(0, 2, adata.n_obs).astype(str)
    found = run_harmony(adata.obsm["X_pca"].astype(float), adata.obs, batch_key, verbose=False, random_state=seed)
    adata.obsm["X_harmony"] = found.Z_corr
    return distilled(adata, "X_harmony", seed, quick=quick)


def umap(adata: AnnData, batch_key: str | None, seed: int, *, quick: bool) -> str:  # noqa: ARG001
    sc.pp.neighbors(adata, random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    return distilled(adata, "X_umap", seed, quick=quick)


def distilled(adata: AnnData, use_rep: str, seed: int, *, quick: bool) -> str:
    ace.tl.embed(adata, encoder="distill", use_rep=use_rep, rng=seed, n_epochs=10 if quick else None)
    return f"{use_rep}_distilled"


ENCODERS: dict[str, Callable[..., str]] = {
    "autoencoder": autoencoder,
    "PCA": pca,
    "scVI": scvi,
    "Harmony, distilled": harmony,
    "UMAP, distilled": umap,
}
SLOW = ("scVI", "UMAP, distilled")


def measure(
    name: str, prepared: tuple[AnnData, tuple[str, ...], str | None], encoder: str, seed: int, *, quick: bool
) -> list[dict[str, object]]:
    """A row per grouping; where a package is missing, one that says so."""
    sc.settings.verbosity = 0
    source, groupings, batch_key = prepared
    adata = source.copy()
    start = time.process_time()
    try:
        use_rep = ENCODERS[encoder](adata, batch_key, seed, quick=quick)
    except ModuleNotFoundError as error:
        return [{"data": name, "groups": g, "encoder": encoder, "note": f"not installed ({error})"} for g in groupings]
    embed_seconds = time.process_time() - start
    rows = []
    for groupby in groupings:
        start = time.process_time()
        ace.tl.explain(adata, groupby, use_rep=use_rep, rng=seed)
        seconds = time.process_time() - start
        entry = adata.uns["rank_genes_groups"]
        groups = entry["names"].dtype.names
        sizes = [int(entry["n_cells"][group][0]) for group in groups]
        fidelity = np.average([entry["fidelity"][group][0] for group in groups], weights=sizes)
        row = {"data": name, "groups": groupby, "encoder": encoder, "seed": seed, "fidelity": float(fidelity)}
        row |= {"r2": adata.uns["ace"][use_rep].get("r2", np.nan), **judge(adata, groupby, entry["names"])}
        rows.append({**row, "embed_seconds": embed_seconds, "explain_seconds": seconds})
    return rows


def draw(medians: pd.DataFrame, path: Path) -> None:
    """AUROC against the number of genes, and |r| at 18 of them, one row per grouping."""
    parts = list(medians.groupby(["data", "groups"], sort=False))
    figure, axes = plt.subplots(len(parts), 2, figsize=(9, 2.7 * len(parts)), layout="constrained", squeeze=False)
    for (curves, bars), ((data, groups), part) in zip(axes, parts, strict=True):
        part = part[part["fidelity"].notna()]
        for i, row in enumerate(part.to_dict("records")):
            values = [row[f"auroc_{size}"] for size in SIZES]
            curves.plot(SIZES, values, marker="os^Dv"[i], color=f"C{i}", label=row["encoder"])
            bars.barh(i, row["abs_r"], color=f"C{i}")
            label = f"{row['encoder']}, fidelity {row['fidelity']:.3f}"
            bars.text(0.005, i, label, va="center", color="white", fontsize="small")
        curves.set(xscale="log", xticks=SIZES, xticklabels=SIZES, xlabel="genes", ylabel="AUROC")
        curves.minorticks_off()
        curves.set_title(f"{data}, {groups}", loc="left", fontsize="medium")
        bars.set(yticks=[], xlabel="mean |r| of the top 18")
        bars.invert_yaxis()
        for ax in (curves, bars):
            bare(ax)
    axes[0, 0].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


def bare(ax: Axes) -> None:
    ax.spines[["right", "top"]].set_visible(False)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--quick", action="store_true", help="600 cells and 200 genes of PBMC3k, no scVI, no UMAP")
    given = parse(arguments)
    sc.settings.verbosity = 0
    start = time.perf_counter()
    chosen, n_seeds = (["PBMC3k"], 1) if given.quick else (list(DATA), given.seeds)
    encoders = [name for name in ENCODERS if not (given.quick and name in SLOW)]
    prepared = {name: DATA[name](given.data, quick=given.quick) for name in chosen}
    in_turn = Parallel(n_jobs=given.jobs, batch_size=1, return_as="generator")
    found = in_turn(
        delayed(measure)(name, prepared[name], encoder, seed, quick=given.quick)
        for seed in range(n_seeds)
        for name in chosen
        for encoder in encoders
    )
    rows: list[dict[str, object]] = []
    for part in found:
        rows += part
        table = pd.DataFrame(rows).reindex(columns=["data", "groups", "encoder", "seed", "note", *COLUMNS])
        table.to_csv(given.out / "encoders.csv", index=False)
        print(f"{part[0]['data']}, {part[0]['encoder']} done after {time.perf_counter() - start:.0f} s", flush=True)
    medians = table.groupby(["data", "groups", "encoder"], sort=False)[COLUMNS].median().reset_index()
    medians = medians.sort_values(["data", "groups"], key=lambda c: c.map(order), kind="stable")
    draw(medians, given.out / "encoders.png")
    missing = table.loc[table["note"].notna(), ["encoder", "note"]].drop_duplicates()
    command = "python benchmarks/encoders.py" + " --quick" * given.quick
    packages = ("scvi-tools", "harmonypy", "umap-learn", "igraph")
    seeds = "0" if n_seeds == 1 else f"0 to {n_seeds - 1}, the median"
    heading = header(command, seeds, time.perf_counter() - start, packages)
    notes = "\n".join(f"- {row.encoder}: {row.note}" for row in missing.itertuples())
    write(given.out, "encoders", [heading, markdown(medians, 4), *([notes] if notes else [])])


def order(value: str) -> int:
    """Data sets and groupings as they come above."""
    return [*DATA, "leiden", "louvain", "cell_type"].index(value)


if __name__ == "__main__":
    main()
