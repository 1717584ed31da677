"""From one lambda to the next: each contrast of a batch follows the path at its own pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ._linearized import Point, advance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ._contrast import Problem
    from ._linearized import Outlook

_STEPS = 20  # of the splitting on each model, which goes on from the one before; twice as many on the first
_FAR, _LOOK, _NEAR = 0.7, 3, 0.9
_SOLVED = 0.03
"""A lambda is given up that moves too few cells: less than the first share of those wanted, by the first model and by
its solution both, or less than the last after some models."""


def follow(
    problem: Problem, path: Sequence[float], wanted: float, max_iter: int, tolerance: float
) -> tuple[Point, Tensor, int]:
    """Where each contrast ends, its lambda, and the linear models solved one after the other.

    A contrast is done with a lambda when two models in turn are solved and bring no more than the tolerance, a share of
    the objective, or after `max_iter` of them. It takes the next lambda, from where it stands, until the wanted share
    of the cells has moved.
    """
    point, values = Point.start(problem), problem.gene_weight.new_tensor(path)
    place = torch.zeros_like(problem.margins.source)  # on the path, where each contrast ends
    going = torch.arange(len(place), device=place.device)
    if len(path) > 1:
        going = going[point.flip_rate < wanted]
    part, here, n_iter = problem.subset(going), point.subset(going), 0
    at, models, idle = (place[going] for _ in range(3))
    while len(going) and max_iter:
        lam, last = values[at], at == len(path) - 1
        before = here.value(part, lam)
        here, outlook = advance(part, here, lam, _STEPS * (2 if n_iter == 0 else 1))
        n_iter, models = n_iter + 1, models + 1
        flat = before - here.value(part, lam) <= tolerance * before
        idle = torch.where(flat, idle + (outlook.gap <= tolerance * before), 0)
        settled = (idle >= 2) | (models >= max_iter)
        done = settled & (last | (here.flip_rate >= wanted))
        onward = (
            ~done & ~last & (settled | _is_hopeless(here, outlook, outlook.gap <= _SOLVED * before, models, wanted))
        )
        at, models, idle = at + onward.long(), models * ~onward, idle * ~onward
        if done.any():
            point.put(going[done], here.subset(done))
            place[going[done]] = at[done]
            rest = (~done).nonzero().squeeze(1)
            going, at, models, idle = going[rest], at[rest], models[rest], idle[rest]
            part, here = part.subset(rest), here.subset(rest)
    return point, values[place], n_iter


def _is_hopeless(here: Point, outlook: Outlook, solved: Tensor, models: Tensor, wanted: float) -> Tensor:
    """Whether so few cells have moved that the next lambda is better tried at once."""
    far = solved & (torch.maximum(here.flip_rate, outlook.flip_rate) < _FAR * wanted)
    return torch.where(models < _LOOK, far & (models == 1), here.flip_rate < _NEAR * wanted)
