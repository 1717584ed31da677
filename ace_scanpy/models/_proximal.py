"""Accelerated proximal gradient for a batch of contrasts, each with its own step length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.linalg import vecdot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ._contrast import Problem

_COARSE_WIDTH = 1.0  # of the smoothed hinge, in units of alpha
_COARSE_STEPS = 10
_LOOK = 20  # steps between two looks at what the refinement still gains
_SETTLED = 1e-5  # share of the objective
_GROWTH = 1.2
_SHRINK = 0.5
_MOST_HALVINGS = 30
_FIRST_STEP = 0.1
_DECREASE = 1e-4  # of the objective, per squared move over twice the step length
_MOST_GROWTH = 10.0
_LARGEST_STEP = 1e4

N_COARSE = _COARSE_STEPS
"""Steps that `coarse` takes."""


@dataclass(frozen=True)
class State:
    """Where the accelerated proximal gradient stands, per contrast."""

    eta: Tensor
    ahead: Tensor  # where the next gradient is taken
    momentum: Tensor
    step: Tensor

    @classmethod
    def at_rest(cls, eta: Tensor, step: Tensor) -> State:
        """Without momentum; step lengths of shape ``(n_contrasts, 1)``."""
        return cls(eta, eta, torch.ones_like(step), step)

    def subset(self, rows: Tensor) -> State:
        """The state of some of the contrasts."""
        return State(self.eta[rows], self.ahead[rows], self.momentum[rows], self.step[rows])


def coarse(problem: Problem, eta: Tensor, lam: Tensor) -> State:
    """A few steps with a wide hinge, whose lengths are those of Barzilai and Borwein (SpaRSA, Wright et al. 2009).

    One forward pass serves the test of a step and the next gradient: half of what an accelerated step costs.
    """
    width, step = _COARSE_WIDTH * problem.alpha, torch.full_like(lam, _FIRST_STEP).unsqueeze(1)
    value, slope, rounding = problem.value_and_gradient(eta, lam, width)
    value = value + eta.abs().sum(dim=1)
    for _ in range(_COARSE_STEPS):
        new = problem.prox(eta.addcmul(slope, step, value=-1), step)
        new_value, new_slope, _ = problem.value_and_gradient(new, lam, width)
        new_value = new_value + new.abs().sum(dim=1)
        move = new - eta
        square = vecdot(move, move).unsqueeze(1)
        enough = new_value <= value + rounding - _DECREASE / 2 * (square / step).squeeze(1)
        taken = enough.unsqueeze(1)  # False for a value that is not a number
        curvature = vecdot(move, new_slope - slope).unsqueeze(1)
        longest = (_MOST_GROWTH * step).clamp_max(_LARGEST_STEP)
        spectral = torch.where(curvature > 0, torch.minimum(square / curvature, longest), longest)
        step = torch.where(taken, spectral, _SHRINK * step)
        eta, slope = torch.where(taken, new, eta), torch.where(taken, new_slope, slope)
        value = torch.where(enough, new_value, value)
    return State.at_rest(eta, step)


def refine(
    problem: Problem, start: State, lam: Tensor, max_iter: int, smoothing: Sequence[float]
) -> tuple[Tensor, int]:
    """At each width, go on until the objective is flat; a contrast that is done leaves the batch."""
    eta, step, taken = start.eta.clone(), start.step.clone(), 0
    for width in smoothing:
        going, part = torch.arange(len(eta), device=eta.device), problem
        state = State.at_rest(eta, step)
        before = torch.full_like(lam, torch.inf)
        for n in range(1, max_iter + 1):
            state = _advance(part, state, lam[going], width * problem.alpha)
            eta[going], step[going] = state.eta, state.step
            taken += 1
            if n % _LOOK:
                continue
            value = part.value(state.eta, lam[going], width * problem.alpha)
            rest = (value < before * (1 - _SETTLED)).nonzero().squeeze(1)
            if not len(rest):
                break
            going, part, state, before = going[rest], part.subset(rest), state.subset(rest), value[rest]
    return eta, taken


def _advance(problem: Problem, state: State, lam: Tensor, width: float) -> State:
    """One step of FISTA with backtracking and adaptive restart."""
    value, slope, rounding = problem.value_and_gradient(state.ahead, lam, width)
    step = (state.step * _GROWTH).clamp_max(_LARGEST_STEP)
    new, step = _backtrack(problem, state.ahead, value + rounding, slope, step, lam, width)
    grown = (1 + (1 + 4 * state.momentum**2).sqrt()) / 2
    move = new - state.eta
    overshot = vecdot(state.ahead - new, move).unsqueeze(1) > 0
    ahead = new.addcmul(move, torch.where(overshot, 0.0, (state.momentum - 1) / grown))
    return State(new, ahead, torch.where(overshot, torch.ones_like(grown), grown), step)


def _backtrack(
    problem: Problem, at: Tensor, value: Tensor, slope: Tensor, step: Tensor, lam: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """A proximal step from ``at`` whose length each contrast halves until the quadratic bound holds."""
    new = problem.prox(at.addcmul(slope, step, value=-1), step)
    fits = _within_bound(problem, new, at, value, slope, step, lam, width)
    for _ in range(_MOST_HALVINGS):
        if fits.all():
            break
        rows = (~fits).nonzero().squeeze(1)
        part, where, down, shorter = problem.subset(rows), at[rows], slope[rows], step[rows] * _SHRINK
        moved = part.prox(where.addcmul(down, shorter, value=-1), shorter)
        new, step = new.index_copy(0, rows, moved), step.index_copy(0, rows, shorter)
        fits[rows] = _within_bound(part, moved, where, value[rows], down, shorter, lam[rows], width)
    return new, step


def _within_bound(
    problem: Problem, new: Tensor, at: Tensor, value: Tensor, slope: Tensor, step: Tensor, lam: Tensor, width: float
) -> Tensor:
    """Whether the smooth part is below its quadratic bound; not where its value is not a number."""
    move = new - at
    bound = value + vecdot(slope, move) + vecdot(move, move) / (2 * step.squeeze(1))
    return problem.loss(problem.margin(problem.shift(new)), lam, width) <= bound
