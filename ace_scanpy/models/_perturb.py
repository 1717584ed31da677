"""The smallest change of genes that moves a group of cells to another cluster (paper, equations 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch

from ._prototypes import logits_from_scores
from ._sampling import preactivations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from torch import Tensor

    from ._autoencoder import Encoder
    from ._prototypes import NeuralizedClustering

Objective = Literal["targeted", "pairwise", "rest"]

_LAMBDA_PATH = tuple(10.0 ** (1 + i / 2) for i in range(5))  # 10 to 1,000
_SMOOTHING = (1.0, 0.3, 0.1)  # widths of the smoothed hinge, in units of alpha, one stage each
_GROWTH = 1.2
_SHRINK = 0.5
_MOST_HALVINGS = 30
_LARGEST_STEP = 1e4


@dataclass(frozen=True)
class SourceCells:
    """A sample of cells per source group, after the encoder's first layer.

    Attributes
    ----------
    preactivation
        Shape ``(n_sources, n_cells, n_hidden)``; groups with fewer cells are padded.
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


@dataclass(frozen=True)
class _Problem:
    """One batch of contrasts, in the coordinates eta = w * delta in which the L1 norm has unit weights."""

    tail: Callable[[Tensor], Tensor]
    clustering: NeuralizedClustering
    first: Tensor  # (n_hidden, n_genes)
    cells: Tensor  # (n_contrasts, n_cells, n_hidden)
    cell_weight: Tensor  # (n_contrasts, n_cells)
    source: Tensor
    target: Tensor
    objective: Objective
    alpha: float
    gene_weight: Tensor  # (n_contrasts, n_genes)
    lower: Tensor  # bounds of eta
    upper: Tensor

    def subset(self, rows: Tensor) -> _Problem:
        """The same problem for some of the contrasts."""
        return _Problem(
            self.tail,
            self.clustering,
            self.first,
            self.cells[rows],
            self.cell_weight[rows],
            self.source[rows],
            self.target[rows],
            self.objective,
            self.alpha,
            self.gene_weight[rows],
            self.lower[rows],
            self.upper[rows],
        )

    def shift(self, eta: Tensor) -> Tensor:
        """What the perturbation adds to the first layer, shape ``(n_contrasts, n_hidden)``."""
        return (eta / self.gene_weight) @ self.first.T

    def margin(self, shift: Tensor) -> Tensor:
        """What has to fall below -alpha: how far each cell is from where it should go, ``(n_contrasts, n_cells)``."""
        scores = self.clustering.scores(self.tail(self.cells + shift[:, None]))
        return margin(scores, self.source, self.target, self.objective)

    def loss(self, margin: Tensor, lam: Tensor, width: float) -> Tensor:
        """The smoothed hinge, weighted by lambda, per contrast."""
        return lam * (smooth_hinge(self.alpha + margin, width) * self.cell_weight).sum(dim=1)

    def value_and_gradient(self, eta: Tensor, lam: Tensor, width: float) -> tuple[Tensor, Tensor, Tensor]:
        """The smooth part, its gradient, and what rounding can make of two equal values."""
        shift = self.shift(eta).requires_grad_()
        with torch.enable_grad():
            margins = self.margin(shift)
            value = self.loss(margins, lam, width)
            (slope,) = torch.autograd.grad(value.sum(), shift)
        size = (margins.detach().abs() * self.cell_weight).sum(dim=1) + self.alpha
        rounding = 4 * torch.finfo(eta.dtype).eps * lam * size
        return value.detach(), (slope @ self.first) / self.gene_weight, rounding

    def prox(self, eta: Tensor, step: Tensor) -> Tensor:
        """Soft threshold, then clip: exact for the L1 norm on a box that holds zero."""
        shrunk = torch.sign(eta) * (eta.abs() - step).clamp_min(0.0)
        return torch.minimum(torch.maximum(shrunk, self.lower), self.upper)


def margin(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> Tensor:
    r"""The difference of logits inside the hinge, shape ``(n_contrasts, n_cells)``.

    ``"pairwise"`` is equation 7, :math:`m_s-m_t`, which a cell satisfies that is nearer to :math:`t` than to :math:`s`
    but nearest to a third group. ``"targeted"`` is :math:`-2m_t`, so that the cell ends in :math:`t`. ``"rest"`` is
    equation 8, :math:`m_s-\max_{k\ne s}m_k`. With two groups :math:`m_s=-m_t` and all three agree.
    """
    logits = logits_from_scores(scores)
    asked = source if objective == "rest" else target
    where = asked.view(-1, 1, 1).expand(*logits.shape[:2], 1)
    own = logits.gather(-1, where).squeeze(-1)
    if objective == "targeted":
        return -2 * own
    if objective == "pairwise":
        return logits.gather(-1, source.view(-1, 1, 1).expand_as(where)).squeeze(-1) - own
    return own - logits.scatter(-1, where, -torch.inf).amax(dim=-1)


def is_flipped(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """Whether the nearest prototype is the target (against the rest: is not the source), boolean."""
    assigned = scores.argmax(dim=-1)
    if objective == "rest":
        return assigned != source[:, None]
    return assigned == target[:, None]


def smooth_hinge(u: Tensor, width: float) -> Tensor:
    """``max(0, u)``, quadratic on ``[0, width]``: below the hinge by at most ``width / 2``, with a continuous slope."""
    return torch.where(u < width, u.clamp_min(0.0).square() / (2 * width), u - width / 2)


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
    lam: float | None = None,
    alpha: float = 1.0,
    flip_target: float = 0.95,
    max_iter: int = 30,
    smoothing: Sequence[float] = _SMOOTHING,
) -> Perturbation:
    r"""Solve a batch of contrasts, each with one :math:`\delta` shared by its source cells.

    .. math:: \min_\delta\; \lVert w\circ\delta\rVert_1
       + \lambda\,\overline{\max(0,\ \alpha + m_s(x+\delta) - m_t(x+\delta))},\qquad l\le\delta\le u

    the mean over the source cells (equations 7 and 8; see :func:`margin` for :math:`m_s-m_t`).
    Method: accelerated proximal gradient with backtracking and adaptive restart, one step size per
    contrast, on a hinge smoothed in stages of shrinking width (continuation). The proximal step gives exact zeros.

    Parameters
    ----------
    encoder, clustering
        The network that is explained. Only the encoder's ``weight`` and ``tail`` are used.
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
        :math:`\lambda`; None for the smallest on a path from 10 to 1,000 that flips ``flip_target`` of the cells
        (the last of the path where none does).
    alpha
        Margin :math:`\alpha`; the paper uses 1.
    flip_target
        Wanted share of flipped cells, for ``lam=None``.
    max_iter
        Proximal steps per value of :math:`\lambda`, shared evenly by the stages.
    smoothing
        Widths of the smoothed hinge as multiples of ``alpha``, one per stage. With enough steps the objective is within
        :math:`\lambda\alpha` times half the last of the optimum; the default budget is made for rankings.

    Returns
    -------
    The solutions, with the objective evaluated with the paper's own hinge.
    """
    if objective not in get_args(Objective):
        msg = f"`objective` must be one of {get_args(Objective)}. Got {objective!r}."
        raise ValueError(msg)
    rows = source if sources is None else sources
    first = encoder.weight.detach()
    shape = (len(source), first.shape[1])
    weights = first.new_ones(shape) if weights is None else weights
    problem = _Problem(
        tail=encoder.tail,
        clustering=clustering,
        first=first,
        cells=cells.preactivation[rows],
        cell_weight=cells.weight[rows],
        source=source,
        target=target,
        objective=objective,
        alpha=alpha,
        gene_weight=weights,
        lower=first.new_full(shape, -torch.inf) if lower is None else lower * weights,
        upper=first.new_full(shape, torch.inf) if upper is None else upper * weights,
    )
    with torch.no_grad():
        eta = first.new_zeros(shape)
        lams = first.new_full((len(source),), _LAMBDA_PATH[0] if lam is None else lam)
        n_iter = 0
        for value in _LAMBDA_PATH if lam is None else (lam,):
            todo = (
                _not_flipped(problem, eta, flip_target)
                if lam is None
                else torch.arange(len(source), device=first.device)
            )
            if not len(todo):
                break
            lams[todo] = value
            part = problem if len(todo) == len(source) else problem.subset(todo)
            eta[todo], taken = _solve(part, eta[todo], lams[todo], max_iter, smoothing)
            n_iter += taken
        return _result(problem, eta, lams, n_iter)


def _not_flipped(problem: _Problem, eta: Tensor, flip_target: float) -> Tensor:
    return (_flip_rate(problem, eta) < flip_target).nonzero().squeeze(1)


def _flip_rate(problem: _Problem, eta: Tensor) -> Tensor:
    scores = problem.clustering.scores(problem.tail(problem.cells + problem.shift(eta)[:, None]))
    flipped = is_flipped(scores, problem.source, problem.target, problem.objective)
    counted = problem.cell_weight > 0
    return (flipped & counted).sum(dim=1) / counted.sum(dim=1)


def _solve(
    problem: _Problem, eta: Tensor, lam: Tensor, max_iter: int, smoothing: Sequence[float]
) -> tuple[Tensor, int]:
    """FISTA with backtracking and restart, one stage per width of the hinge."""
    per_stage = -(-max_iter // len(smoothing))
    step = torch.full_like(lam, 0.1).unsqueeze(1)
    for width in smoothing:
        ahead, momentum = eta, torch.ones_like(step)
        for _ in range(per_stage):
            value, slope, rounding = problem.value_and_gradient(ahead, lam, width * problem.alpha)
            step = (step * _GROWTH).clamp_max(_LARGEST_STEP)
            new, step = _backtrack(problem, ahead, value + rounding, slope, step, lam, width * problem.alpha)
            grown = (1 + (1 + 4 * momentum**2).sqrt()) / 2
            overshot = ((ahead - new) * (new - eta)).sum(dim=1, keepdim=True) > 0
            ahead = torch.where(overshot, new, new + (momentum - 1) / grown * (new - eta))
            momentum = torch.where(overshot, torch.ones_like(grown), grown)
            eta = new
    return eta, per_stage * len(smoothing)


def _backtrack(
    problem: _Problem, at: Tensor, value: Tensor, slope: Tensor, step: Tensor, lam: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """A proximal step from ``at`` whose length each contrast halves until the quadratic bound holds."""
    for _ in range(_MOST_HALVINGS):
        new = problem.prox(at - step * slope, step)
        move = new - at
        bound = value + (slope * move).sum(dim=1) + move.square().sum(dim=1) / (2 * step.squeeze(1))
        # written so that a value that is not a number counts as too long
        too_long = ~(problem.loss(problem.margin(problem.shift(new)), lam, width) <= bound)
        if not too_long.any():
            break
        step = torch.where(too_long.unsqueeze(1), step * _SHRINK, step)
    return new, step


def _result(problem: _Problem, eta: Tensor, lam: Tensor, n_iter: int) -> Perturbation:
    delta = eta / problem.gene_weight
    shift = problem.shift(eta).requires_grad_()
    with torch.enable_grad():
        margins = problem.margin(shift)
        (slope,) = torch.autograd.grad((margins * problem.cell_weight).sum(), shift)
    hinge = ((problem.alpha + margins.detach()).clamp_min(0.0) * problem.cell_weight).sum(dim=1)
    return Perturbation(
        delta=delta,
        gradient=slope @ problem.first,
        flip_rate=_flip_rate(problem, eta),
        objective=eta.abs().sum(dim=1) + lam * hinge,
        lam=lam,
        n_iter=n_iter,
    )
