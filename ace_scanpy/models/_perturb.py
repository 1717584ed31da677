"""The smallest change of genes that moves a group of cells to another cluster (paper, equations 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch

from ._contrast import Objective, Problem, is_flipped
from ._proximal import N_COARSE, coarse, refine
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
        Proximal steps taken, over all stages.
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
    max_iter: int = 300,
    smoothing: Sequence[float] = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
) -> Perturbation:
    r"""Solve a batch of contrasts, each with one :math:`\delta` shared by its source cells.

    .. math:: \min_\delta\; \lVert w\circ\delta\rVert_1
       + \lambda\,\overline{\max(0,\ \alpha + m_s(x+\delta) - m_t(x+\delta))},\qquad l\le\delta\le u

    the mean over the source cells (equations 7 and 8; see :func:`margin` for :math:`m_s-m_t`).
    Method: accelerated proximal gradient with backtracking and adaptive restart, one step size per
    contrast, on a smoothed hinge whose width shrinks in stages (continuation). The proximal step gives exact zeros.
    For each :math:`\lambda` 30 coarse steps, from the solution of the one before, are followed by the refinement.

    Parameters
    ----------
    encoder, clustering
        The network that is explained. Only the encoder's ``shift`` and ``tail`` are used.
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
        Most proximal steps of each stage of the refinement. A contrast leaves a stage when 20 steps lower its
        objective by less than one part in 100,000.
    smoothing
        Widths of the hinge in the refinement, as multiples of ``alpha``, one per stage. A wide first stage finds better
        optima of the network, which is not convex; at the end of the last stage the objective is within
        :math:`\lambda\alpha` times half its width of the one with the hinge as it stands.

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
    per_cell = like.shape[-1] + len(clustering.prototypes)
    size = max(1, _MEMORY // (8 * like.shape[1] * per_cell + 16 * encoder.n_genes))
    path = (float(lam),) if isinstance(lam, (int, float)) else tuple(_LAMBDA_PATH if lam is None else lam)
    solutions = []
    for part in torch.arange(len(source), device=like.device).split(size):
        problem = Problem(
            encoder=encoder,
            clustering=clustering,
            cells=cells.preactivation[rows[part]],
            cell_weight=cells.weight[rows[part]],
            source=source[part],
            target=target[part],
            objective=objective,
            alpha=alpha,
            gene_weight=weights[part],
            lower=lower[part] * weights[part],
            upper=upper[part] * weights[part],
        )
        solutions.append(_solve(problem, path, flip_target, max_iter, smoothing))
    return Perturbation.joined(solutions)


@torch.no_grad()
def _solve(
    problem: Problem, path: Sequence[float], flip_target: float, max_iter: int, smoothing: Sequence[float]
) -> Perturbation:
    eta = torch.zeros_like(problem.gene_weight)
    lams = eta.new_full((len(eta),), path[0])
    todo = torch.arange(len(eta), device=eta.device)
    if len(path) > 1:
        todo = todo[_flip_rate(problem, eta) < flip_target]
    n_iter = 0
    for value in path:
        if not len(todo):
            break
        lams[todo] = value
        part = problem.subset(todo)
        state = coarse(part, eta[todo], lams[todo])
        eta[todo], taken = refine(part, state, lams[todo], max_iter, smoothing)
        n_iter += N_COARSE + taken
        todo = todo[_flip_rate(part, eta[todo]) < flip_target]
    return _result(problem, eta, lams, n_iter)


def _flip_rate(problem: Problem, eta: Tensor) -> Tensor:
    scores = problem.clustering.scores(problem.encoder.tail(problem.cells + problem.shift(eta)[:, None]))
    flipped = is_flipped(scores, problem.source, problem.target, problem.objective)
    counted = problem.cell_weight > 0
    return (flipped & counted).sum(dim=1) / counted.sum(dim=1)


def _result(problem: Problem, eta: Tensor, lam: Tensor, n_iter: int) -> Perturbation:
    delta = (eta / problem.gene_weight).requires_grad_()
    with torch.enable_grad():
        margins = problem.margin(problem.encoder.shift(delta))
        (gradient,) = torch.autograd.grad((margins * problem.cell_weight).sum(), delta)
    hinge = ((problem.alpha + margins.detach()).clamp_min(0.0) * problem.cell_weight).sum(dim=1)
    return Perturbation(
        delta=delta.detach(),
        gradient=gradient,
        flip_rate=_flip_rate(problem, eta),
        objective=eta.abs().sum(dim=1) + lam * hinge,
        lam=lam,
        n_iter=n_iter,
    )
