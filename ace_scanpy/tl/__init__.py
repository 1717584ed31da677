"""Tools: embed cells, cluster them, explain the clusters and single cells, compare rankings of genes."""

from __future__ import annotations

from ._cluster import cluster
from ._compare import compare
from ._embed import embed
from ._explain import explain
from ._explain_cells import explain_cells

__all__ = ["cluster", "compare", "embed", "explain", "explain_cells"]
