"""The shortest list of genes that moves a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from .. import _keys, _rgg, _validate
from .._docs import document

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@document
def panel(adata: AnnData, group: str, *, size: int | None = None, key: str = _keys.RANKING) -> pd.DataFrame:
    """The gene panel of one group: enough genes to move its cells to every other group, and no more.

    Parameters
    ----------
    %(adata)s
    group
        The group.
    size
        Number of genes. None for the shortest prefix of the ranking whose perturbation, cut to it and not
        refitted, flips 95 % of the group's sampled cells in every contrast. Where no prefix does, a warning says
        so and all genes with a score are returned. Only `method="ace"` has such a prefix; give a number for others.
    %(key)s

    Returns
    -------
    One row per gene, most important first: `names`, `scores` (signed), `logfoldchanges`, `enriched` (goes
    down when cells leave the group; absent for methods without directions) and `delta` (in units of the gene's scale).

    Raises
    ------
    KeyError
        When there is no such ranking.
    ValueError
        When the group has none, the size is below 1 or missing for another method than ACE, or the ranking is not one
        of :func:`ace_scanpy.tl.explain`.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B"])
    >>> len(ace.get.panel(adata, "CD19+ B", size=5))
    5
    """
    entry = _rgg.read(adata, key)
    name = _validate.member("group", group, _rgg.group_names(entry))
    table = _rgg.table(entry, name)
    table = table[[c for c in ("names", "scores", "logfoldchanges", "enriched", "delta") if c in table]]
    if size is not None:
        return table.head(_validate.whole_number("size", size))
    enough = int(_rgg.per_group(entry, "panel_size", name))
    if enough > len(table):
        logg.warning(f"The panel of {name!r} has {enough} genes, but only {len(table)} are stored in `uns[{key!r}]`.")
    if enough:
        return table.head(enough)
    moved = float(_rgg.per_group(entry, "flip_rate", name))
    if np.isnan(moved):
        msg = (
            f"`size` is needed: `uns[{key!r}]` was made by method={entry['params']['method']!r}, which does not say "
            "how many genes are enough."
        )
        raise ValueError(msg)
    logg.warning(
        f"No prefix of the ranking flips 95% of the cells of {name!r} in every contrast "
        f"(all genes together flip {moved:.0%}, the mean over contrasts). Returning every gene with a score."
    )
    return table[table["scores"] != 0]
