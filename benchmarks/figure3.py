"""The paper's figure 3 on PBMC3k: how well the top genes tell a group from the rest, how much they repeat each other.

    python benchmarks/figure3.py [--full] [--quick] [--jobs 2] [--data DIR] [--out benchmarks/results]

Groups of 50 cells or more, of ACE's k-means as in the paper (eight clusters of its embedding) and of `louvain`. AUROC
of an RBF support-vector machine with C = 1 at twelve sizes from 1 to 100 % of the genes, and with the paper's nested
search of C for its seven methods at 1 and 3 %, or for all at every size with `--full`; signed and absolute correlation
at the same sizes; and the top 1 % of the CD4 T cells: what ACE's genes share with the other methods', and which of them
are depleted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from _drawing import FAMILIES, curves
from _rankings import PAPER, RANKINGS, Ranked, rank, top
from _report import header, markdown, parse, parser, write
from joblib import Parallel, delayed
from matplotlib.ticker import FixedLocator, NullLocator

import ace_scanpy as ace

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PERCENT = (1, 2, 3, 4, 5, 7, 10, 14, 20, 30, 50, 100)
NESTED = (1, 3)
FEWEST_CELLS = 50
N_CLUSTERS = 8
KMEANS, LOUVAIN = "ace_cluster", "louvain"
TYPE = "CD4 T cells"
UNIQUE_IN_PAPER = ("CCL5", "GZMK", "SPOCD1", "SNRNP27")
SEEDS_OF_TOP = (0, 1, 2, 3, 4)
QUICK_PERCENT = (2, 6)
QUICK_RANKINGS = ("ACE", "JSD", "wilcoxon", "COSG")
QUICK_CELLS, QUICK_GENES = 1000, 300


@dataclass(frozen=True)
class Task:
    """One panel to be judged for one group; equal panels of several rankings are one task."""

    grouping: str
    group: str
    columns: tuple[int, ...]
    nested: bool


def load(folder: Path, *, quick: bool) -> AnnData:
    """The matrix of the paper's section 5.2; or a part of it that is judged in seconds."""
    adata = ad.read_h5ad(folder / "pbmc3k_lognorm.h5ad")
    adata.raw = None
    if quick:
        variable = np.argsort(-adata.X.toarray().var(axis=0))
        adata = adata[:QUICK_CELLS, np.sort(variable[:QUICK_GENES])].copy()
    return adata


def size_of(percent: int, n_genes: int) -> int:
    """Genes in the top `percent`, at least the two that a correlation needs."""
    return max(2, round(percent * n_genes / 100))


def rank_groups(adata: AnnData, grouping: str, names: tuple[str, ...]) -> Ranked:
    """All rankings of one grouping, through the encoder that `adata` brings."""
    sc.settings.verbosity = 0
    return rank(adata.copy(), grouping, names)  # joblib hands over memory that Scanpy may not write to


def judge(expression: NDArray[np.float32], task: Task, in_group: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUROC of each test split."""
    return ace.metrics.panel_auroc_per_split(expression[:, task.columns], in_group, nested=task.nested)


def correlate(expression: NDArray[np.float32], columns: tuple[int, ...]) -> tuple[float, float]:
    """Mean |r| and mean r of a panel."""
    top_genes = expression[:, columns]
    return ace.metrics.redundancy(top_genes), ace.metrics.redundancy(top_genes, signed=True)


def measure(
    adata: AnnData, ranked: dict[str, Ranked], percent: tuple[int, ...], nested: set[tuple[str, int]], jobs: int
) -> pd.DataFrame:
    """One row per grouping, ranking, group, share of the genes and measure; AUROC also per test split.

    `nested` are the rankings and shares of the genes for which C is searched too.
    """
    wanted = []
    for grouping, found in ranked.items():
        cells = adata.obs[grouping].value_counts()
        for name, ranking in found.rankings.items():
            for share in percent:
                size = size_of(share, adata.n_vars)
                panels = top(ranking, size)
                for group, genes in (panels or {}).items():
                    if cells[group] >= FEWEST_CELLS:
                        columns = tuple(np.sort(adata.var_names.get_indexer(genes)).tolist())
                        wanted += [
                            (name, share, size, Task(grouping, group, columns, searched))
                            for searched in {False, (name, share) in nested}
                        ]
    expression = adata.X.toarray()
    tasks = sorted({w[3] for w in wanted}, key=lambda t: -len(t.columns) * (34 if t.nested else 1))
    panels = sorted({t.columns for t in tasks}, key=len, reverse=True)
    members = {(t.grouping, t.group): (adata.obs[t.grouping] == t.group).to_numpy() for t in tasks}
    print(f"{len(tasks)} panels to judge", flush=True)
    in_turn = Parallel(n_jobs=jobs, batch_size=1, return_as="generator")
    judged = in_turn(delayed(judge)(expression, task, members[task.grouping, task.group]) for task in tasks)
    areas = {}
    for task, found in zip(tasks, judged, strict=True):
        areas[task] = found
        if len(areas) % 100 == 0:
            print(f"{len(areas)} panels judged", flush=True)
    correlated = Parallel(n_jobs=jobs)(delayed(correlate)(expression, panel) for panel in panels)
    correlations = dict(zip(panels, correlated, strict=True))
    rows: list[dict[str, object]] = []
    for name, share, size, task in wanted:
        common = {"grouping": task.grouping, "ranking": name, "group": task.group, "percent": share, "size": size}
        common["used"] = len(task.columns)
        metric = "auroc nested" if task.nested else "auroc"
        rows += [{**common, "metric": metric, "fold": f, "value": v} for f, v in enumerate(areas[task])]
        if not task.nested:
            absolute, signed = correlations[task.columns]
            rows += [
                {**common, "metric": "abs_r", "value": absolute},
                {**common, "metric": "signed_r", "value": signed},
            ]
    return pd.DataFrame(rows)


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over groups, for AUROC over groups and test splits, as in the paper."""
    by = ["grouping", "metric", "ranking", "percent"]
    return table.groupby(by, sort=False)["value"].agg(["mean", "sem"]).reset_index()


def cluster_of(adata: AnnData, cell_type: str) -> str:
    """The cluster of k-means that holds most cells of a type."""
    return str(pd.crosstab(adata.obs[KMEANS], adata.obs[LOUVAIN])[cell_type].idxmax())


def explain_again(adata: AnnData, grouping: str, group: str, seed: int) -> pd.DataFrame:
    """ACE's top 1 % of one group through an encoder of another seed; the groups stay as they are."""
    sc.settings.verbosity = 0
    fresh = adata.copy()
    fresh.uns.pop("ace", None)
    ace.tl.explain(fresh, grouping, groups=[group], mask_var=None, rng=seed)
    return ace.get.panel(fresh, group, size=size_of(1, adata.n_vars))


def top_genes(
    adata: AnnData, ranked: dict[str, Ranked], seeds: tuple[int, ...], jobs: int
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The top 1 % of the CD4 T cells: what ACE shares with the paper's other six, over seeds of its encoder.

    Also which method has which gene, for the first seed.
    """
    size = size_of(1, adata.n_vars)
    groups = {grouping: TYPE if grouping == LOUVAIN else cluster_of(adata, TYPE) for grouping in ranked}
    asked = [(grouping, seed) for grouping in ranked for seed in seeds]
    panels = Parallel(n_jobs=jobs)(delayed(explain_again)(adata, g, groups[g], seed) for g, seed in asked)
    rows, members = [], {}
    for (grouping, seed), genes in zip(asked, panels, strict=True):
        rankings = {n: r[groups[grouping]] for n, r in ranked[grouping].rankings.items() if n in PAPER}
        table = ace.metrics.membership({**rankings, "ACE": genes["names"].tolist()}, size)
        mine = table[table["ACE"]]
        signed = [gene if up else f"-{gene}" for gene, up in zip(genes["names"], genes["enriched"], strict=True)]
        rows.append(
            {
                "groups": grouping,
                "seed": seed,
                "depleted": int((~genes["enriched"]).sum()),
                "shared with another": int((mine.sum(axis=1) > 1).sum()),
                "of": size,
                "in all methods": int(table.all(axis=1).sum()),
                "only ACE's": " ".join(mine.index[mine.sum(axis=1) == 1]) or "none",
                "of the paper's four": ", ".join(g for g in UNIQUE_IN_PAPER if g in mine.index) or "none",
                "genes (- depleted)": " ".join(signed),
            }
        )
        if grouping not in members:
            enriched = genes.set_index("names")["enriched"]
            members[grouping] = mine.assign(depleted=~enriched.reindex(mine.index))
    return pd.DataFrame(rows), members


def draw(table: pd.DataFrame, members: dict[str, pd.DataFrame], path: Path) -> None:
    """AUROC and redundancy by family of methods, and who shares ACE's top genes."""
    means = averaged(table)
    groupings = list(dict.fromkeys(table["grouping"]))
    shown = [(g, m) for m in ("auroc", "abs_r") for g in groupings]
    figure = plt.figure(figsize=(17.5, 11.5), layout="constrained")
    rows = figure.subfigures(2, 1, height_ratios=[2.6, 1.0])
    grid = rows[0].subplots(len(FAMILIES), len(shown), sharex=True, sharey="col", squeeze=False)
    for row, (family, names) in zip(grid, FAMILIES.items(), strict=True):
        for ax, (grouping, metric) in zip(row, shown, strict=True):
            part = means[(means["grouping"] == grouping) & (means["metric"] == metric)]
            curves(ax, part, [*names, "ACE"], "percent")
            _percent_axis(ax, sorted(table["percent"].unique()))
            title = {"auroc": "AUROC (higher is better)", "abs_r": "mean |r| (lower is better)"}[metric]
            ax.set_title(f"{title}\n{'ACE k-means' if grouping == KMEANS else grouping}", fontsize="medium")
        for ax in row[: len(groupings)]:
            lowest = means.loc[means["metric"] == "auroc", "mean"].min()
            ax.set_ylim(lowest - 0.01, 1.001)
        handles, labels = row[0].get_legend_handles_labels()
        row[-1].legend(handles, labels, title=family, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    for ax in grid[-1]:
        ax.set_xlabel("% of the genes")
    for ax, (grouping, found) in zip(rows[1].subplots(1, len(members), squeeze=False)[0], members.items(), strict=True):
        _membership(ax, found, f"{TYPE}, {'ACE k-means' if grouping == KMEANS else grouping}")
    figure.savefig(path, dpi=90)


def _percent_axis(ax: Axes, percent: list[int]) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator([p for p in percent if p in {1, 2, 3, 5, 10, 20, 50, 100}]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")


def _membership(ax: Axes, mine: pd.DataFrame, title: str) -> None:
    """ACE's top genes against the methods that have them at the top too; depleted genes in a colour of their own."""
    methods = [name for name in PAPER if name in mine]
    for y, name in enumerate(methods):
        held = mine[name].to_numpy(dtype=bool)
        colors = np.where(mine["depleted"], "#0072B2", "#D55E00")
        ax.scatter(np.arange(len(mine)), np.full(len(mine), y), s=16, color="0.88")
        ax.scatter(np.flatnonzero(held), np.full(held.sum(), y), s=55, color=colors[held])
    ax.set_yticks(range(len(methods)), methods)
    ax.invert_yaxis()
    ax.set_xticks(range(len(mine)), list(mine.index), rotation=60, ha="right", rotation_mode="anchor")
    for label, depleted in zip(ax.get_xticklabels(), mine["depleted"], strict=True):
        label.set_color("#0072B2" if depleted else "#D55E00")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title(f"{title}: ACE's top {len(mine)} (orange enriched, blue depleted)", fontsize="medium")


def summary(table: pd.DataFrame, grouping: str, percent: tuple[int, ...]) -> pd.DataFrame:
    """AUROC and redundancy of each ranking at small sizes."""
    means = averaged(table[table["grouping"] == grouping])
    columns = {
        f"{label} {share} %": means[(means["metric"] == metric) & (means["percent"] == share)].set_index("ranking")[
            "mean"
        ]
        for metric, label in (("auroc", "AUROC"), ("auroc nested", "nested"), ("abs_r", "|r|"), ("signed_r", "r"))
        for share in percent
    }
    found = pd.DataFrame(columns).dropna(axis="columns", how="all")
    used = table[table["percent"].isin(percent)].groupby("ranking")["used"].max()
    found["most genes used"] = used.reindex(found.index)
    return found.reindex([n for n in RANKINGS if n in found.index]).rename_axis("ranking").reset_index()


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's claims (c) and (d): ACE's place among the seven methods at small sizes."""
    means = averaged(table[table["ranking"].isin(PAPER) & (table["percent"] <= 3)])
    rows = []
    for (grouping, metric, share), part in means.groupby(["grouping", "metric", "percent"], sort=False):
        values = part.set_index("ranking")["mean"].sort_values(ascending=not metric.startswith("auroc"))
        place = list(values.index).index("ACE")
        rows.append(
            {
                "groups": grouping,
                "measure": metric,
                "% of genes": share,
                "ACE": values["ACE"],
                "place": f"{place + 1} of {len(values)}",
                "better": ", ".join(f"{n} {v:.3f}" for n, v in values.iloc[:place].items()) or "none",
                "next": ", ".join(f"{n} {v:.3f}" for n, v in values.iloc[place + 1 : place + 2].items()),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--full", action="store_true", help="search C at every size")
    arguments.add_argument("--quick", action="store_true", help="1,000 cells, 300 genes, two sizes, the fast rankings")
    arguments.add_argument("--jobs", type=int, default=2)
    given = parse(arguments)
    start = time.perf_counter()
    sc.settings.verbosity = 0
    adata = load(given.data, quick=given.quick)
    percent = QUICK_PERCENT if given.quick else PERCENT
    ace.tl.embed(adata, mask_var=None)
    ace.tl.cluster(adata, n_clusters=N_CLUSTERS, key_added=KMEANS)
    names = QUICK_RANKINGS if given.quick else tuple(RANKINGS)
    groupings = (KMEANS, LOUVAIN)
    found = Parallel(n_jobs=given.jobs)(delayed(rank_groups)(adata, grouping, names) for grouping in groupings)
    ranked = dict(zip(groupings, found, strict=True))
    print(f"ranked after {time.perf_counter() - start:.0f} s", flush=True)
    top_table, members = top_genes(adata, ranked, SEEDS_OF_TOP[:1] if given.quick else SEEDS_OF_TOP, given.jobs)
    top_table.to_csv(given.out / "figure3_cd4.csv", index=False)
    print(f"top genes after {time.perf_counter() - start:.0f} s", flush=True)
    searched = {(name, share) for name in PAPER for share in NESTED}
    if given.full or given.quick:
        searched = {(name, share) for name in names if given.full for share in percent}
    table = measure(adata, ranked, percent, searched, given.jobs)
    table.to_csv(given.out / "figure3.csv", index=False, float_format="%.5f")
    draw(table, members, given.out / "figure3.png")
    flags = " --full" * given.full + " --quick" * given.quick
    small = percent if given.quick else (1, 3)
    clusters = pd.crosstab(adata.obs[KMEANS], adata.obs[LOUVAIN])
    parts = [
        "# Figure 3: PBMC3k",
        header(
            f"python benchmarks/figure3.py{flags}", "0; of the CD4 table in its column", time.perf_counter() - start
        ),
        *(
            f"Groups of `{g}`, mean over groups of {FEWEST_CELLS} cells or more:\n\n"
            + markdown(summary(table, g, small), 4)
            for g in groupings
        ),
        "The paper's claims (c), AUROC, and (d), redundancy (`signed_r` is its measure), among its seven methods:",
        markdown(claims(table), 4),
        f"The paper's claim (e): the top {size_of(1, adata.n_vars)} of the {TYPE} (k-means: cluster "
        f"{cluster_of(adata, TYPE)}):",
        markdown(top_table),
        "Cells of the clusters by type:\n\n" + markdown(clusters.reset_index()),
        *(f"- {name} ({g}): {why}" for g, r in ranked.items() for name, why in r.missing.items()),
    ]
    write(given.out, "figure3", parts)


if __name__ == "__main__":
    main()
