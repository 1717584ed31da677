"""Data to try things on."""

from __future__ import annotations

from ._pbmc3k import pbmc3k
from ._symsim import symsim

__all__ = ["pbmc3k", "symsim"]
