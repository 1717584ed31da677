"""Descent by linear models of the margins: a network is nearly linear along a small change of the genes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import torch

from ._splitting import Iterate, LinearModel, cost, row_times, split

if TYPE_CHECKING:
    from torch import Tensor

    from ._contrast import Problem

_STEPS = 20  # of the splitting on each model, which goes on from the one before; twice as many on the first
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
    margin: Tensor
    slope: Tensor  # of the margins with respect to the pre-activation
    gene_dual: Tensor
    cell_dual: Tensor

    @classmethod
    def start(cls, problem: Problem) -> Self:
        """No change at all."""
        eta = torch.zeros_like(problem.gene_weight)
        shift = torch.zeros_like(problem.cells[:, 0])
        unknown = torch.zeros_like(problem.cell_weight)
        return cls(eta, eta.clone(), shift, *problem.linearized(shift), torch.zeros_like(eta), unknown)

    def subset(self, rows: Tensor) -> Self:
        """Some of the contrasts."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def put(self, rows: Tensor, other: Point) -> None:
        """Move some of the contrasts."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)

    def value(self, problem: Problem, lam: Tensor) -> Tensor:
        """The objective."""
        return cost(self.eta, problem.ridge) + problem.hinge(self.margin, lam)


def descend(problem: Problem, lam: Tensor, point: Point, max_iter: int, tolerance: float) -> int:
    """Move the point down the objective until no contrast gains any more; the linear models it took.

    The objective is a convex function, the L1 norm and the hinges, of margins that are smooth: each model keeps the
    first and makes the second linear (the prox-linear method, Lewis and Wright 2016). A contrast goes as far towards
    the model's solution as lowers the objective, and leaves when two models in turn are solved and bring no more than
    the tolerance, a share of the objective.
    """
    going, idle = torch.arange(len(lam), device=lam.device), torch.zeros_like(lam)
    part, here, before = problem, point, point.value(problem, lam)
    for taken in range(max_iter):
        here, gap = _advance(part, here, lam[going], before, _STEPS * (2 if taken == 0 else 1))
        point.put(going, here)
        value = here.value(part, lam[going])
        idle = torch.where(before - value > tolerance * before, 0.0, idle + (gap <= tolerance * before))
        rest = (idle < 2).nonzero().squeeze(1)
        if not len(rest):
            return taken + 1
        before = value
        if len(rest) < len(going):
            going, part, here, idle, before = going[rest], part.subset(rest), here.subset(rest), idle[rest], value[rest]
    return max_iter


def _advance(problem: Problem, here: Point, lam: Tensor, value: Tensor, n_steps: int) -> tuple[Point, Tensor]:
    """Solve the linear model at a point, as far as so many steps go, and move; also how far that is from its optimum.

    Where the model is worth a step but the network follows it nowhere, there is nothing to wait for: 0.
    """
    price = lam[:, None] * problem.cell_weight
    known = here.cell_dual.any(dim=1, keepdim=True)
    paid = torch.where(known, here.cell_dual, price * (problem.alpha + here.margin > 0))
    genes = _candidates(problem, here.eta, problem.slope(row_times(paid, here.slope)))
    eta, weight = here.eta.gather(1, genes), problem.gene_weight.gather(1, genes)
    unit = problem.encoder.of_genes(genes) / weight.unsqueeze(1)
    by_cell = torch.bmm(here.slope, unit)
    slope = by_cell.transpose(1, 2).contiguous()
    lower, upper = problem.lower.gather(1, genes), problem.upper.gather(1, genes)
    offset = problem.alpha + here.margin - row_times(eta, slope)
    model = LinearModel(slope, by_cell, offset, price, lower, upper, problem.ridge)
    found = split(model, Iterate(here.ahead.gather(1, genes), here.gene_dual.gather(1, genes), here.cell_dual), n_steps)
    others = cost(here.eta, problem.ridge) - cost(eta, problem.ridge)
    promised = value - others - model.value(found.eta)
    step = row_times(found.eta - eta, unit.transpose(1, 2))
    share, margin, slope = _search(problem, here, lam, value, promised, eta, found.eta, step)
    moved = torch.where(share == 1, found.eta, eta + share * (found.eta - eta))
    gene_dual = here.gene_dual.scatter(1, genes, found.gene_dual)
    there = Point(
        here.eta.scatter(1, genes, moved),
        here.eta.scatter(1, genes, found.eta),
        here.shift + share * step,
        margin,
        slope,
        gene_dual,
        found.cell_dual,
    )
    gap = model.gap(found.eta, found.cell_dual)
    return there, torch.where((share[:, 0] == 0) & (promised > gap), 0.0, gap)


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


def _search(
    problem: Problem,
    here: Point,
    lam: Tensor,
    value: Tensor,
    promised: Tensor,
    eta: Tensor,
    there: Tensor,
    step: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """How much of the way, cut as often as needed, lowers the objective by a part of the promise; 0 where none.

    Also the margins where that leads and the slopes of the next model. They are those there; where there is no way, a
    kink of the network bars it, and they are those behind the kink.
    """
    others = cost(here.eta, problem.ridge) - cost(eta, problem.ridge)

    def too_far(rows: Tensor, share: float, hinge: Tensor) -> Tensor:
        of_change = others[rows] + cost(eta[rows] + share * (there - eta)[rows], problem.ridge)
        # written so that a value that is not a number counts as too far
        return rows[~(of_change + hinge <= value[rows] - _ENOUGH * share * promised[rows])]

    kept = torch.where(promised > 0, 1.0, 0.0)
    margin, slope = problem.linearized(here.shift + kept.unsqueeze(1) * step)
    rest = too_far(kept.nonzero().squeeze(1), 1.0, problem.hinge(margin, lam)[kept > 0])
    cut = rest
    for share in _SHARES:
        if not len(rest):
            break
        kept[rest] = share
        part = problem.subset(rest)
        margins = part.margin(part.cells + (here.shift[rest] + share * step[rest])[:, None])
        rest = too_far(rest, share, part.hinge(margins, lam[rest]))
    if len(cut):
        at = here.shift[cut] + kept[cut].unsqueeze(1) * step[cut]
        margin[cut], slope[cut] = problem.subset(cut).linearized(at)
        margin[rest], kept[rest] = here.margin[rest], 0.0
    return kept.unsqueeze(1), margin, slope
