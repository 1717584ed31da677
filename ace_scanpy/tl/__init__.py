"""Tools: embed cells, cluster them, explain the clusters, compare rankings of genes."""

from __future__ import annotations

from ._cluster import cluster
from ._compare import compare
from ._embed import embed
from ._explain import explain

__all__ = ["cluster", "compare", "embed", "explain"]
