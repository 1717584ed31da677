"""What it takes to lead single cells, such as those between clusters, to another group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg
from scipy import sparse

from .. import _commit, _devices, _keys, _labels, _matrix, _rgg, _tables, _threads, _validate, methods
from .._commit import Results
from .._docs import document
from .._explained import Explained
from .._progress import bars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._labels import Labels
    from .._matrix import GeneMatrix

_MOST_CELLS = 10_000
_METHOD = "ace"
_RANKING = "ranking"  # field that only records made here have


@document
@_threads.as_set()
def explain_cells(
    adata: AnnData,
    groupby: str,
    *,
    cells: object = None,
    reference: str = _rgg.NEAREST,
    key: str = _keys.RANKING,
    key_added: str = _keys.CELLS,
    device: str = "auto",
    copy: bool = False,
) -> AnnData | None:
    r"""Explain single cells: which genes would have to change for the cell to belong to another group.

    :func:`explain` finds one change for a group; here every cell has its own. It is for cells between clusters: what
    keeps them out of the group next to theirs? For each cell :math:`x`, assigned to group :math:`s` by the network
    that the ranking explains, and target :math:`t`

    .. math:: \min_\delta\;\lVert w\circ\delta\rVert_1 +\lambda\,\max(0,\ \alpha-2\,m_t(x+\delta)),
       \qquad x_\mathrm{min}\le x+\delta\le x_\mathrm{max}

    (equation 7 for each input by itself, as in section 5.3 of the paper), with the smallest :math:`\lambda` of a path
    from 0.1 to 1,000 that moves the cell. The bounds are the smallest and the largest value that the data show of each
    gene, so that no expression falls below zero. Weights and :math:`\alpha` are those of the ranking, adaptive weights
    from the means of the groups :math:`s` and :math:`t`. Nothing is random.

    Parameters
    ----------
    %(adata)s
    groupby
        The column of `adata.obs` that :func:`explain` was run on.
    cells
        Which cells: names, a boolean mask, or integer positions, as `adata[cells]` takes them. None for all, where
        they are 10,000 at most; more have to be named, because each takes some hundredths of a second. Cells without
        a label have an assignment like all others.
    reference
        Where to lead them: `"nearest"`, for each cell the group of its second largest logit :math:`m_c`; or a group,
        which means that group even if it is called so. The change of a cell that is assigned to it already is zero.
    key
        Entry of `adata.uns` with the ranking, by `method="ace"`, whose network is explained.
    key_added
        Layer for the changes.
    %(device)s
    %(copy)s

    Returns
    -------
    None, or the copy. Sets these fields, and replaces what an earlier call with the same `key_added` has set:

    `adata.layers[key_added]` : CSR, float32
        Change of each gene in the units of the matrix that the network reads, so that, with a ranking of `adata.X`,
        `adata.X + adata.layers[key_added]` are the changed cells. Zeros are exact, and not stored; rows of cells that
        were not asked for are empty.
    `adata.obs[f'{key_added}_target']` : category
        The group that the cell was to be led to; missing where it was not asked for.
    `adata.obs[f'{key_added}_flipped']` : bool
        Whether the network assigns the changed cell to that group.
    `adata.obs[f'{key_added}_n_genes']` : int64
        How many genes change.
    `adata.obs[f'{key_added}_size']` : float32
        Sum of the absolute changes in units of the genes' scales: how far the cell is from the other group. NaN for
        cells that were not asked for.
    `adata.uns['ace'][key_added]` : dict
        `groupby`, `reference` and `ranking`, the `key`.

    :func:`ace_scanpy.get.cells` lists the changes, a row per cell and gene. The same call gives the same bits. Among
    other cells a cell is rounded otherwise, and may end at another of several changes of nearly the same size.

    Raises
    ------
    KeyError
        For a column, ranking or cell that does not exist; available ones are listed.
    ValueError
        For a ranking of another column or by another method; cells or labels that have changed since; an unknown group;
        more than 10,000 cells without naming them; no cells; a layer of that name that was not made here; genes of
        `raw` that `adata` lacks.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels")
    >>> ace.tl.explain_cells(adata, "bulk_labels", cells=adata.obs_names[:3], reference="Dendritic")
    >>> bool(adata.obs["ace_delta_flipped"].head(3).all())
    True
    """
    _validate.writable(adata, copy=copy)
    entry = _ranking(adata, groupby, key)
    key_added = _free_layer(adata, key_added)
    chosen = _validate.cells(adata, "cells", cells)
    if cells is None and len(chosen) > _MOST_CELLS:
        msg = (
            f"`cells` is needed: `adata` has {len(chosen)} cells, and at most {_MOST_CELLS} are explained without "
            "naming them. Pass those of interest, or `cells=adata.obs_names` for all."
        )
        raise ValueError(msg)
    on = _devices.choose(device)
    network = Explained.load(adata, entry)
    columns = _columns(adata, network.matrix, key)
    target = _target(reference, network.labels)
    start = logg.info(f"explaining {len(chosen)} cells by the network of {key!r}, reference {reference!r}")
    genes = network.matrix.genes_alone
    sums = _matrix.group_sums(genes, network.labels.codes, network.labels.n_groups)
    encoder = network.encoder.to(on)
    means = encoder.standardize(torch.from_numpy(sums.totals / sums.n_cells[:, None]).to(encoder.mean))
    with bars() as advance:
        found = methods.explain_cells(
            encoder,
            network.clustering.to(on),
            network.matrix,
            chosen,
            means,
            _matrix.extremes(genes),
            target=target,
            weights=entry["params"]["weights"],
            alpha=float(entry["params"]["alpha"]),
            progress=advance,
        )
    adata = adata.copy() if copy else adata
    results = _results(adata, groupby, found, chosen, columns, network.labels, key_added)
    results.records[key_added] = {"groupby": groupby, "reference": str(reference), _RANKING: key}
    results.write(adata)
    logg.info(f"    {found.flipped.mean():.1%} of the cells reach their target")
    logg.info(
        "    finished",
        time=start,
        deep=f"added\n    {key_added!r} (adata.layers)\n    "
        + ", ".join(repr(_keys.of_cells(key_added, name)) for name in _keys.PER_CELL)
        + " (adata.obs)",
    )
    return adata if copy else None


def _ranking(adata: AnnData, groupby: object, key: str) -> Mapping[str, Any]:
    """The ranking whose network is explained; raises where it is of another column or has no perturbation."""
    column = _validate.obs_key(adata, "groupby", groupby)
    if key not in adata.uns:
        msg = f"`key`={key!r} not found in `adata.uns`. Run `ace.tl.explain(adata, {column!r})` first."
        raise KeyError(msg)
    entry = _rgg.read(adata, key)
    found = {name: entry["params"].get(name) for name in ("groupby", "method")}
    if found != {"groupby": column, "method": _METHOD}:
        msg = (
            f"`uns[{key!r}]` is a ranking of groupby={found['groupby']!r} by method={found['method']!r}, not of "
            f"{column!r} by {_METHOD!r}. Name another `key`, or run `ace.tl.explain(adata, {column!r}, key_added=...)` "
            "first."
        )
        raise ValueError(msg)
    return entry


def _free_layer(adata: AnnData, key_added: object) -> str:
    """`key_added` if changes may be stored under it; raises where it would replace what was not made here."""
    key = _validate.uns_key("key_added", key_added, _keys.RESERVED_RECORDS)
    stored = _commit.record(adata, key)
    if (key in adata.layers or stored is not None) and _RANKING not in (stored or {}):
        where = "adata.layers" if key in adata.layers else "adata.uns['ace']"
        msg = f"`key_added`={key!r} is in `{where}` and was not made by `ace.tl.explain_cells`. Choose another key."
        raise ValueError(msg)
    return key


def _columns(adata: AnnData, matrix: GeneMatrix, key: str) -> NDArray[np.intp]:
    """Where the genes of the network are in `adata`; raises where one is not, as those of `raw` may be."""
    _validate.unique_genes(adata.var_names, "adata.var_names")
    columns = adata.var_names.get_indexer(matrix.gene_names)
    if (columns < 0).any():
        lost = matrix.gene_names[columns < 0]
        msg = (
            f"{len(lost)} genes that the network of `uns[{key!r}]` reads are in `adata.raw` alone, and a layer holds "
            f"those of `adata`: {_validate.listed(lost)}. Explain with `use_raw=False`, or a `mask_var` without them."
        )
        raise ValueError(msg)
    return columns


def _target(reference: object, labels: Labels) -> int | None:
    """The group to lead all cells to; None for the nearest of each, unless a group is called so."""
    if reference == _rgg.NEAREST and _rgg.NEAREST not in labels.names:
        return None
    return labels.group("reference", reference)


def _results(
    adata: AnnData,
    groupby: str,
    found: methods.CellChanges,
    cells: NDArray[np.intp],
    columns: NDArray[np.intp],
    labels: Labels,
    key_added: str,
) -> Results:
    """From the cells and genes that were read to all cells and genes of `adata`."""
    results = Results()
    change = found.change.tocoo()
    everywhere = (change.data, (cells[change.row], columns[change.col]))
    results.add("layers", key_added, sparse.csr_matrix(everywhere, shape=adata.shape))
    target = np.full(adata.n_obs, None, dtype=object)
    target[cells] = [labels.categories[group] for group in found.target]
    categories = _labels.as_categorical(_tables.column(adata.obs, groupby)).categories
    per_cell = {
        "target": pd.Categorical(target, categories=categories),
        "flipped": _spread(found.flipped, cells, np.zeros(adata.n_obs, dtype=bool)),
        "n_genes": _spread(found.change.getnnz(axis=1), cells, np.zeros(adata.n_obs, dtype=np.int64)),
        "size": _spread(found.size, cells, np.full(adata.n_obs, np.nan, dtype=np.float32)),
    }
    for name, values in per_cell.items():
        results.add("obs", _keys.of_cells(key_added, name), values)
    return results


def _spread(values: NDArray[Any], cells: NDArray[np.intp], everywhere: NDArray[Any]) -> NDArray[Any]:
    """`everywhere` with the values of some cells put in."""
    everywhere[cells] = values
    return everywhere
