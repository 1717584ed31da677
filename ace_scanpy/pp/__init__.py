"""Preprocessing."""

from __future__ import annotations

from ._standardize import standardize

__all__ = ["standardize"]
