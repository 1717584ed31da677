"""From one lambda to the next: each contrast of a batch follows the path at its own pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ._linearized import Point, advance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ._contrast import Problem
    from ._linearized import Step

_STEPS = 20  # of the splitting on each model, which goes on from the one before; twice as many on the first
# A lambda is given up that moves less than a share of the cells wanted: of the first by one model, if it is solved as
# far as that and says so too; of the second by three.
_FAR, _SOLVED = 0.7, 0.03
_NEAR, _LOOK = 0.9, 3


def follow(
    problem: Problem, path: Sequence[float], wanted: float, max_iter: int, tolerance: float
) -> tuple[Point, Tensor, int]:
    """Where each contrast ends, its lambda, and the linear models solved one after the other.

    A contrast is done with a lambda when two models since the last gain were solved and brought no more than the
    tolerance, a share of the objective, or after `max_iter` of them. It takes the next lambda, from where it stands,
    until the wanted share of the cells has moved.
    """
    point, like = Point.start(problem), problem.gene_weight
    values = torch.tensor(path, dtype=like.dtype, device=like.device)
    place = torch.zeros_like(problem.margins.source)  # on the path, where each contrast ends
    going = torch.arange(len(place), device=place.device)
    if len(path) > 1:
        going = going[point.flip_rate < wanted]
    part, here, n_iter = problem.subset(going), point.subset(going), 0
    at, models, idle = (place[going] for _ in range(3))
    while len(going) and max_iter:
        here, step = advance(part, here, values[at], _STEPS * (2 if n_iter == 0 else 1))
        n_iter, models = n_iter + 1, models + 1
        idle = torch.where(step.gain > tolerance, 0, idle + ((step.gap <= tolerance) | step.is_barred))
        settled, last = (idle >= 2) | (models >= max_iter), at == len(path) - 1
        done = settled & (last | (here.flip_rate >= wanted))
        onward = ~done & ~last & (settled | _is_too_small(here, step, models, wanted))
        at, models, idle = at + onward.long(), models * ~onward, idle * ~onward
        if done.any():
            point.put(going[done], here.subset(done))
            place[going[done]] = at[done]
            rest = ~done
            going, at, models, idle = going[rest], at[rest], models[rest], idle[rest]
            part, here = part.subset(rest), here.subset(rest)
    return point, values[place], n_iter


def _is_too_small(here: Point, step: Step, models: Tensor, wanted: float) -> Tensor:
    """Whether lambda moves so few cells that the next is better tried at once."""
    far = (torch.maximum(here.flip_rate, step.flip_rate) < _FAR * wanted) & (step.gap <= _SOLVED)
    return torch.where(models < _LOOK, far & (models == 1), here.flip_rate < _NEAR * wanted)
