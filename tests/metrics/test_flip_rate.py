from __future__ import annotations

import numpy as np
import pytest
import torch

from ace_scanpy import metrics
from ace_scanpy.models import NeuralizedClustering

CELLS = np.array([[0.0, 0.0], [0.4, 0.0], [-0.6, 0.0], [0.9, 0.0]])


def nearest(x):
    """A linear encoder, z = x0 + 2 x1, and prototypes at 0, 4 and -10: boundaries at 2 and -5."""
    z = np.asarray(x) @ [1.0, 2.0]
    return np.abs(z[:, None] - [0.0, 4.0, -10.0]).argmin(axis=1)


@pytest.mark.parametrize(
    ("delta", "target", "expected"),
    [
        ([1.5, 0.0], 1, 1 / 4),  # 0.9 passes 2
        ([1.0, 0.35], 1, 2 / 4),  # 1.7: 0.4 and 0.9 pass
        ([0.0, 1.05], 1, 3 / 4),  # 2.1: all but -0.6
        ([0.0, 1.4], 1, 4 / 4),
        ([0.0, 1.4], 2, 0.0),  # they move, but elsewhere
        ([0.0, 1.05], None, 3 / 4),
        ([0.0, 0.0], None, 0.0),
        ([0.0, 0.0], 0, 1.0),  # assigned to it already
    ],
)
def test_linear_encoder_by_hand(delta, target, expected):
    assert metrics.flip_rate(CELLS, delta, nearest, target) == expected


def test_mean_over_changes():
    deltas = [[1.5, 0.0], [0.0, -2.6]]  # a quarter to 1; all but 0.4 and 0.9 to 2
    assert metrics.flip_rate(CELLS, deltas, nearest, [1, 2]) == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert metrics.flip_rate(CELLS, deltas, nearest) == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert metrics.flip_rate(CELLS, deltas, nearest, [2, 1]) == 0.0


def test_torch_network():
    clustering = NeuralizedClustering(torch.tensor([[0.0], [4.0], [-10.0]], dtype=torch.float64), beta=1.0)
    to_latent = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    rng = np.random.default_rng(0)
    cells, deltas = rng.normal(size=(50, 2)), rng.normal(size=(3, 2)) * 3

    def assign(x):
        return clustering.assign(torch.from_numpy(x) @ to_latent)

    found = metrics.flip_rate(cells, deltas, assign, [1, 2, 1])
    slow = [nearest((cell + delta)[None])[0] == t for delta, t in zip(deltas, [1, 2, 1], strict=True) for cell in cells]
    assert found == pytest.approx(np.mean(slow))
    assert 0 < found < 1


def test_groups_may_have_names():
    def assign(x):
        return np.array(["B", "T"])[(np.asarray(x)[:, 0] > 0.5).astype(int)]

    assert metrics.flip_rate(CELLS, [0.2, 0.0], assign, "T") == 2 / 4


@pytest.mark.parametrize(
    ("cells", "delta", "target", "words"),
    [
        (CELLS, [1.0, 2.0, 3.0], None, r"\(4, 2\) and \(1, 3\)"),
        (CELLS[:0], [1.0, 2.0], None, r"n_cells >= 1.*\(0, 2\)"),
        (CELLS[0], [1.0, 2.0], None, r"\(2,\) and"),
        (CELLS, [[1.0, 2.0], [0.0, 1.0]], [1], "each of the 2 changes. Got 1"),
    ],
)
def test_wrong_shapes(cells, delta, target, words):
    with pytest.raises(ValueError, match=words):
        metrics.flip_rate(cells, delta, nearest, target)
