"""Which ranking is better, on the user's own data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg
from sklearn.preprocessing import StandardScaler

from .. import _keys, _labels, _matrix, _rgg, _threads, _validate, metrics
from .._docs import document
from .._progress import bars
from ._network import FlipNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._labels import Labels
    from .._matrix import GeneMatrix

COLUMNS = ("key", "metric", "n_genes", "group", "fold", "value")
_Row = tuple[str, int, str, int | None, float]  # COLUMNS without the key


@document
@_threads.as_set()
def compare(
    adata: AnnData,
    groupby: str,
    *,
    keys: Sequence[str],
    n_genes: int | Sequence[int] = (5, 10, 20, 50, 100),
    layer: str | None = None,
    use_raw: bool = False,
    use_rep: str | None = _keys.REP,
    k: int = 30,
    min_cells: int = 50,
    max_cells: int = 5000,
    nested: bool = False,
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    r"""Measure several rankings of the same groups side by side: ACE's, Scanpy's, or any in that layout.

    Only the `names` of a ranking are read, in their stored order: to judge the genes of largest \|score\| of a Scanpy
    ranking, make it with ``rankby_abs=True``. A ranking of :func:`scanpy.tl.filter_rank_genes_groups` is judged without
    the genes it has blanked. `adata` is not changed.

    Parameters
    ----------
    %(adata)s
    groupby
        Column of `adata.obs` with the groups that were ranked. Cells without a label are left out.
    keys
        Entries of `adata.uns` to compare. Each must rank every group against the rest.
    n_genes
        Sizes of the panels: the top genes of each group's ranking.
    %(layer)s
    %(use_raw)s
        :func:`scanpy.tl.rank_genes_groups` ranks the genes of `raw` when there is one, unless told ``use_raw=False``.
    use_rep
        Embedding whose network, fitted to `groupby` by :func:`ace_scanpy.tl.explain`, judges the flips: that of
        `uns['rank_genes_groups']` or of the first other ranking of these labels. None to leave them out.
    k
        Neighbours per cell for the Jaccard distance.
    min_cells
        Groups with fewer judged cells have no AUROC. The paper uses 50.
    max_cells
        Larger data are judged on a random sample of about this many cells: in proportion to the groups, but
        `min_cells` of each that has as many. Time grows with the square.
    nested
        Search the C of the support-vector machine as the paper does (34 times slower), in place of C = 1.
    %(rng)s

    Returns
    -------
    One row per value, with the columns `key`, `metric`, `n_genes`, `group`, `fold` (test split; only for `auroc`) and
    `value`. All judge the panel of one group:

    `auroc`
        How well it tells the group from all other cells, held out (:func:`ace_scanpy.metrics.panel_auroc`).
    `knn_jaccard`
        How far the neighbours of the group's cells on the panel are from those on all genes of the matrix, z-scored
        (:func:`ace_scanpy.metrics.knn_jaccard`, equation 9); the mean over the group's cells.
    `abs_r`, `signed_r`
        Mean correlation between its genes over all cells, by size and as it is
        (:func:`ace_scanpy.metrics.redundancy`); not for a single gene.
    `flip_rate`
        Share of the group's cells that the network assigns to another group :math:`t` when each gene of the panel,
        and no other, changes by the difference of its means, :math:`\bar x_{ti}-\bar x_{si}`; the mean over all
        :math:`t` (:func:`ace_scanpy.metrics.flip_rate`). The change is the same for every ranking, and not ACE's
        :math:`\delta`, which no other ranking has; but the network is the one ACE explains, so here ACE is at an
        advantage. Genes that the network does not read move nothing.
    `shared`
        Share of its genes that another of the rankings has among its top `n_genes` too; not for a single key.

    Raises
    ------
    KeyError
        When a ranking, column, layer or embedding does not exist; available ones are listed.
    ValueError
        When a ranking is of other groups or another column, too short, or names genes that are not in the matrix; when
        the network was not fitted to these labels; for NaN, infinity or raw counts.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> for method in ("t-test", "wilcoxon"):  # of the genes of `adata.raw`, as Scanpy does by default
    ...     sc.tl.rank_genes_groups(adata, "louvain", method=method, key_added=method)
    >>> table = ace.tl.compare(
    ...     adata, "louvain", keys=["t-test", "wilcoxon"], n_genes=[5, 20], use_raw=True, use_rep=None
    ... )
    >>> means = table.groupby(["metric", "key", "n_genes"])["value"].mean()
    >>> bool(means["auroc", "wilcoxon", 20] > means["auroc", "wilcoxon", 5] > 0.5)
    True
    """
    labels = _labels.read(adata, groupby)
    sizes = sorted({_validate.whole_number("n_genes", size) for size in np.atleast_1d(n_genes).tolist()})
    if not sizes:
        msg = "`n_genes` must name at least one size. Got none."
        raise ValueError(msg)
    min_cells = _validate.whole_number("min_cells", min_cells, minimum=5)  # enough for nested threefold splits
    max_cells = _validate.whole_number("max_cells", max_cells, minimum=2)
    seed = _validate.seed(rng)
    matrix = _matrix.choose(adata, layer=layer, use_raw=use_raw)
    rankings = {key: _panels(adata, key, labels, matrix, sizes[-1]) for key in _distinct(keys)}
    cells = _sample(labels.codes, max_cells, min_cells, np.random.default_rng(seed))
    if _validate.whole_number("k", k) >= len(cells):
        msg = f"`k`={k} neighbours need at least {k + 1} cells. Got {len(cells)}."
        raise ValueError(msg)
    network = None if use_rep is None else FlipNetwork.load(adata, use_rep, labels, cells)
    start = logg.info(f"comparing {len(rankings)} rankings of obs[{groupby!r}] on {len(cells)} cells")
    judge = _Judge.on(matrix, cells, labels, k, min_cells, seed, nested=nested)
    rows: list[tuple[Any, ...]] = []
    with bars() as advance:
        for key, panels in rankings.items():
            for size in sizes:
                tops = {group: columns[:size] for group, columns in panels.items()}
                rows += [(key, *row) for row in judge.rows(size, tops, network)]
                advance("comparing", len(rankings) * len(sizes))
    if len(rankings) > 1:
        rows += _shared(rankings, sizes, labels)
    logg.info("    finished", time=start)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"fold": "Int64"})


@dataclass(frozen=True)
class _Judge:
    """The cells that every ranking is judged on.

    `expression` is z-scored, of shape `(n_cells, n_genes)`; `codes` are the groups of its rows and `neighbors` those
    on all genes.
    """

    expression: NDArray[np.float32]
    gene_names: pd.Index
    labels: Labels
    codes: NDArray[np.intp]
    neighbors: NDArray[np.intp]
    judged: frozenset[int]
    seed: int
    nested: bool

    @classmethod
    def on(
        cls,
        matrix: GeneMatrix,
        cells: NDArray[np.intp],
        labels: Labels,
        k: int,
        min_cells: int,
        seed: int,
        *,
        nested: bool,
    ) -> _Judge:
        """Read and z-score the cells, and find their neighbours on all genes."""
        _matrix.moments(matrix)  # refuses NaN, infinity and raw counts
        expression = StandardScaler(copy=False).fit_transform(matrix.dense(cells))
        codes = labels.codes[cells]
        n_cells = np.bincount(codes, minlength=labels.n_groups)
        judged = frozenset(np.flatnonzero((n_cells >= min_cells) & (len(cells) - n_cells >= min_cells)).tolist())
        small = [labels.names[g] for g in labels.display if g not in judged]
        if small:
            logg.warning(f"No AUROC for groups of fewer than {min_cells} cells, or without as many others: {small}.")
        neighbors = metrics.nearest_neighbors(expression, k=k)
        return cls(expression, matrix.var_names, labels, codes, neighbors, judged, seed, nested)

    def rows(self, size: int, panels: Mapping[int, NDArray[np.intp]], network: FlipNetwork | None) -> Iterator[_Row]:
        """All values of the panels of one ranking at one size."""
        k = self.neighbors.shape[1]
        distance = metrics.knn_jaccard_per_cell(self.expression, panels, self.codes, k=k, neighbors=self.neighbors)
        for group, columns in panels.items():
            name, in_group, top = self.labels.names[group], self.codes == group, self.expression[:, columns]
            if group in self.judged:
                areas = metrics.panel_auroc_per_split(top, in_group, nested=self.nested, rng=self.seed)
                yield from (("auroc", size, name, fold, float(area)) for fold, area in enumerate(areas))
            yield "knn_jaccard", size, name, None, float(distance[in_group].mean())
            if size > 1:
                yield "abs_r", size, name, None, metrics.redundancy(top)
                yield "signed_r", size, name, None, metrics.redundancy(top, signed=True)
            if network is not None:
                yield "flip_rate", size, name, None, network.flip_rate(group, self.gene_names[columns])


def _shared(
    rankings: Mapping[str, Mapping[int, NDArray[np.intp]]], sizes: Sequence[int], labels: Labels
) -> Iterator[tuple[Any, ...]]:
    """Share of each ranking's top genes that others have too."""
    for size in sizes:
        for group in labels.display:
            table = metrics.membership({key: panels[group].tolist() for key, panels in rankings.items()}, size)
            repeated = table[table.sum(axis=1) > 1].sum() / size
            yield from ((key, "shared", size, labels.names[group], None, float(repeated[key])) for key in rankings)


def _distinct(keys: Sequence[str]) -> list[str]:
    """The keys, checked."""
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        msg = f"`keys` must be a list of keys of `adata.uns`. Got {keys!r}; write [{keys!r}]."
        raise TypeError(msg)
    listed = list(keys)
    if not listed or len(set(listed)) < len(listed):
        msg = f"`keys` must name at least one ranking, and each once. Got {listed}."
        raise ValueError(msg)
    return listed


def _panels(adata: AnnData, key: str, labels: Labels, matrix: GeneMatrix, size: int) -> dict[int, NDArray[np.intp]]:
    """Columns of the top genes of every group, in the order of the categories; raises where they do not fit."""
    entry = _rgg.read(adata, key)
    ranked_by = entry["params"].get("groupby", labels.key)
    if ranked_by != labels.key:
        msg = f"The ranking {key!r} is of obs[{ranked_by!r}], but `groupby`={labels.key!r}. Compare within one column."
        raise ValueError(msg)
    groups, expected = _rgg.group_names(entry), [labels.names[g] for g in labels.display]
    if set(groups) != set(expected):
        msg = (
            f"The ranking {key!r} has the groups {_validate.listed(groups)}, but obs[{labels.key!r}] has "
            f"{_validate.listed(expected)}. Rank every group against the rest."
        )
        raise ValueError(msg)
    panels = {}
    for group in labels.display:
        name = labels.names[group]
        names = pd.Index(_rgg.table(entry, name)["names"]).dropna()  # blanked by sc.tl.filter_rank_genes_groups,
        names = names[(names != "nan") | names.isin(matrix.var_names)]  # and as text where pandas makes it so
        if len(names) < size:
            msg = (
                f"`n_genes` goes up to {size}, but the ranking {key!r} has {len(names)} genes for {name!r}. "
                "Ask for fewer, or rank again with a larger `n_genes`."
            )
            raise ValueError(msg)
        panels[group] = matrix.var_names.get_indexer(names[:size])
        lost = names[:size][panels[group] < 0]
        if len(lost):
            msg = (
                f"The ranking {key!r} names genes that are not in `{matrix.where}`: {_validate.listed(lost)}. "
                "Compare on the matrix that it was made from, for `adata.raw`, Scanpy's default, with `use_raw=True`; "
                "or rank again with `use_raw=False`."
            )
            raise ValueError(msg)
    return panels


def _sample(codes: NDArray[np.intp], max_cells: int, min_cells: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """About `max_cells` cells with a label, in random order, so that no tie is broken by how they were sorted."""
    cells = rng.permutation(np.flatnonzero(codes >= 0))
    if len(cells) <= max_cells:
        return cells
    groups = [cells[codes[cells] == group] for group in range(codes.max() + 1)]
    share = max_cells / len(cells)
    return rng.permutation(np.concatenate([g[: max(min_cells, round(share * len(g)))] for g in groups]))
