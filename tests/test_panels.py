from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ace_scanpy.methods import _panels
from ace_scanpy.methods._panels import Prefixes, panel_size
from ace_scanpy.models import NeuralizedClustering

N_GENES, N_HIDDEN, N_CELLS = 45, 6, 20
OBJECTIVES = ["targeted", "pairwise", "rest"]


def draw(seed, n_groups=4, strength=1.0):
    """A small network, cells around the first prototype, and sparse perturbations towards the others."""
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(scale=2.0, size=(n_groups, 3))
    back = rng.normal(size=(3, N_HIDDEN))
    weight = rng.normal(size=(N_HIDDEN, N_GENES)) / 3
    cells = (prototypes[0] + 0.5 * rng.normal(size=(N_CELLS, 3))) @ np.linalg.pinv(back).T
    toward = (prototypes[1:] - prototypes[0]) @ np.linalg.pinv(back @ weight).T
    deltas = strength * rng.uniform(0.5, 2.5, size=toward.shape) * toward * (rng.random(toward.shape) > 0.4)
    return SimpleNamespace(weight=weight, back=back, prototypes=prototypes, cells=cells, deltas=deltas)


def ranked(deltas):
    return np.lexsort((np.arange(deltas.shape[1]), -np.abs(deltas).sum(axis=0)))


def ours(q, order, objective, wanted):
    encoder = SimpleNamespace(
        shift=lambda delta: delta @ torch.tensor(q.weight).T, tail=lambda a: torch.tanh(a) @ torch.tensor(q.back).T
    )
    targets = torch.arange(1, len(q.prototypes))[: len(q.deltas)]
    clustering = NeuralizedClustering(torch.tensor(q.prototypes), 1.0)
    values = (torch.tensor(np.ascontiguousarray(v)) for v in (q.cells, q.deltas, order))
    return panel_size(Prefixes(encoder, clustering, *values, 0, targets, objective), wanted)


def slow(q, order, objective, wanted):
    """Every prefix, every contrast, cell by cell."""
    for size in range(1, len(order) + 1):
        rates = []
        for target, delta in enumerate(q.deltas, start=1):
            cut = np.zeros(N_GENES)
            cut[order[:size]] = delta[order[:size]]
            flipped = 0
            for cell in q.cells:
                z = np.tanh(cell + q.weight @ cut) @ q.back.T
                nearest = int(((z - q.prototypes) ** 2).sum(axis=1).argmin())
                flipped += nearest != 0 if objective == "rest" else nearest == target
            rates.append(flipped / len(q.cells))
        if min(rates) >= wanted:
            return size
    return 0


@pytest.mark.parametrize("block", [1, 4, 16, 100])
@pytest.mark.parametrize("wanted", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_equals_a_slow_loop_over_all_prefixes(objective, wanted, block, monkeypatch):
    monkeypatch.setattr(_panels, "_BLOCK", block)
    sizes = []
    for seed in range(8):
        q = draw(seed, n_groups=2 + seed % 3, strength=1.5)
        order = ranked(q.deltas)
        sizes.append(slow(q, order, objective, wanted))
        assert ours(q, order, objective, wanted) == sizes[-1]
    assert len(set(sizes)) > 2


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_is_zero_when_no_prefix_is_enough(objective):
    q = draw(0, strength=0.01)
    order = ranked(q.deltas)
    assert slow(q, order, objective, 0.5) == 0
    assert ours(q, order, objective, 0.5) == 0


def test_is_zero_when_nothing_moves():
    q = draw(0, strength=0.0)
    assert ours(q, np.arange(N_GENES), "targeted", 0.95) == 0


def one_gene_each(far, n_cells):
    """Gene 0 moves all cells but `far` from the prototype at 0 to that at 2; no other gene does anything."""
    q = SimpleNamespace(prototypes=np.array([[0.0], [2.0]]), back=np.array([[1.0]]), cells=np.zeros((n_cells, 1)))
    q.cells[:far] = -50.0
    q.weight, q.deltas = np.zeros((1, N_GENES)), np.zeros((1, N_GENES))
    q.weight[0, 0], q.deltas[0, :3] = 1.0, 2.0
    return q


@pytest.mark.parametrize("n_cells", [20, 40, 60])
def test_a_share_of_exactly_the_wanted_one_is_enough(n_cells, monkeypatch):
    monkeypatch.setattr(torch, "tanh", lambda a: a)
    at, below = one_gene_each(n_cells // 20, n_cells), one_gene_each(n_cells // 20 + 1, n_cells)
    assert ours(at, np.arange(N_GENES), "targeted", 0.95) == 1
    assert ours(below, np.arange(N_GENES), "targeted", 0.95) == 0


def test_genes_that_no_contrast_moves_count_where_they_stand_in_the_order(monkeypatch):
    monkeypatch.setattr(torch, "tanh", lambda a: a)
    q = one_gene_each(0, 20)
    order = np.roll(np.arange(N_GENES), 5)  # five unmoved genes lead
    assert ours(q, order, "targeted", 0.95) == 6
