"""Small parts of an AnnData, such as columns of `obs`, which a lazily read one keeps in its file."""

from __future__ import annotations

from typing import Any

import pandas as pd


def column(table: Any, key: str) -> pd.Series:
    """A column in memory, categories and index as they are."""
    return table[key] if isinstance(table, pd.DataFrame) else table[[key]].to_memory()[key]


def index(table: Any) -> pd.Index:
    """The names of the rows; a lazily read table may call them `_index`, as files do, where they have no name."""
    return table.index.rename(None) if table.index.name == "_index" else table.index


def in_memory(values: Any) -> Any:
    """An array, computed where it is one of dask."""
    return values.compute() if hasattr(values, "__dask_graph__") else values
