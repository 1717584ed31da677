"""Data to try things on."""

from __future__ import annotations

from ._digits import Digits, digits
from ._pbmc3k import pbmc3k
from ._symsim import symsim

__all__ = ["Digits", "digits", "pbmc3k", "symsim"]
