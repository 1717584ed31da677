"""How good a panel is: arrays in, numbers out."""

from __future__ import annotations

from ._auroc import panel_auroc
from ._redundancy import redundancy

__all__ = ["panel_auroc", "redundancy"]
