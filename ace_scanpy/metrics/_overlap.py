"""Which genes several rankings have in common at the top (paper, figure 3D)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from .. import _validate

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence


def overlap(rankings: Mapping[str, Sequence[Hashable]], n_genes: int) -> pd.DataFrame:
    """How many of their top genes each two rankings share.

    Parameters
    ----------
    rankings
        Genes from most to least important, by the name of the ranking.
    n_genes
        How many of the top genes to compare; the paper's figure has 18.

    Returns
    -------
    One row per pair: `ranking`, `other`, `shared` (number of genes) and `jaccard` (shared genes over genes in either,
    from 0 to 1).

    Raises
    ------
    ValueError
        When a ranking is shorter than `n_genes`, or names a gene twice.

    Examples
    --------
    >>> from ace_scanpy.metrics import overlap
    >>> overlap({"a": ["CD3D", "IL32"], "b": ["IL32", "NKG7"], "c": ["LYZ", "CST3"]}, 2)
      ranking other  shared   jaccard
    0       a     b       1  0.333333
    1       a     c       0  0.000000
    2       b     c       0  0.000000
    """
    tops = _tops(rankings, n_genes)
    pairs = [(a, b, len(tops[a] & tops[b]), len(tops[a] | tops[b])) for a, b in combinations(tops, 2)]
    table = pd.DataFrame(pairs, columns=["ranking", "other", "shared", "either"])
    table["jaccard"] = table["shared"] / table.pop("either")
    return table


def membership(rankings: Mapping[str, Sequence[Hashable]], n_genes: int) -> pd.DataFrame:
    """Which rankings have which gene among their top ones; a gene of a single row entry is unique to that ranking.

    Parameters
    ----------
    rankings
        Genes from most to least important, by the name of the ranking.
    n_genes
        How many of the top genes to compare.

    Returns
    -------
    Boolean, one row per gene that some ranking has at the top and one column per ranking; genes that most
    rankings share come first, then in the order of the rankings.

    Raises
    ------
    ValueError
        When a ranking is shorter than `n_genes`, or names a gene twice.

    Examples
    --------
    >>> from ace_scanpy.metrics import membership
    >>> table = membership({"a": ["CD3D", "IL32"], "b": ["IL32", "NKG7"]}, 2)
    >>> table
              a      b
    IL32   True   True
    CD3D   True  False
    NKG7  False   True
    >>> list(table.index[table["a"] & (table.sum(axis=1) == 1)])
    ['CD3D']
    """
    tops = _tops(rankings, n_genes)
    genes = dict.fromkeys(gene for genes in rankings.values() for gene in list(genes)[:n_genes])
    columns = {name: [gene in top for gene in genes] for name, top in tops.items()}
    table = pd.DataFrame(columns, index=pd.Index(list(genes)))
    return table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def _tops(rankings: Mapping[str, Sequence[Hashable]], n_genes: int) -> dict[str, set[Hashable]]:
    """The set of the top genes of each ranking, checked."""
    n_genes = _validate.whole_number("n_genes", n_genes)
    tops = {}
    for name, genes in rankings.items():
        if len(genes) < n_genes:
            msg = f"`n_genes`={n_genes}, but the ranking {name!r} has only {len(genes)}."
            raise ValueError(msg)
        tops[name] = set(genes[:n_genes])
        if len(tops[name]) < n_genes:
            msg = f"The ranking {name!r} names a gene twice among its top {n_genes}."
            raise ValueError(msg)
    return tops
