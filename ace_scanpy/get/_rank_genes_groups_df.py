"""A ranking as a tidy table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from .. import _keys, _rgg, _validate
from .._docs import document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@document
def rank_genes_groups_df(
    adata: AnnData, group: str | Sequence[str] | None = None, *, key: str = _keys.RANKING
) -> pd.DataFrame:
    """The ranking as a table, one row per group and gene, in order of importance.

    Parameters
    ----------
    %(adata)s
    group
        A group, several, or None for all.
    %(key)s

    Returns
    -------
    The columns of :func:`scanpy.get.rank_genes_groups_df` (`names`, `scores`, `logfoldchanges`, `pvals`, `pvals_adj`)
    and `enriched`, `delta` where the ranking has them; first a column `group` unless a single group is asked for.

    Raises
    ------
    KeyError
        When there is no such ranking.
    ValueError
        When a group has none.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["Dendritic"])
    >>> list(ace.get.rank_genes_groups_df(adata, "Dendritic").columns)
    ['names', 'scores', 'logfoldchanges', 'pvals', 'pvals_adj', 'enriched', 'delta']
    """
    entry = _rgg.read(adata, key)
    available = _rgg.group_names(entry)
    if group is not None and (isinstance(group, str) or not isinstance(group, Iterable)):
        return _rgg.table(entry, _validate.member("group", group, available))
    chosen = available if group is None else _validate.members("group", group, available)
    tables = {name: _rgg.table(entry, name) for name in chosen}
    tidy = pd.concat(tables, names=["group", None]).reset_index(level=0).reset_index(drop=True)
    tidy["group"] = pd.Categorical(tidy["group"], categories=chosen)
    return tidy
