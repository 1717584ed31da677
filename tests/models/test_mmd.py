from __future__ import annotations

import numpy as np
import pytest
import torch

from ace_scanpy.models import mmd

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def slow_mmd(points, batch, reference):
    """Pair by pair: mean over the other batches of k(A, A) + k(B, B) - 2 k(A, B)."""
    points = points.astype(np.float64)
    width = np.mean([[((a - b) ** 2).sum() for b in points] for a in points])

    def similarity(first, second):
        pairs = [((points[i] - points[j]) ** 2).sum() for i in first for j in second]
        return np.mean([[np.exp(-d / (h * width)) for h in WIDTHS] for d in pairs])

    members = {b: np.flatnonzero(batch == b) for b in np.unique(batch)}
    base = members.pop(reference)
    values = [similarity(m, m) + similarity(base, base) - 2 * similarity(m, base) for m in members.values()]
    return np.mean(values)


def draw(sizes, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    batch = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (rng.normal(size=(len(batch), 3)) + shift * batch[:, None]).astype(np.float32), batch


def value(points, batch, reference=0):
    return float(mmd(torch.from_numpy(np.asarray(points)), torch.from_numpy(np.asarray(batch)), reference))


@pytest.mark.parametrize("sizes", [(10, 10), (17, 2), (6, 9, 4), (3, 4, 5, 6)])
@pytest.mark.parametrize("reference", [0, 1])
def test_equals_a_slow_double_loop(sizes, reference):
    points, batch = draw(sizes)
    assert value(points, batch, reference) == pytest.approx(slow_mmd(points, batch, reference), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("sizes", [(10, 10), (40, 2), (2, 3, 30)])
def test_lies_between_zero_and_two(sizes, shift):
    points, batch = draw(sizes, shift=shift)
    assert 0.0 <= value(points, batch) <= 2.0


def test_far_apart_batches_cost_more_than_near_ones():
    near, far = (value(*draw((30, 30), shift=shift)) for shift in (0.1, 5.0))
    assert far > 10 * near


def test_identical_samples_cost_nothing():
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert value(np.concatenate([points, points]), np.repeat([0, 1], 20)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("sizes", [(10, 0), (0, 10), (10, 1), (1, 10), (1, 1)])
def test_is_zero_with_zero_gradient_when_a_minibatch_has_one_batch(sizes):
    points, batch = draw(sizes)
    latent = torch.from_numpy(points).requires_grad_()
    loss = mmd(latent, torch.from_numpy(batch))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(latent.grad, torch.zeros_like(latent))


def test_the_largest_batch_stands_in_for_a_reference_that_is_lacking():
    points, batch = draw((0, 5, 9, 7))
    assert value(points, batch, 0) == pytest.approx(slow_mmd(points, batch, 2), rel=1e-4)


def test_the_largest_batch_stands_in_for_a_reference_of_one_cell():
    points, batch = draw((1, 5, 9, 7))
    assert value(points, batch, 0) == value(points, batch, 2)


def test_the_numbering_of_the_batches_does_not_matter():
    points, batch = draw((6, 9, 4))
    renumbered = np.array([7, 3, 5])[batch]
    assert value(points, batch, 1) == pytest.approx(value(points, renumbered, 3), rel=1e-6)


@pytest.mark.parametrize("factor", [1e-3, 0.5, 1e3])
def test_shrinking_the_space_changes_nothing(factor):
    points, batch = draw((12, 15))
    assert value(factor * points, batch) == pytest.approx(value(points, batch), rel=1e-4)


def test_gradient_is_that_of_a_kernel_of_fixed_width():
    points, batch = draw((4, 5, 3))
    latent = torch.from_numpy(points.astype(np.float64)).requires_grad_()
    mmd(latent, torch.from_numpy(batch)).backward()
    points = points.astype(np.float64)
    width = ((points[:, None] - points[None]) ** 2).sum(axis=-1).mean()

    def at(moved):
        distances = ((moved[:, None] - moved[None]) ** 2).sum(axis=-1)
        kernel = np.mean([np.exp(-distances / (h * width)) for h in WIDTHS], axis=0)
        mean = np.array([[kernel[np.ix_(batch == a, batch == b)].mean() for b in range(3)] for a in range(3)])
        return np.mean([mean[b, b] + mean[0, 0] - 2 * mean[0, b] for b in (1, 2)])

    expected = np.empty_like(points)
    for index in np.ndindex(points.shape):
        step = np.zeros_like(points)
        step[index] = 1e-5
        expected[index] = (at(points + step) - at(points - step)) / 2e-5
    np.testing.assert_allclose(latent.grad.numpy(), expected, atol=1e-8)


@pytest.mark.parametrize("spread", [0.0, 1e-20, 1.0, 1e10])
def test_gradient_is_finite_with_repeated_and_collapsed_cells(spread):
    points, batch = draw((6, 6), shift=0.0)
    points = spread * points
    points[3] = points[4]
    latent = torch.from_numpy(points.astype(np.float32)).requires_grad_()
    loss = mmd(latent, torch.from_numpy(batch))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(latent.grad).all()
