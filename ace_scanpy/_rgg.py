"""Sole owner of the layout that `scanpy.tl.rank_genes_groups` writes to `adata.uns[key]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import _validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

PER_GENE: dict[str, str] = {
    "names": "O",
    "scores": "<f4",
    "logfoldchanges": "<f4",
    "pvals": "<f8",
    "pvals_adj": "<f8",
    "enriched": "?",
    "delta": "<f4",
}
"""Fields with a row per ranked gene, and their types: Scanpy's five, and two of ours."""

PER_GROUP: dict[str, str] = {"fidelity": "<f4", "flip_rate": "<f4", "panel_size": "<i8", "n_cells": "<i8"}
"""Fields with one row: what belongs to a group as a whole. They are recarrays too, so that
`AnnData.rename_categories` renames them with the rest."""

NEAREST, NAMED = "nearest", "targets"
SEVERAL_REFERENCES = (NEAREST, NAMED)
"""`params["reference"]` where each group is compared with its closest neighbour, or with groups of its own choice."""


@dataclass(frozen=True)
class Ranking:
    """A ranking of genes for each of several groups, genes in the order of the matrix.

    Attributes
    ----------
    order
        Genes from most to least important, shape ``(n_groups, n_genes)``.
    scores
        Importance, finite; positive for enriched where there is `enriched`.
    enriched
        Whether the gene is enriched in the group; None for methods whose scores have no direction.
    delta
        Change in units of the gene's scale that leads out of the group; NaN where a method makes none.
    fidelity, flip_rate, panel_size, n_cells
        One value per group; see `ace_scanpy.tl.explain`.
    pvals, pvals_adj
        P-values where a method makes a test; NaN where none was made.
    """

    order: NDArray[np.intp]
    scores: NDArray[np.floating]
    enriched: NDArray[np.bool_] | None
    delta: NDArray[np.floating]
    fidelity: NDArray[np.floating]
    flip_rate: NDArray[np.floating]
    panel_size: NDArray[np.integer]
    n_cells: NDArray[np.integer]
    pvals: NDArray[np.floating]
    pvals_adj: NDArray[np.floating]


def build(
    ranking: Ranking,
    *,
    groups: list[str],
    var_names: pd.Index,
    logfoldchanges: NDArray[np.floating],
    params: Mapping[str, Any],
    n_genes: int | None,
    pts: pd.DataFrame | None = None,
    pts_rest: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """The whole entry, ready to be assigned; without a field `enriched` where scores have no direction."""
    order = ranking.order[:, :n_genes]
    values = {
        "names": np.broadcast_to(var_names.to_numpy(dtype=object), ranking.order.shape),
        "scores": ranking.scores,
        "logfoldchanges": logfoldchanges,
        "pvals": ranking.pvals,
        "pvals_adj": ranking.pvals_adj,
        "enriched": ranking.enriched,
        "delta": ranking.delta,
    }
    entry: dict[str, Any] = {"params": dict(params)}
    for name, dtype in PER_GENE.items():
        if (per_gene := values[name]) is not None:
            entry[name] = recarray(np.take_along_axis(per_gene, order, axis=1), groups, dtype)
    for name, dtype in PER_GROUP.items():
        entry[name] = recarray(getattr(ranking, name)[:, None], groups, dtype)
    if pts is not None:
        entry["pts"] = pts
    if pts_rest is not None:
        entry["pts_rest"] = pts_rest
    return entry


def recarray(columns: Iterable[NDArray[Any]], groups: Sequence[str], dtype: str) -> np.recarray:
    """One field per group."""
    fields = [column.astype(dtype) for column in columns]
    return np.rec.fromarrays(fields, dtype=[(group, dtype) for group in groups])


def read(adata: AnnData, key: str) -> Mapping[str, Any]:
    """The entry at `adata.uns[key]`; raises when it is missing or not a ranking."""
    if key not in adata.uns:
        candidates = [k for k, v in adata.uns.items() if isinstance(v, dict) and "names" in v and "params" in v]
        msg = f"`key`={key!r} not found in `adata.uns`. Available rankings: {_validate.listed(candidates)}."
        raise KeyError(msg)
    entry = adata.uns[key]
    if "names" not in entry or getattr(entry["names"], "dtype", None) is None or entry["names"].dtype.names is None:
        msg = f"`adata.uns[{key!r}]` is not a ranking of genes. Run `ace.tl.explain` first."
        raise ValueError(msg)
    return entry


def group_names(entry: Mapping[str, Any]) -> list[str]:
    """The groups that have a ranking."""
    return list(entry["names"].dtype.names)


def table(entry: Mapping[str, Any], group: str) -> pd.DataFrame:
    """All rows of one group as a data frame; fields that the entry lacks are left out."""
    frame = pd.DataFrame({name: np.asarray(entry[name][group]) for name in PER_GENE if name in entry})
    frame["names"] = frame["names"].astype(str).astype(object)
    return frame


def per_group(entry: Mapping[str, Any], name: str, group: str) -> Any:
    """One value of a group, such as its `panel_size`; raises when the ranking is not one of ours."""
    require(entry, name)
    return entry[name][group][0]


def require(entry: Mapping[str, Any], name: str) -> None:
    """Raise when the ranking lacks a field that only ours have."""
    if name not in entry:
        msg = f"This ranking has no {name!r}: it was not made by `ace.tl.explain`. Fields: {_validate.listed(entry)}."
        raise ValueError(msg)
