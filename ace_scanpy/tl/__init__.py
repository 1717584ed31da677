"""Tools: embed cells, cluster them, explain the clusters."""

from __future__ import annotations

from ._cluster import cluster
from ._embed import embed
from ._explain import explain

__all__ = ["cluster", "embed", "explain"]
