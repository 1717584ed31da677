"""ACE cell by cell: the smallest change of one cell that the network assigns to another group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from ..models import SourceCells, perturb
from ..models._sampling import as_tensor, preactivations
from ._perturbation import adaptive_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ..models import Encoder, NeuralizedClustering
    from ..models._sampling import CellSource
    from ._perturbation import Weights

_MODELS = 10  # six times as many make the changes of PBMC3k's cells no smaller
# Lower than for groups: one cell has one hinge, and much beyond the smallest trade-off that moves it the solver stops
# ahead of the optimum, with changes spread over twice the genes.
_LAMBDA_PATH = tuple(10.0 ** (i / 2 - 1) for i in range(9))  # 0.1 to 1,000
_VALUES = 2**20  # of a chunk of cells; larger ones are no faster


@dataclass(frozen=True)
class CellChanges:
    """One change per cell.

    Attributes
    ----------
    change
        Change of each gene in the units of the matrix, shape ``(n_cells, n_genes)``, with few genes that are not zero.
    target
        Group that each cell was to be led to, shape ``(n_cells,)``.
    flipped
        Whether the changed cell is assigned to its target.
    size
        Sum of absolute changes in units of the genes' scales.
    """

    change: sparse.csr_matrix
    target: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    size: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence[CellChanges]) -> CellChanges:
        """All parts, one after the other."""
        return cls(
            sparse.csr_matrix(sparse.vstack([part.change for part in parts])),
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.flipped for part in parts]),
            np.concatenate([part.size for part in parts]),
        )


def explain_cells(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    source: CellSource,
    cells: NDArray[np.intp],
    means: Tensor,
    bounds: tuple[NDArray[np.floating], NDArray[np.floating]],
    *,
    target: int | None = None,
    weights: Weights = "adaptive",
    alpha: float = 1.0,
    progress: Callable[[str, int], None] = lambda _phase, _total: None,
) -> CellChanges:
    r"""Equation 7 with a group of one cell, for each of some cells.

    Parameters
    ----------
    encoder, clustering
        The network to explain.
    source
        Cells by genes.
    cells
        Numbers of the cells.
    means
        Mean standardised expression per group, shape ``(n_groups, n_genes)``, for the weights.
    bounds
        Smallest and largest value of each gene, which a changed cell keeps to.
    target
        Where to lead all cells, or None: each to the group of its second largest logit.
    weights, alpha
        As in :func:`ace_scanpy.methods.explain`.
    progress
        Called with a name and the number of chunks after each of them.
    """
    low, high = (torch.as_tensor(values).to(encoder.mean) for values in bounds)
    chunks = np.array_split(cells, -(-len(cells) * encoder.n_genes // _VALUES))
    parts = []
    for chunk in chunks:
        rows = source.rows(chunk)
        x = as_tensor(rows.toarray() if sparse.issparse(rows) else rows).to(low)[:, : encoder.n_genes]
        batch = _Batch(x, preactivations(encoder, rows), low, high)
        parts.append(_solve(encoder, clustering, batch, means, target, weights, alpha))
        progress("explaining cells", len(chunks))
    return CellChanges.joined(parts)


@dataclass(frozen=True)
class _Batch:
    """Cells that are solved together: expression, pre-activation, and the range of each gene."""

    x: Tensor
    preactivation: Tensor
    low: Tensor
    high: Tensor


def _solve(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    cells: _Batch,
    means: Tensor,
    target: int | None,
    weights: Weights,
    alpha: float,
) -> CellChanges:
    """Each cell of a batch as a contrast of its own."""
    x, preactivation = cells.x, cells.preactivation
    own, towards = _assigned_and_next(clustering, encoder, preactivation)
    if target is not None:
        towards = torch.full_like(own, target)
    moves = encoder.scale > 0
    scale = torch.where(moves, encoder.scale, 1.0)
    weight = torch.ones_like(x)
    if weights == "adaptive":
        weight = adaptive_weights((means[towards] - means[own]).abs())
    solution = perturb(
        encoder,
        clustering,
        SourceCells(preactivation[:, None], torch.ones_like(preactivation[:, :1])),
        own,
        towards,
        sources=torch.arange(len(x), device=x.device),
        weights=weight,
        lower=torch.where(moves, (cells.low - x) / scale, 0.0).clamp_max(0.0),
        upper=torch.where(moves, (cells.high - x) / scale, 0.0).clamp_min(0.0),
        lam=_LAMBDA_PATH,
        alpha=alpha,
        max_iter=_MODELS,
    )
    # the clip takes back what rounding added to a change that goes to a bound
    moved = torch.minimum(torch.maximum(x + solution.delta * encoder.scale, cells.low), cells.high)
    change = torch.where(solution.delta != 0, moved - x, 0.0)
    in_scales = change / scale
    with torch.no_grad():
        reached = clustering.assign(encoder.tail(preactivation + encoder.shift(in_scales)))
    return CellChanges(
        sparse.csr_matrix(change.cpu().numpy()),
        towards.cpu().numpy(),
        (reached == towards).cpu().numpy(),
        in_scales.abs().sum(dim=1).cpu().numpy(),
    )


@torch.no_grad()
def _assigned_and_next(
    clustering: NeuralizedClustering, encoder: Encoder, preactivation: Tensor
) -> tuple[Tensor, Tensor]:
    """The groups of the largest and of the second largest logit of each cell."""
    scores = clustering.scores(encoder.tail(preactivation))
    own = scores.argmax(dim=1)
    return own, scores.scatter(1, own[:, None], -torch.inf).argmax(dim=1)
