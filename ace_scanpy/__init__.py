"""ACE, Adversarial Clustering Explanation: signed gene panels for the clusters of an AnnData."""

from __future__ import annotations

from importlib.metadata import version

from . import datasets, get, metrics, models, pl, pp, tl

__version__ = version("ace_scanpy")
__all__ = ["__version__", "datasets", "get", "metrics", "models", "pl", "pp", "tl"]
