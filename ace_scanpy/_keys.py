"""Every key this package writes into an AnnData, spelled once."""

from __future__ import annotations

from urllib.parse import quote

RECORDS = "ace"
"""``uns`` entry that holds encoder records and clusterings."""

MEAN = "ace_mean"
STD = "ace_std"
STANDARDIZE = "standardize"
"""``uns["ace"]`` entry saying what ``var["ace_mean"]`` and ``var["ace_std"]`` were computed on."""

REP = "X_ace"
CLUSTER = "ace_cluster"
RANKING = "rank_genes_groups"
CELLS = "ace_delta"
"""``layers`` entry with the change of each cell."""
PER_CELL = ("target", "flipped", "n_genes", "size")
"""What `obs` says of each such change."""
FITS = "fits"
"""Entry of an encoder record with the copies that were fitted to labels."""

RESERVED_UNS = frozenset({RECORDS, "log1p", "neighbors", "pca", "hvg", "umap"})
RESERVED_RECORDS = frozenset({STANDARDIZE})


def confidence(cluster_key: str) -> str:
    """``obs`` column with the confidence of an assignment."""
    return f"{cluster_key}_confidence"


def of_cells(key: str, name: str) -> str:
    """``obs`` column with one of `PER_CELL`."""
    return f"{key}_{name}"


def colors(groupby: str) -> str:
    """``uns`` entry where Scanpy keeps the colours of a categorical."""
    return f"{groupby}_colors"


def dendrogram(groupby: str) -> str:
    """``uns`` entry where Scanpy keeps the dendrogram of a categorical."""
    return f"dendrogram_{groupby}"


def of_level(key: str, level: str) -> str:
    """``uns`` entry of the ranking within one level of a column."""
    return f"{key}_{stored_name(level)}"


def stored_name(name: str) -> str:
    """``name`` as a dictionary key that h5ad and zarr accept: ``/`` would start a new group."""
    return quote(name, safe=" ")
