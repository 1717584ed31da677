"""Plots."""

from __future__ import annotations

from ._compare import compare
from ._contrast import contrast
from ._embedding import embedding
from ._flip_curve import flip_curve
from ._importance import importance
from ._overlap import overlap
from ._panel import panel
from ._perturbation import perturbation
from ._scanpy import rank_genes_groups, rank_genes_groups_violin
from ._scanpy_grids import (
    rank_genes_groups_dotplot,
    rank_genes_groups_heatmap,
    rank_genes_groups_matrixplot,
    rank_genes_groups_stacked_violin,
    rank_genes_groups_tracksplot,
)
from ._training import training

__all__ = [
    "compare",
    "contrast",
    "embedding",
    "flip_curve",
    "importance",
    "overlap",
    "panel",
    "perturbation",
    "rank_genes_groups",
    "rank_genes_groups_dotplot",
    "rank_genes_groups_heatmap",
    "rank_genes_groups_matrixplot",
    "rank_genes_groups_stacked_violin",
    "rank_genes_groups_tracksplot",
    "rank_genes_groups_violin",
    "training",
]
