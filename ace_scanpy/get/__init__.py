"""Results as plain data frames and modules."""

from __future__ import annotations

from ._cells import cells
from ._contrasts import contrasts
from ._encoder import encoder
from ._levels import levels
from ._panel import panel
from ._rank_genes_groups_df import rank_genes_groups_df
from ._summary import summary

__all__ = ["cells", "contrasts", "encoder", "levels", "panel", "rank_genes_groups_df", "summary"]
