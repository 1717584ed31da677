"""Plots."""

from __future__ import annotations

from ._compare import compare
from ._panel import panel

__all__ = ["compare", "panel"]
