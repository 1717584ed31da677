"""Plots."""

from __future__ import annotations

from ._panel import panel

__all__ = ["panel"]
