"""Accelerated proximal gradient for a batch of contrasts, each with its own step length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ._contrast import Problem

_COARSE = (1.0, 0.3, 0.1)  # widths of the smoothed hinge, in units of alpha, one stage each
_COARSE_STEPS = 10  # of each stage
_LOOK = 20  # steps between two looks at what the refinement still gains
_SETTLED = 1e-5  # share of the objective
_GROWTH = 1.2
_SHRINK = 0.5
_MOST_HALVINGS = 30
_FIRST_STEP = 0.1
_LARGEST_STEP = 1e4

N_COARSE = _COARSE_STEPS * len(_COARSE)
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
    """A few steps at each of three shrinking widths of the hinge."""
    state = State.at_rest(eta, torch.full_like(lam, _FIRST_STEP).unsqueeze(1))
    for width in _COARSE:
        state = State.at_rest(state.eta, state.step)
        for _ in range(_COARSE_STEPS):
            state = _advance(problem, state, lam, width * problem.alpha)
    return state


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
    overshot = ((state.ahead - new) * (new - state.eta)).sum(dim=1, keepdim=True) > 0
    ahead = torch.where(overshot, new, new + (state.momentum - 1) / grown * (new - state.eta))
    return State(new, ahead, torch.where(overshot, torch.ones_like(grown), grown), step)


def _backtrack(
    problem: Problem, at: Tensor, value: Tensor, slope: Tensor, step: Tensor, lam: Tensor, width: float
) -> tuple[Tensor, Tensor]:
    """A proximal step from ``at`` whose length each contrast halves until the quadratic bound holds."""
    step = step.clone()
    new = problem.prox(at - step * slope, step)
    rows, part = torch.arange(len(lam), device=lam.device), problem
    for _ in range(_MOST_HALVINGS):
        move = new[rows] - at[rows]
        bound = value[rows] + (slope[rows] * move).sum(dim=1) + move.square().sum(dim=1) / (2 * step[rows].squeeze(1))
        # written so that a value that is not a number counts as too long
        too_long = ~(part.loss(part.margin(part.shift(new[rows])), lam[rows], width) <= bound)
        if not too_long.any():
            break
        rows = rows[too_long]
        part = problem.subset(rows)
        step[rows] *= _SHRINK
        new[rows] = part.prox(at[rows] - step[rows] * slope[rows], step[rows])
    return new, step
