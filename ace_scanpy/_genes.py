"""Genes of a ranking: which are enriched or depleted, and what to call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from . import _rgg, _tables, _validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

Direction = Literal["both", "enriched", "depleted"]
DIRECTIONS = ("both", "enriched", "depleted")


def enriched(entry: Mapping[str, Any], table: pd.DataFrame) -> pd.Series | None:
    """Whether each gene of `table` is enriched; None where the method has no directions.

    The scores of Scanpy's methods are signed.
    """
    if "enriched" in entry:
        return table["enriched"]
    return None if "panel_size" in entry else table["scores"] > 0


def select(entry: Mapping[str, Any], group: str, direction: str) -> pd.DataFrame:
    """The rows of a group with genes of one direction, in order; raises where the method has no directions."""
    _validate.one_of("direction", direction, DIRECTIONS)
    table = _rgg.table(entry, group)
    if direction == "both":
        return table
    up = enriched(entry, table)
    if up is None:
        msg = (
            f"`direction`={direction!r}, but the scores of method={entry['params']['method']!r} have no direction. "
            "Leave it at 'both'."
        )
        raise ValueError(msg)
    return table[up == (direction == "enriched")].reset_index(drop=True)


def uses_raw(entry: Mapping[str, Any]) -> bool:
    """Whether the ranking was made on `adata.raw`; Scanpy's old files hold an array of one."""
    return bool(entry["params"].get("use_raw", False))


def labels(adata: AnnData, entry: Mapping[str, Any], gene_symbols: str | None) -> pd.Series | None:
    """What to call the genes, by name: a column of the `var` that belongs to the matrix of the ranking."""
    if gene_symbols is None:
        return None
    raw = uses_raw(entry)
    var = adata.raw.var if raw else adata.var
    if gene_symbols not in var.columns:
        where = "adata.raw.var" if raw else "adata.var"
        msg = (
            f"`gene_symbols`={gene_symbols!r} not found in `{where}`. Available keys: {_validate.listed(var.columns)}."
        )
        raise KeyError(msg)
    return pd.Series(
        _tables.column(var, gene_symbols).astype(str).to_numpy(), index=var.index.astype(str), dtype=object
    )


def relabel(names: pd.Series, symbols: pd.Series | None) -> list[str]:
    """`names`, or what `symbols` calls them."""
    return list(names) if symbols is None else symbols.loc[list(names)].tolist()
