"""Groups of cells from an `obs` column, in an order that does not depend on how the categories are sorted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scanpy import logging as logg

from . import _tables, _validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Labels:
    """A grouping of cells.

    Groups are numbered by their first cell, so that every computation below is the same however the
    categories are named or sorted; `display` brings results back into the order of the categories.

    Attributes
    ----------
    key
        The `obs` column.
    codes
        Group of each cell, shape ``(n_obs,)``; -1 where the label is missing.
    categories
        Category of each group, in group order.
    display
        Groups in the order of the categories.
    """

    key: str
    codes: NDArray[np.intp]
    categories: tuple[Any, ...]
    display: tuple[int, ...]

    @property
    def n_groups(self) -> int:
        return len(self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, in group order."""
        return tuple(map(str, self.categories))

    def group(self, argument: str, wanted: object) -> int:
        """Number of the group a user named."""
        ordered = [self.categories[g] for g in self.display]
        return self.categories.index(_validate.member(argument, wanted, ordered))

    def groups(self, argument: str, wanted: object) -> list[int]:
        """Numbers of the groups a user named, in the order of the categories."""
        if isinstance(wanted, str) and wanted == "all":
            return list(self.display)
        ordered = [self.categories[g] for g in self.display]
        found = _validate.members(argument, wanted, ordered)
        return [g for g in self.display if self.categories[g] in found]

    def within(self, inside: NDArray[np.bool_]) -> Labels:
        """The same grouping of some of the cells, as if there were no others; groups without cells are gone."""
        place = np.argsort(self.display)[self.codes]
        categories = [self.categories[g] for g in self.display]
        return _numbered(self.key, np.where(inside & (self.codes >= 0), place, -1), categories)


def as_categorical(column: pd.Series) -> pd.Categorical:
    """`column` as a categorical; numbers, booleans and strings keep their values, sorted."""
    return pd.Categorical(column)


def read(adata: AnnData, groupby: object) -> Labels:
    """The groups of `adata.obs[groupby]`, checked: at least two categories with cells and distinct names."""
    key = _validate.obs_key(adata, "groupby", groupby)
    return from_column(_tables.column(adata.obs, key), key)


def from_column(column: pd.Series | pd.Categorical, key: str) -> Labels:
    """The groups of a column called `key`, checked likewise."""
    categorical = as_categorical(pd.Series(column))
    codes = np.asarray(categorical.codes, dtype=np.intp)
    n_present = len(np.unique(codes[codes >= 0]))
    if n_present < 2:
        msg = (
            f"`groupby`={key!r} has {n_present} group(s) with cells "
            f"({_validate.listed(categorical.categories[np.unique(codes[codes >= 0])])}); at least 2 are needed."
        )
        raise ValueError(msg)
    n_missing = int((codes < 0).sum())
    if n_missing:
        logg.warning(f"{n_missing} cells without a label in obs[{key!r}] are left out.")
    found = _numbered(key, codes, list(categorical.categories))
    if len(set(found.names)) < found.n_groups:
        msg = f"Some categories of obs[{key!r}] have the same name: {_validate.listed(found.categories)}. Rename them."
        raise ValueError(msg)
    return found


def _numbered(key: str, codes: NDArray[np.intp], categories: Sequence[Any]) -> Labels:
    """Groups from the number of each cell's category, -1 where it has none."""
    present, first = np.unique(codes[codes >= 0], return_index=True)
    by_appearance = present[np.argsort(first)]
    number = np.full(len(categories), -1)
    number[by_appearance] = np.arange(len(by_appearance))
    renumbered = np.where(codes >= 0, number[codes], -1)
    named = tuple(categories[c] for c in by_appearance)
    return Labels(key, renumbered, named, tuple(int(number[c]) for c in present))
