"""The smallest change under a linear model of the margins, for a batch of contrasts, by operator splitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_OVER = 1.6  # relaxation; 1.5 to 1.8 are usual
_STRIDES = 5.0  # in which a gene alone would cover the distance


@dataclass(frozen=True)
class LinearModel:
    r"""The convex problem of each contrast.

    .. math:: \min_\eta\; \lVert\eta\rVert_1 + \tfrac\nu2\lVert\eta\rVert^2
       + \sum_x \pi_x\max(0,\ c_x + g_x^\top\eta),\qquad l\le\eta\le u.

    Attributes
    ----------
    slope
        :math:`g`, shape ``(n_contrasts, n_cells, n_genes)``.
    offset
        :math:`c`, shape ``(n_contrasts, n_cells)``.
    price
        :math:`\pi`, not negative, same shape; cells of price 0 have slope 0.
    lower, upper
        Shape ``(n_contrasts, n_genes)``, with ``lower <= 0 <= upper``.
    ridge
        :math:`\nu`.
    """

    slope: Tensor
    offset: Tensor
    price: Tensor
    lower: Tensor
    upper: Tensor
    ridge: float = 0.0

    def hinge(self, eta: Tensor) -> Tensor:
        """What is inside the hinge, per contrast and cell."""
        return self.offset + row_times(eta, self.slope.mT)

    def distance(self) -> Tensor:
        """How much of its steepest gene each cell lacks to the end of its hinge, the mean over those that lack some."""
        steepest = self.slope.abs().amax(dim=2)
        paying = self.price * ((self.offset > 0) & (steepest > 0))
        far = (paying * self.offset / torch.where(steepest > 0, steepest, 1.0)).sum(dim=1)
        return torch.where(far > 0, far / paying.sum(dim=1), 1.0)

    def gap(self, value: Tensor, dual: Tensor) -> Tensor:
        """By how much a value of the objective may be above the optimum at most, given a multiplier of each hinge."""
        pull = row_times(dual, self.slope)
        towards = torch.where(pull < 0, self.upper, -self.lower)
        if not self.ridge:  # where there is no bound, shrink the multipliers until leaving zero does not pay
            free = torch.where(towards.isinf(), pull.abs(), 1.0).amax(dim=1, keepdim=True).clamp_min(1.0)
            pull, dual = pull / free, dual / free
            towards = torch.where(towards.isinf(), 0.0, towards)
        pays = (pull.abs() - 1.0).clamp_min(0.0)
        far = torch.minimum(towards, pays / self.ridge) if self.ridge else towards
        paid = pays * far - self.ridge / 2 * far.square()
        return value - (dual * self.offset).sum(dim=1) + paid.sum(dim=1)

    def value(self, eta: Tensor, hinge: Tensor | None = None) -> Tensor:
        """The objective, per contrast."""
        hinge = self.hinge(eta) if hinge is None else hinge
        return cost(eta, self.ridge) + (self.price * hinge.clamp_min(0.0)).sum(dim=1)


@dataclass(frozen=True)
class Iterate:
    """Where the splitting stands, so that it can go on from there on a model that is a little different.

    Attributes
    ----------
    eta
        The change: within the bounds, with exact zeros.
    gene_dual, cell_dual
        Multipliers of the two splits; `cell_dual` is what each hinge costs at the optimum, from 0 to its price.
    """

    eta: Tensor
    gene_dual: Tensor
    cell_dual: Tensor


def split(model: LinearModel, start: Iterate, n_iter: int) -> Iterate:
    r"""So many steps of the alternating direction method of multipliers (Boyd et al. 2011), over-relaxed.

    The change is split into one that the margins see, moved by a linear solve over the cells, and one that the
    L1 norm and the bounds see, a soft threshold and a clip; the hinge is split off likewise. Margins are measured in
    units of the root mean square of their slopes, so that both splits are in the units of :math:`\eta` and weigh the
    same. The threshold is a share of the change that is needed, so that the unit of :math:`\eta` makes no difference.
    Nothing is smoothed.
    """
    unit = model.slope.square().sum(dim=(1, 2)).div((model.price > 0).sum(dim=1).clamp_min(1)).sqrt()
    unit = torch.where(unit > 0, unit, 1.0)[:, None]
    slope = model.slope / unit[:, None]
    stride = model.distance()[:, None] / _STRIDES
    offset, most = model.offset / unit, model.price * unit * stride
    gram = torch.bmm(slope, slope.mT)
    gram.diagonal(dim1=1, dim2=2).add_(1.0)
    solve = _inverse(gram)
    eta, p, q = start.eta, start.gene_dual * stride, start.cell_dual * unit * stride
    hinge = offset + row_times(eta, slope.mT)
    shrink = 1 / (1 + model.ridge * stride)
    for _ in range(n_iter):
        # what the margins see: the closest to both splits
        ahead, missed = eta - p, hinge - offset - q
        seen_by_cells = missed + row_times(row_times(ahead, slope.mT) - missed, solve)
        seen = torch.baddbmm(ahead[:, None], (missed - seen_by_cells)[:, None], slope).squeeze(1)
        wanted = torch.lerp(eta, seen, _OVER) + p
        eta = torch.clamp((wanted - torch.clamp(wanted, -stride, stride)) * shrink, model.lower, model.upper)
        p = wanted - eta
        wanted = torch.lerp(hinge, seen_by_cells + offset, _OVER) + q
        q = torch.minimum(wanted.clamp_min(0.0), most)
        hinge = wanted - q
    return Iterate(eta, p / stride, q / unit / stride)


def _inverse(matrix: Tensor) -> Tensor:
    """Of each of a batch of positive definite matrices, with 60 rows in a third of the time of the general way.

    One that is not, since a network gave no number, spoils its own contrast and no other.
    """
    if matrix.device.type == "mps":  # older torch has only the general one there
        return torch.linalg.inv(matrix)
    return torch.cholesky_inverse(torch.linalg.cholesky_ex(matrix).L)


def cost(eta: Tensor, ridge: float) -> Tensor:
    """What the change itself costs, per contrast."""
    return eta.abs().sum(dim=1) + ridge / 2 * eta.square().sum(dim=1)


def row_times(row: Tensor, matrix: Tensor) -> Tensor:
    """A row times a matrix, each of a batch: several times as fast as a matrix times a column."""
    return torch.bmm(row.unsqueeze(1), matrix).squeeze(1)
