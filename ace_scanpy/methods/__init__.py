"""Gene-ranking methods on models and matrices, one module each."""

from __future__ import annotations

from ._perturbation import Contrasts, Explanation, explain

__all__ = ["Contrasts", "Explanation", "explain"]
