"""What the levels of a condition or batch differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import _keys, _rgg, _validate
from .._docs import document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


@document
def levels(adata: AnnData, group: str | None = None, *, by: str, key: str = _keys.RANKING) -> pd.DataFrame:
    """Genes that matter to a group in one condition or batch, and not in another.

    It puts the rankings side by side that `ace.tl.explain(adata, groupby, by=by)` made within each level. No test is
    made; how much scores differ by chance shows in a `by` of random halves.

    Parameters
    ----------
    %(adata)s
    group
        A group, or None for all.
    by
        The column that groups were explained within.
    key
        What `key_added` was: the rankings are in `adata.uns[f'{key}_{level}']`.

    Returns
    -------
    One row per group, gene and level, for genes that have a score in any level; within a group, genes in falling order
    of `difference`:

    `group`, `level` : category
        The group, and the level that it is ranked within.
    `names` : object
        The gene.
    `scores`, `delta` : float32
        Those of the ranking within the level, 0 for a gene that it does not list; NaN where the level lacks the group.
    `difference` : float32
        Largest score of the gene over the levels less the smallest, which have signs: a gene that is enriched in one
        and depleted in another differs by more than its share.

    Raises
    ------
    KeyError
        When there is no such ranking.
    ValueError
        When no level has the group.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> adata = adata[adata.obs["bulk_labels"].isin(["CD19+ B", "Dendritic", "CD56+ NK"])].copy()
    >>> ace.tl.explain(adata, "bulk_labels", by="phase")
    >>> table = ace.get.levels(adata, "CD19+ B", by="phase")
    >>> table["level"].cat.categories.tolist()
    ['G1', 'G2M', 'S']
    """
    entries = _entries(adata, by, key)
    groups = list(dict.fromkeys(name for entry in entries.values() for name in _rgg.group_names(entry)))
    chosen = groups if group is None else [_validate.member("group", group, groups)]
    tidy = pd.concat([_of_group(entries, name) for name in chosen], ignore_index=True)
    tidy["group"] = pd.Categorical(tidy["group"], categories=chosen)
    tidy["level"] = pd.Categorical(tidy["level"], categories=list(entries))
    return tidy[["group", "names", "level", "scores", "delta", "difference"]]


def _entries(adata: AnnData, by: str, key: str) -> dict[str, Mapping[str, Any]]:
    """The rankings within the levels, in the order that they were made in."""
    found = {}
    for name, entry in adata.uns.items():
        params = entry.get("params", {}) if isinstance(entry, dict) and "names" in entry else {}
        if params.get("by") == by and name == _keys.of_level(key, str(params["level"])):
            found[str(params["level"])] = _rgg.read(adata, name)
    if not found:
        msg = (
            f"No ranking `adata.uns['{key}_...']` is within the levels of `by`={by!r}. "
            f"Run `ace.tl.explain(adata, groupby, by={by!r})` first."
        )
        raise KeyError(msg)
    return found


def _of_group(entries: Mapping[str, Mapping[str, Any]], group: str) -> pd.DataFrame:
    """The scored genes of one group in all levels."""
    values = {}
    for level, entry in entries.items():
        if group in _rgg.group_names(entry):
            values[level] = _rgg.table(entry, group).set_index("names")[["scores", "delta"]]
    scores = pd.DataFrame({level: table["scores"] for level, table in values.items()}).fillna(0.0)
    scores = scores[(scores != 0).any(axis=1)]
    difference = (scores.max(axis=1) - scores.min(axis=1)).sort_values(ascending=False, kind="stable")
    rows = []
    for level in entries:
        shown = values[level].reindex(difference.index).fillna(0.0) if level in values else _missing(difference.index)
        rows.append(shown.assign(difference=difference, level=level, group=group, place=range(len(difference))))
    tidy = pd.concat(rows).rename_axis("names").reset_index()
    return tidy.sort_values("place", kind="stable", ignore_index=True).drop(columns="place")


def _missing(names: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({"scores": np.float32(np.nan), "delta": np.float32(np.nan)}, index=names)
