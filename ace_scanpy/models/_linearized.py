"""One linear model of the margins after another: a network is nearly linear along a small change of the genes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import torch

from ._splitting import Iterate, LinearModel, cost, row_times, split

if TYPE_CHECKING:
    from torch import Tensor

    from ._contrast import Problem

_ENOUGH = 0.1  # share of the decrease that the model promises
_SHARES = (1 / 4, 1 / 16, 1 / 64)  # of the way, tried where all of it is too far

N_CANDIDATES = 128
"""Genes that may move at a time."""


@dataclass(frozen=True)
class Point:
    """Where each contrast stands: the change, the margins there with their slopes, and the multipliers."""

    eta: Tensor
    ahead: Tensor  # the change where the splitting stands
    shift: Tensor
    paid: Tensor  # what the change costs
    margin: Tensor
    slope: Tensor  # of the margins with respect to the pre-activation
    flip_rate: Tensor
    gene_dual: Tensor
    cell_dual: Tensor

    @classmethod
    def start(cls, problem: Problem) -> Self:
        """No change at all."""
        eta = torch.zeros_like(problem.gene_weight)
        shift = torch.zeros_like(problem.margins.cells[:, 0])
        unknown = torch.zeros_like(problem.cell_weight)
        margin, slope, flip_rate = problem.margins.linearized(shift)
        return cls(eta, eta.clone(), shift, torch.zeros_like(flip_rate), margin, slope, flip_rate, eta.clone(), unknown)

    def subset(self, rows: Tensor) -> Self:
        """Some of the contrasts."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def put(self, rows: Tensor, other: Point) -> None:
        """Move some of the contrasts."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)

    def value(self, problem: Problem, lam: Tensor) -> Tensor:
        """The objective."""
        return self.paid + problem.hinge(self.margin, lam)


@dataclass(frozen=True)
class Step:
    """What a linear model promised, and what came of it.

    Attributes
    ----------
    gain
        Share of the objective that it took away.
    gap
        How far the model's solution may be from its optimum, a share too.
    is_barred
        Whether the model is worth a step but the network follows it nowhere: there is nothing to wait for.
    flip_rate
        Share of the cells that the solution moves beyond the margin 0, were the network linear.
    """

    gain: Tensor
    gap: Tensor
    is_barred: Tensor
    flip_rate: Tensor


@dataclass(frozen=True)
class _Way:
    """Where a linear model leads: the candidate genes' change and how it differs, and what that is worth."""

    eta: Tensor
    by: Tensor
    shift: Tensor  # of the pre-activation
    value: Tensor  # the objective now
    others: Tensor  # what the genes that stay cost
    promised: Tensor

    def cost(self, rows: Tensor, share: float, ridge: float) -> Tensor:
        """What the change costs a share of the way along."""
        return self.others[rows] + cost(self.eta[rows] + share * self.by[rows], ridge)

    def is_worth(self, rows: Tensor, share: float, value: Tensor) -> Tensor:
        """Whether an objective there is lower by a part of the promise; not where it is no number."""
        return value <= self.value[rows] - _ENOUGH * share * self.promised[rows]


def advance(problem: Problem, here: Point, lam: Tensor, n_steps: int) -> tuple[Point, Step]:
    """Solve the linear model at a point, as far as so many steps go, and move as far as lowers the objective.

    The objective is a convex function, the norms and the hinges, of margins that are smooth: the model keeps the first
    and makes the second linear (the prox-linear method, Lewis and Wright 2016). The point given is used up.
    """
    value = here.value(problem, lam)
    price = lam[:, None] * problem.cell_weight
    known = here.cell_dual.any(dim=1, keepdim=True)
    pays = torch.where(known, here.cell_dual, price * (problem.alpha + here.margin > 0))
    genes = _candidates(problem, here.eta, problem.slope(row_times(pays, here.slope)))
    eta, weight = here.eta.gather(1, genes), problem.gene_weight.gather(1, genes)
    of_genes = problem.encoder.of_genes(genes)
    slope = torch.bmm(here.slope, of_genes) / weight[:, None]
    model = LinearModel(
        slope,
        problem.alpha + here.margin - row_times(eta, slope.mT),
        price,
        problem.lower.gather(1, genes),
        problem.upper.gather(1, genes),
        problem.ridge,
    )
    found = split(model, Iterate(here.ahead.gather(1, genes), here.gene_dual.gather(1, genes), here.cell_dual), n_steps)
    hinge = model.hinge(found.eta)
    solved, others = model.value(found.eta, hinge), here.paid - cost(eta, problem.ridge)
    by = found.eta - eta
    way = _Way(eta, by, row_times(by / weight, of_genes.mT), value, others, value - others - solved)
    share, margin, slopes, flip_rate = _search(problem, here, lam, way)
    moved = torch.where(share == 1, found.eta, eta + share * by)
    point = Point(
        here.eta.scatter_(1, genes, moved),
        here.ahead.copy_(here.eta).scatter_(1, genes, found.eta),
        here.shift + share * way.shift,
        others + cost(moved, problem.ridge),
        margin,
        slopes,
        flip_rate,
        here.gene_dual.scatter_(1, genes, found.gene_dual),
        found.cell_dual,
    )
    gap = model.gap(solved, found.cell_dual)
    is_barred = (share[:, 0] == 0) & (way.promised > gap)
    counted = (problem.cell_weight > 0).to(price)
    would_flip = ((hinge < problem.alpha) * counted).sum(dim=1) / counted.sum(dim=1)
    unit = value.clamp_min(torch.finfo(value.dtype).tiny)
    return point, Step((value - point.value(problem, lam)) / unit, gap / unit, is_barred, would_flip)


def _candidates(problem: Problem, eta: Tensor, slope: Tensor) -> Tensor:
    """The genes whose place is the least settled, given what a unit of each lowers the hinges by; its cost is 1.

    Those between their bounds come first, then those that pay for leaving 0 or their bound, then those that nearly do.
    """
    urgent = torch.where(torch.where(slope < 0, problem.upper, problem.lower) != 0, slope.abs(), 0.0)
    row, gene = eta.nonzero(as_tuple=True)
    at, gain = eta[row, gene], -slope[row, gene] * eta[row, gene].sign()
    bounded = (at == problem.lower[row, gene]) | (at == problem.upper[row, gene])
    urgent[row, gene] = torch.where(bounded, 1.0 / gain.clamp_min(1e-6), torch.inf)
    return urgent.topk(min(N_CANDIDATES, urgent.shape[1]), dim=1, sorted=False).indices


def _search(problem: Problem, here: Point, lam: Tensor, way: _Way) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How much of the way, cut as often as needed, lowers the objective by a part of the promise; 0 where none.

    Also the margins where that leads, the slopes of the next model and the flip rate. They are those there; where there
    is no way, a kink of the network bars it, and the slopes are those behind the kink.
    """

    def too_far(rows: Tensor, share: float, margin: Tensor) -> Tensor:
        value = way.cost(rows, share, problem.ridge) + problem.hinge(margin, lam[rows], rows)
        return rows[~way.is_worth(rows, share, value)]

    kept = torch.where(way.promised > 0, 1.0, 0.0)
    margin, slope, flip_rate = problem.margins.linearized(here.shift + kept.unsqueeze(1) * way.shift)
    rest = kept.nonzero().squeeze(1)
    rest = cut = too_far(rest, 1.0, margin[rest])
    for share in _SHARES:
        if not len(rest):
            break
        kept[rest] = share
        rest = too_far(rest, share, problem.margins.subset(rest).at(here.shift[rest] + share * way.shift[rest]))
    if len(cut):
        at = here.shift[cut] + kept[cut].unsqueeze(1) * way.shift[cut]
        margin[cut], slope[cut], flip_rate[cut] = problem.margins.subset(cut).linearized(at)
        margin[rest], flip_rate[rest], kept[rest] = here.margin[rest], here.flip_rate[rest], 0.0
        slope[rest] = torch.where(slope[rest].isfinite(), slope[rest], here.slope[rest])
    return kept.unsqueeze(1), margin, slope, flip_rate
