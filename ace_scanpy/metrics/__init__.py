"""How good a panel is: arrays in, numbers out."""

from __future__ import annotations

from ._auroc import panel_auroc, panel_auroc_per_split
from ._flip_rate import flip_rate
from ._knn_jaccard import knn_jaccard, knn_jaccard_per_cell, nearest_neighbors
from ._overlap import membership, overlap
from ._redundancy import redundancy

__all__ = [
    "flip_rate",
    "knn_jaccard",
    "knn_jaccard_per_cell",
    "membership",
    "nearest_neighbors",
    "overlap",
    "panel_auroc",
    "panel_auroc_per_split",
    "redundancy",
]
