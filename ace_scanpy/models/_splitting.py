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
        :math:`g`, genes first, shape ``(n_contrasts, n_genes, n_cells)``.
    by_cell
        The same, cells first: a row times a matrix is several times as fast as a matrix times a column.
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
    by_cell: Tensor
    offset: Tensor
    price: Tensor
    lower: Tensor
    upper: Tensor
    ridge: float = 0.0

    def hinge(self, eta: Tensor) -> Tensor:
        """What is inside the hinge, per contrast and cell."""
        return self.offset + row_times(eta, self.slope)

    def distance(self) -> Tensor:
        """How much of its steepest gene each cell lacks to the end of its hinge, the mean over those that lack some."""
        steepest = self.slope.abs().amax(dim=1)
        paying = self.price * ((self.offset > 0) & (steepest > 0))
        far = (paying * self.offset / torch.where(steepest > 0, steepest, 1.0)).sum(dim=1)
        return torch.where(far > 0, far / paying.sum(dim=1), 1.0)

    def gap(self, eta: Tensor, dual: Tensor) -> Tensor:
        """By how much a solution may be above the optimum at most, given a multiplier of each hinge."""
        pull = row_times(dual, self.by_cell)
        towards = torch.where(pull < 0, self.upper, -self.lower)
        if not self.ridge:  # where there is no bound, shrink the multipliers until leaving zero does not pay
            free = torch.where(towards.isinf(), pull.abs(), 1.0).amax(dim=1, keepdim=True).clamp_min(1.0)
            pull, dual = pull / free, dual / free
            towards = torch.where(towards.isinf(), 0.0, towards)
        pays = (pull.abs() - 1.0).clamp_min(0.0)
        far = torch.minimum(towards, pays / self.ridge) if self.ridge else towards
        paid = pays * far - self.ridge / 2 * far.square()
        return self.value(eta) - (dual * self.offset).sum(dim=1) + paid.sum(dim=1)

    def value(self, eta: Tensor) -> Tensor:
        """The objective, per contrast."""
        return cost(eta, self.ridge) + (self.price * self.hinge(eta).clamp_min(0.0)).sum(dim=1)


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
    by_gene, by_cell = model.slope / unit[:, None], model.by_cell / unit[:, None]
    stride = model.distance()[:, None] / _STRIDES
    offset, most = model.offset / unit, model.price * unit * stride
    gram = torch.bmm(by_cell, by_gene)
    solve = torch.linalg.inv(gram + torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device))
    eta, p, q = start.eta, start.gene_dual * stride, start.cell_dual * unit * stride
    hinge = offset + row_times(eta, by_gene)
    for _ in range(n_iter):
        # what the margins see: the closest to both splits
        ahead, missed = eta - p, hinge - offset - q
        at_cells = row_times(row_times(ahead, by_gene) + row_times(missed, gram), solve)
        seen = ahead + row_times(missed - at_cells, by_cell)
        wanted = _OVER * seen + (1 - _OVER) * eta + p
        shrunk = (wanted - torch.clamp(wanted, -stride, stride)) / (1 + model.ridge * stride)
        eta = torch.clamp(shrunk, model.lower, model.upper)
        p = wanted - eta
        wanted = _OVER * (at_cells + offset) + (1 - _OVER) * hinge + q
        q = torch.minimum(wanted.clamp_min(0.0), most)
        hinge = wanted - q
    return Iterate(eta, p / stride, q / unit / stride)


def cost(eta: Tensor, ridge: float) -> Tensor:
    """What the change itself costs, per contrast."""
    return eta.abs().sum(dim=1) + ridge / 2 * eta.square().sum(dim=1)


def row_times(row: Tensor, matrix: Tensor) -> Tensor:
    """A row times a matrix, each of a batch."""
    return torch.bmm(row.unsqueeze(1), matrix).squeeze(1)
