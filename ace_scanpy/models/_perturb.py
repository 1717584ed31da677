"""The smallest change of genes that moves a group of cells to another cluster (paper, equations 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch

from ._contrast import Margins, Objective, Problem
from ._linearized import N_CANDIDATES
from ._path import follow
from ._sampling import preactivations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch import Tensor

    from ._encoder import Encoder
    from ._prototypes import NeuralizedClustering

_LAMBDA_PATH = tuple(10.0 ** (1 + i / 2) for i in range(5))  # 10 to 1,000
_MEMORY = 2**24  # floats; what is worked on at a time stays near the processor's caches


@dataclass(frozen=True)
class SourceCells:
    """A sample of cells per source group, after the encoder's first layer.

    Attributes
    ----------
    preactivation
        Shape ``(n_sources, n_cells, width)``; groups with fewer cells are padded.
    weight
        Weight of each cell in its group's mean, shape ``(n_sources, n_cells)``; zero for padding.
    """

    preactivation: Tensor
    weight: Tensor

    @classmethod
    def from_expression(cls, encoder: Encoder, groups: Sequence[Any]) -> SourceCells:
        """From one block of expression (dense or CSR, cells by genes) per source group."""
        layers = [preactivations(encoder, rows) for rows in groups]
        longest = max(len(layer) for layer in layers)
        padded = layers[0].new_zeros(len(layers), longest, layers[0].shape[1])
        weight = layers[0].new_zeros(len(layers), longest)
        for i, layer in enumerate(layers):
            padded[i, : len(layer)] = layer
            weight[i, : len(layer)] = 1.0 / len(layer)
        return cls(padded, weight)


@dataclass(frozen=True)
class Perturbation:
    r"""Solutions of a batch of contrasts.

    Attributes
    ----------
    delta
        Change of each gene in units of its scale, shape ``(n_contrasts, n_genes)``; zeros are exact.
    gradient
        Gradient of the mean margin :math:`\overline{m_s-m_t}` at ``delta``, same shape.
    flip_rate
        Share of the source cells whose assignment changed as wanted, shape ``(n_contrasts,)``.
    objective
        Value of equation 7 or 8 with the hinge as it stands in the paper, shape ``(n_contrasts,)``.
    lam
        The trade-off used, shape ``(n_contrasts,)``.
    n_iter
        Linear models solved, one after the other.
    """

    delta: Tensor
    gradient: Tensor
    flip_rate: Tensor
    objective: Tensor
    lam: Tensor
    n_iter: int

    @classmethod
    def joined(cls, parts: Sequence[Perturbation]) -> Perturbation:
        """The solutions of several batches as one."""
        return cls(
            delta=torch.cat([part.delta for part in parts]),
            gradient=torch.cat([part.gradient for part in parts]),
            flip_rate=torch.cat([part.flip_rate for part in parts]),
            objective=torch.cat([part.objective for part in parts]),
            lam=torch.cat([part.lam for part in parts]),
            n_iter=sum(part.n_iter for part in parts),
        )


def perturb(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    cells: SourceCells,
    source: Tensor,
    target: Tensor,
    *,
    objective: Objective = "targeted",
    sources: Tensor | None = None,
    weights: Tensor | None = None,
    lower: Tensor | None = None,
    upper: Tensor | None = None,
    lam: float | Sequence[float] | None = None,
    alpha: float = 1.0,
    flip_target: float = 0.95,
    max_iter: int = 100,
    tolerance: float = 1e-4,
    ridge: float = 0.0,
) -> Perturbation:
    r"""Solve a batch of contrasts, each with one :math:`\delta` shared by its source cells.

    .. math:: \min_\delta\; \lVert w\circ\delta\rVert_1
       + \lambda\,\overline{\max(0,\ \alpha + m_s(x+\delta) - m_t(x+\delta))},\qquad l\le\delta\le u

    the mean over the source cells (equations 7 and 8; see :func:`margin` for :math:`m_s-m_t`).
    Method: the margins are made linear at the change so far, the linear program that remains is solved by operator
    splitting, and the change goes as far towards its solution as lowers the objective; and so on (the prox-linear
    method, Lewis and Wright 2016). Zeros are exact. Each :math:`\lambda` of a path starts at the solution of the one
    before, and is given up for the next where three models move less than .9 of the wanted share, or one less than .7
    that is nearly solved and whose solution would not move more.

    Parameters
    ----------
    encoder, clustering
        The network that is explained. Of the encoder, ``tail``, ``pull`` and ``of_genes`` are used.
    cells
        Sampled cells of each source group.
    source, target
        Groups of each contrast, shape ``(n_contrasts,)``; ``target`` is ignored for ``"rest"``.
    objective
        ``"targeted"``, ``"pairwise"`` (equation 7) or ``"rest"`` (equation 8).
    sources
        Row of ``cells`` of each contrast; None when row ``g`` belongs to group ``g``.
    weights
        :math:`w`, positive, shape ``(n_contrasts, n_genes)``; None for ones.
    lower, upper
        Bounds of :math:`\delta` with ``lower <= 0 <= upper``, same shape; None for no bound.
    lam
        :math:`\lambda`, or a rising path of which the smallest is taken that flips ``flip_target`` of the cells (the
        last where none does); None for one from 10 to 1,000. For a single cell begin lower, near the smallest that
        moves it: much beyond, the hinge is so steep that the solver stops ahead of the optimum.
    alpha
        Margin :math:`\alpha`; the paper uses 1.
    flip_target
        Wanted share of flipped cells, where ``lam`` is a path.
    max_iter
        Most linear models for each :math:`\lambda`.
    tolerance
        A contrast is done when two models are solved up to this share of its objective and lower it by no more.
    ridge
        :math:`\nu`, not negative: :math:`\frac\nu2\lVert w\circ\delta\rVert^2` is added to what is minimised, the
        elastic net (Zou and Hastie 2005). Genes that would do nearly as well as another then share its change, where
        without it, as in the paper, one takes it all. The objective is reported without it.

    Returns
    -------
    The solutions, with the objective evaluated with the paper's own hinge.
    """
    if objective not in get_args(Objective):
        msg = f"`objective` must be one of {get_args(Objective)}. Got {objective!r}."
        raise ValueError(msg)
    rows = source if sources is None else sources
    like, shape = cells.preactivation, (len(source), encoder.n_genes)
    weights = like.new_ones(shape) if weights is None else weights
    lower = like.new_full(shape, -torch.inf) if lower is None else lower
    upper = like.new_full(shape, torch.inf) if upper is None else upper
    width, n_rows = like.shape[-1], len(clustering.prototypes)
    per_contrast = 4 * like.shape[1] * (width + n_rows) + N_CANDIDATES * (width + 4 * like.shape[1])
    size = max(1, _MEMORY // (per_contrast + 12 * encoder.n_genes))
    path = (float(lam),) if isinstance(lam, (int, float)) else tuple(_LAMBDA_PATH if lam is None else lam)
    solutions = []
    for part in torch.arange(len(source), device=like.device).split(size):
        from_cells, weight = cells.preactivation[rows[part]], cells.weight[rows[part]]
        problem = Problem(
            Margins(encoder, clustering, from_cells, weight, source[part], target[part], objective),
            alpha=alpha,
            gene_weight=weights[part],
            lower=lower[part] * weights[part],
            upper=upper[part] * weights[part],
            ridge=ridge,
        )
        solutions.append(_solve(problem, path, flip_target, max_iter, tolerance))
    return Perturbation.joined(solutions)


@torch.no_grad()
def _solve(
    problem: Problem, path: Sequence[float], flip_target: float, max_iter: int, tolerance: float
) -> Perturbation:
    point, lam, n_iter = follow(problem, path, flip_target, max_iter, tolerance)
    margin, slope, flip_rate = problem.margins.linearized(point.shift)
    return Perturbation(
        delta=point.eta / problem.gene_weight,
        gradient=problem.encoder.pull((slope * problem.cell_weight.unsqueeze(-1)).sum(dim=1)),
        flip_rate=flip_rate,
        objective=point.eta.abs().sum(dim=1) + problem.hinge(margin, lam),
        lam=lam,
        n_iter=n_iter,
    )
