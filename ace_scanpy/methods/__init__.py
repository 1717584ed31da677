"""Gene-ranking methods on models and matrices, one module each."""

from __future__ import annotations

from ._attributions import Attribution, attribute, expected_gradients, smoothgrad
from ._contrasts import Contrasts, Pairs, distances, nearest
from ._deseq2 import deseq2
from ._gce import gce, translate
from ._grs import relevance
from ._jsd import jsd
from ._perturbation import Explanation, explain
from ._scores import GeneScores
from ._single_cells import CellChanges, explain_cells

__all__ = [
    "Attribution",
    "CellChanges",
    "Contrasts",
    "Explanation",
    "GeneScores",
    "Pairs",
    "attribute",
    "deseq2",
    "distances",
    "expected_gradients",
    "explain",
    "explain_cells",
    "gce",
    "jsd",
    "nearest",
    "relevance",
    "smoothgrad",
    "translate",
]
