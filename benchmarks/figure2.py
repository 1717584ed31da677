"""The paper's figure 2: which panels of the simulated sets keep the neighbours that all genes give a cell.

    python benchmarks/figure2.py [--quick] [--jobs 2] [--data DIR] [--out benchmarks/results]

The original SymSim sets 1 to 3, clean and complex, in two spaces: `log`, dependent genes summed from logarithms, as the
files have them in `X`; and `count`, summed from counts. Mean Jaccard distance (equation 9; k = 30, genes z-scored, each
cell with the genes of its own cluster) over 3 to 40 genes. On the complex sets the encoder of ACE, SmoothGrad and SHAP
has `batch_key`, as the paper's has; "ACE, no batch_key" has not. DESeq2 has the counts of the space; in the log space
dependent genes are none, and it has exp(X) - 1, rounded and at least 0. JSD has X clipped at 0 there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from _drawing import FAMILIES, curves
from _rankings import RANKINGS, rank, top
from _report import header, markdown, parse, parser, write
from joblib import Parallel, delayed
from sklearn.preprocessing import StandardScaler

import ace_scanpy as ace

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

SIZES = (3, 5, 8, 12, 16, 20, 25, 30, 40)
SETS = tuple((kind, seed, space) for kind in ("clean", "complex") for space in ("log", "count") for seed in (1, 2, 3))
QUICK_SETS = (("clean", 1, "log"), ("complex", 1, "log"))
QUICK_RANKINGS = ("ACE", "JSD", "GCE", "wilcoxon", "logreg", "COSG")
N_CAUSAL = 20
CAUSAL, NO_BATCH = "causal genes", "ACE, no batch_key"


def load(folder: Path, kind: str, seed: int, space: str) -> AnnData:
    """One set in one space, cells shuffled: the files are sorted by cluster, and ties would know it."""
    adata = ad.read_h5ad(folder / f"symsim_{kind}_{seed}.h5ad")
    adata = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    adata.obs["cluster"] = adata.obs["cluster"].astype(str).astype("category")
    if space == "count":
        adata.X = adata.layers["log1p_countspace"].copy()
    else:
        adata.layers["nonnegative"] = np.clip(adata.X, 0.0, None)
        adata.layers["counts"] = np.rint(np.expm1(adata.layers["nonnegative"]))
    return adata


def measure(folder: Path, kind: str, seed: int, space: str, names: tuple[str, ...]) -> list[dict[str, object]]:
    """One row per ranking and size, and one per ranking whose package is missing."""
    sc.settings.verbosity = 0
    adata = load(folder, kind, seed, space)
    batch_key = "batch" if kind == "complex" else None
    ace.tl.embed(adata, mask_var=None, batch_key=batch_key, rng=seed)
    ranked = rank(adata, "cluster", [name for name in names if name != NO_BATCH], seed)
    if batch_key is not None and NO_BATCH in names:
        plain = load(folder, kind, seed, space)
        ranked.rankings[NO_BATCH] = rank(plain, "cluster", ["ACE"], seed).rankings["ACE"]
    expression = StandardScaler().fit_transform(adata.X)
    neighbors = ace.metrics.nearest_neighbors(expression)
    cluster = adata.obs["cluster"].to_numpy()
    common = {"data": kind, "space": space, "seed": seed}
    rows: list[dict[str, object]] = [{**common, "ranking": n, "note": why} for n, why in ranked.missing.items()]
    for name, ranking in ranked.rankings.items():
        for size in SIZES:
            panels = top(ranking, size)
            if panels is not None:
                columns = {group: adata.var_names.get_indexer(genes) for group, genes in panels.items()}
                distance = ace.metrics.knn_jaccard(expression, columns, cluster, neighbors=neighbors)
                used = np.mean([len(genes) for genes in panels.values()])
                rows.append({**common, "ranking": name, "size": size, "used": used, "distance": distance})
    causal = np.flatnonzero(adata.var["kind"] == "causal")
    distance = ace.metrics.knn_jaccard(expression, causal, neighbors=neighbors)
    rows.append({**common, "ranking": CAUSAL, "size": N_CAUSAL, "used": float(N_CAUSAL), "distance": distance})
    return rows


def draw(table: pd.DataFrame, path: Path) -> None:
    """A row of axes per family of methods, a column per set; ACE and the causal genes in each."""
    columns = list(table[["data", "space"]].drop_duplicates().itertuples(index=False, name=None))
    figure, grid = plt.subplots(
        len(FAMILIES),
        len(columns),
        figsize=(3.3 * len(columns) + 1.6, 6.4),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for row, (family, names) in zip(grid, FAMILIES.items(), strict=True):
        for ax, (kind, space) in zip(row, columns, strict=True):
            part = table[(table["data"] == kind) & (table["space"] == space)]
            means = part.groupby(["ranking", "size"])["distance"].agg(["mean", "sem"]).reset_index()
            curves(ax, means, [*names, NO_BATCH, "ACE"], "size")
            causal = means.loc[means["ranking"] == CAUSAL, "mean"].item()
            ax.axhline(causal, color="0.35", linestyle="--", linewidth=1.2, label="20 causal genes")
            ax.set_title(f"{kind}, {space} space", fontsize="medium")
        row[0].set_ylabel("mean Jaccard distance\n(lower is better)")
        entries = {name: h for ax in row for h, name in zip(*ax.get_legend_handles_labels(), strict=True)}
        row[-1].legend(
            entries.values(),
            entries.keys(),
            title=family,
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            frameon=False,
            fontsize="small",
            handlelength=2.8,
        )
    for ax in grid[-1]:
        ax.set_xlabel("genes per cluster")
    figure.savefig(path, dpi=110)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over 3 to 40 genes and distance at 20, with the standard error over seeds, for each set and space."""
    columns = {}
    for (kind, space), part in table.groupby(["data", "space"], sort=False):
        whole = part.groupby("ranking").filter(lambda rows: rows["size"].nunique() in (1, len(SIZES)))
        over_sizes = whole[whole["ranking"] != CAUSAL].groupby(["ranking", "seed"])["distance"].mean()
        at_20 = part[part["size"] == N_CAUSAL].set_index(["ranking", "seed"])["distance"]
        for label, values in (("3-40", over_sizes), ("at 20", at_20)):
            found = values.groupby("ranking").agg(["mean", "sem"])
            columns[f"{kind} {space}, {label}"] = found
    order = [*RANKINGS, NO_BATCH, CAUSAL]
    rows = {name: {} for name in order if name in set(table["ranking"])}
    for label, found in columns.items():
        best = found.drop(index=CAUSAL, errors="ignore")["mean"].min()
        for name, row in rows.items():
            if name in found.index:
                mean, sem = found.loc[name]
                text = f"{mean:.3f}" + (f" ± {sem:.3f}" if np.isfinite(sem) else "")
                row[label] = f"**{text}**" if mean == best else text
            else:
                row[label] = ""
    return pd.DataFrame(rows).T.rename_axis("ranking").reset_index()


def short_lists(table: pd.DataFrame) -> list[str]:
    """Rankings that end before 40 genes, beside ACE at the sizes they reach."""
    lines = []
    for (kind, space), part in table[table["ranking"] != CAUSAL].groupby(["data", "space"], sort=False):
        for name, rows in part.groupby("ranking", sort=False):
            if rows["size"].max() < SIZES[-1]:
                here = part[(part["ranking"] == "ACE") & part["size"].isin(rows["size"])]["distance"].mean()
                lines.append(
                    f"- {name} names few genes; {kind}, {space} space, 3 to {rows['size'].max()} genes: "
                    f"{rows['distance'].mean():.3f}, ACE {here:.3f}"
                )
    return lines


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims (a) and (b), with the figures beside them."""
    rows = []
    six = list(FAMILIES["the paper's methods"])
    for (kind, space), part in table.groupby(["data", "space"], sort=False):
        means = part[part["ranking"].isin([*six, "ACE"])].groupby("ranking")["distance"].mean()
        by_size = part[part["ranking"] == "ACE"].groupby("size")["distance"].mean()
        causal = part.loc[part["ranking"] == CAUSAL, "distance"].mean()
        below = by_size.index[by_size <= causal]
        others = means.drop("ACE").sort_values()
        rows.append(
            {
                "set": f"{kind}, {space}",
                "ACE, 3-40": means["ACE"],
                "best of the six": others.iloc[0],
                "which": others.index[0],
                "ACE ranks": f"{int((means < means['ACE']).sum()) + 1} of {len(means)}",
                "ACE - SmoothGrad": means["ACE"] - means.get("SmoothGrad", np.nan),
                "ACE - SHAP": means["ACE"] - means.get("SHAP", np.nan),
                "causal genes": causal,
                "ACE at 20": by_size[N_CAUSAL],
                "ACE reaches them at": f"{below[0]} genes" if len(below) else "not by 40",
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--quick", action="store_true", help="seed 1, log space, the fast rankings")
    arguments.add_argument("--jobs", type=int, default=2)
    given = parse(arguments)
    start = time.perf_counter()
    sets, names = (QUICK_SETS, QUICK_RANKINGS) if given.quick else (SETS, (*RANKINGS, NO_BATCH))
    found = Parallel(n_jobs=given.jobs)(delayed(measure)(given.data, *chosen, names) for chosen in sets)
    table = pd.DataFrame([row for rows in found for row in rows])
    table.to_csv(given.out / "figure2.csv", index=False, float_format="%.5f")
    notes = table.loc[table["note"].notna(), ["ranking", "note"]].drop_duplicates() if "note" in table else None
    measured = table[table["distance"].notna()]
    draw(measured, given.out / "figure2.png")
    parts = [
        "# Figure 2: neighbours kept by the panels",
        header(
            "python benchmarks/figure2.py" + " --quick" * given.quick,
            f"{sorted({seed for _, seed, _ in sets})}, of the sets and of the methods",
            time.perf_counter() - start,
        ),
        "Mean Jaccard distance ± standard error over seeds, lower is better; the lowest of a column is bold.",
        markdown(summary(measured)),
        *(["\n".join(short_lists(measured))] if short_lists(measured) else []),
        "The paper's claims (a), clean, and (b), complex:",
        markdown(claims(measured)),
    ]
    if notes is not None:
        parts.append("\n".join(f"- {name}: {note}" for name, note in notes.itertuples(index=False)))
    write(given.out, "figure2", parts)


if __name__ == "__main__":
    main()
