"""The convex problem inside the solver against linear programs, by the general method of scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from ace_scanpy.models._splitting import Iterate, LinearModel, split

N_GENES, N_CELLS = 40, 12


def model(seed, *, bound=1.5, unit=1.0, n=3):
    """Contrasts whose cells pull in like directions, as those of a group do, `unit` being that of the change."""
    rng = np.random.default_rng(seed)
    slope = rng.normal(size=(n, 1, N_GENES)) + 0.7 * rng.normal(size=(n, N_CELLS, N_GENES))
    lower, upper = (-bound * rng.uniform(0, 1, size=(n, N_GENES)), bound * rng.uniform(0, 1, size=(n, N_GENES)))
    price = unit * rng.uniform(0.5, 1.5, size=(n, N_CELLS)) * 3
    slope, offset, price, lower, upper = (
        torch.tensor(v)
        for v in (slope / unit, rng.uniform(1, 9, size=(n, N_CELLS)), price, np.minimum(lower, 0) * unit, upper * unit)
    )
    return LinearModel(slope, offset, price, lower, upper)


def start(problem):
    return Iterate(*(torch.zeros_like(v) for v in (problem.lower, problem.lower, problem.offset)))


def optimum(problem, row):
    g = problem.slope[row].numpy()
    cost = np.concatenate([np.ones(2 * N_GENES), problem.price[row].numpy()])
    bounds = [(0, u) for u in problem.upper[row].tolist()] + [(0, -u) for u in problem.lower[row].tolist()]
    found = linprog(
        cost,
        np.hstack([g, -g, -np.eye(N_CELLS)]),
        -problem.offset[row].numpy(),
        bounds=[*bounds, *[(0, None)] * N_CELLS],
    )
    assert found.success
    return found.fun, found.x[:N_GENES] - found.x[N_GENES : 2 * N_GENES]


@pytest.mark.parametrize("bound", [0.3, 1.5, np.inf])
@pytest.mark.parametrize("seed", [0, 1])
def test_reaches_the_optimum_and_its_zeros(seed, bound):
    problem = model(seed, bound=bound) if np.isfinite(bound) else model(seed, bound=1e9)
    found = split(problem, start(problem), 20_000)
    assert ((found.eta >= problem.lower) & (found.eta <= problem.upper)).all()
    for row in range(len(found.eta)):
        best, eta = optimum(problem, row)
        assert best < problem.value(torch.zeros_like(found.eta))[row] * 0.9
        assert problem.value(found.eta)[row].item() == pytest.approx(best, rel=1e-4)
        np.testing.assert_array_equal(found.eta[row].numpy() != 0, np.abs(eta) > 1e-7)


def test_the_gap_bounds_the_distance_to_the_optimum_and_closes():
    problem = model(2)
    best = torch.tensor([optimum(problem, row)[0] for row in range(3)], dtype=torch.float64)
    gaps = []
    for n in (10, 100, 20_000):
        found = split(problem, start(problem), n)
        above = problem.value(found.eta) - best
        gap = problem.gap(problem.value(found.eta), found.cell_dual)
        assert (gap >= above - 1e-9).all()
        gaps.append(gap.max().item())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-4 * best.max().item()


def test_the_gap_is_a_bound_without_bounds_on_the_change_too():
    problem = model(3, bound=1e9)
    free = LinearModel(
        problem.slope,
        problem.offset,
        problem.price,
        torch.full_like(problem.lower, -torch.inf),
        torch.full_like(problem.upper, torch.inf),
    )
    best = torch.tensor([optimum(problem, row)[0] for row in range(3)], dtype=torch.float64)
    for n in (10, 20_000):
        found = split(free, start(free), n)
        gap = free.gap(free.value(found.eta), found.cell_dual)
        assert (gap >= free.value(found.eta) - best - 1e-9).all()
    assert (gap < 1e-3 * best).all()


def test_going_on_is_the_same_as_not_stopping():
    problem = model(4)
    whole, half = split(problem, start(problem), 2000), split(problem, start(problem), 1000)
    rest = split(problem, half, 1000)  # the hinges start from the change and not from where they were
    torch.testing.assert_close(problem.value(rest.eta), problem.value(whole.eta), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_the_unit_of_the_change_makes_no_difference(unit):
    plain, scaled = model(5), model(5, unit=unit)
    for n in (5, 50):
        one, other = split(plain, start(plain), n), split(scaled, start(scaled), n)
        torch.testing.assert_close(other.eta / unit, one.eta, rtol=1e-6, atol=1e-9)


def test_cells_without_a_price_and_a_slope_play_no_part():
    problem = model(6)
    slope = torch.nn.functional.pad(problem.slope, (0, 0, 0, 5))
    more = [torch.nn.functional.pad(v, (0, 5)) for v in (problem.offset, problem.price)]
    padded = LinearModel(slope, *more, problem.lower, problem.upper)
    one, other = split(problem, start(problem), 60), split(padded, start(padded), 60)
    torch.testing.assert_close(one.eta, other.eta)


def test_nothing_to_pay_leaves_everything_at_zero():
    problem = model(7)
    paid = LinearModel(problem.slope, -problem.offset, problem.price, problem.lower, problem.upper)
    found = split(paid, start(paid), 20)
    assert (found.eta == 0).all()
    assert (paid.gap(paid.value(found.eta), found.cell_dual) == 0).all()


def test_a_ridge_is_the_quadratic_program():
    """Its gap closes, no neighbour is lower, and more genes move than without."""
    plain = model(8)
    problem = LinearModel(*(getattr(plain, f) for f in ("slope", "offset", "price", "lower", "upper")), 0.5)
    found = split(problem, start(problem), 20_000)
    gap = problem.gap(problem.value(found.eta), found.cell_dual)
    assert (gap <= 1e-6 * problem.value(found.eta)).all()
    assert (gap >= -1e-9).all()
    for n in (10, 100):
        early = split(problem, start(problem), n)
        above = problem.value(early.eta) - problem.value(found.eta)
        assert (problem.gap(problem.value(early.eta), early.cell_dual) >= above - 1e-6).all()
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):  # convex: no neighbour within the bounds is lower
        step = 1e-3 * torch.randn(found.eta.shape, generator=rng, dtype=torch.float64)
        near = torch.clamp(found.eta + step, problem.lower, problem.upper)
        assert (problem.value(near) >= problem.value(found.eta) - 1e-7).all()
    assert ((found.eta != 0).sum(dim=1) > (split(plain, start(plain), 20_000).eta != 0).sum(dim=1)).all()
