"""Several prototypes per group."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from ace_scanpy.models import NeuralizedClustering, from_labels, neuralize
from ace_scanpy.models._communities import _choose, _is_hopeless, _Trial, sample


def _rings(n_cells, rng):
    """A disc inside a ring: the means of the two coincide."""
    angle = rng.uniform(0, 2 * np.pi, n_cells)
    codes = rng.permutation(np.arange(n_cells) % 2)
    radius = np.where(codes == 0, rng.uniform(0, 1, n_cells), rng.uniform(2, 2.5, n_cells))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), codes


@pytest.mark.parametrize("sharpness", [None, 3.0])
def test_logits_pool_the_prototypes_of_a_group(sharpness):
    rng = np.random.default_rng(0)
    prototypes, groups = rng.normal(size=(7, 3)), np.array([1, 0, 2, 1, 1, 0, 2])
    z, beta = rng.normal(size=(50, 3)), 0.8
    gamma = sharpness or beta
    each = -gamma * ((z[:, None] - prototypes) ** 2).sum(axis=-1)
    outlierness = np.stack([-logsumexp(each[:, groups == g], axis=1) / gamma for g in range(3)], axis=1)
    scores = -beta * outlierness
    expected = np.stack([scores[:, g] - logsumexp(np.delete(scores, g, axis=1), axis=1) for g in range(3)], axis=1)
    clustering = NeuralizedClustering(torch.from_numpy(prototypes), beta, torch.from_numpy(groups), sharpness)
    assert clustering.n_groups == 3
    np.testing.assert_allclose(clustering(torch.from_numpy(z)).numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(clustering.assign(torch.from_numpy(z)).numpy(), scores.argmax(axis=1))


def test_gradients_pass_through_groups_of_different_size():
    rng = np.random.default_rng(1)
    clustering = NeuralizedClustering(torch.from_numpy(rng.normal(size=(5, 2))), 1.0, torch.tensor([0, 1, 1, 1, 2]))
    z = torch.from_numpy(rng.normal(size=(6, 2))).requires_grad_()
    assert torch.autograd.gradcheck(clustering, z)


def test_one_prototype_each_is_the_papers_form_to_the_bit():
    rng = np.random.default_rng(2)
    prototypes = torch.from_numpy(rng.normal(size=(4, 3)).astype(np.float32))
    z = torch.from_numpy(rng.normal(size=(40, 3)).astype(np.float32))
    order = torch.tensor([2, 0, 3, 1])
    given = NeuralizedClustering(prototypes[order.argsort()][order], 0.5, torch.arange(4), sharpness=7.0)
    assert torch.equal(NeuralizedClustering(prototypes, 0.5)(z), given(z))


@pytest.mark.parametrize("groups", [[0, 0, 0], [0, 2, 2], [0, 1]])
def test_groups_without_prototypes_are_refused(groups):
    with pytest.raises(ValueError, match="`groups` must give one of at least two groups"):
        NeuralizedClustering(torch.zeros(3, 2), 1.0, torch.tensor(groups))


def test_means_are_kept_where_they_are_enough():
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(3), 40)
    z = (10 * np.eye(3)[codes] + rng.normal(size=(120, 3))).astype(np.float32)
    found = neuralize(z, codes)
    means = from_labels(torch.from_numpy(z), torch.from_numpy(codes))
    assert torch.equal(found.clustering.prototypes, means.prototypes)
    assert found.clustering.beta == means.beta
    assert found.held_out is None


def test_a_ring_takes_several_prototypes_and_is_told_on_cells_never_seen():
    rng = np.random.default_rng(4)
    z, codes = _rings(800, rng)
    new, truth = _rings(400, rng)
    means = from_labels(torch.from_numpy(z), torch.from_numpy(codes))
    found = neuralize(z, codes)
    assert (means.assign(torch.from_numpy(new)).numpy() == truth).mean() < 0.7
    assert (found.clustering.assign(torch.from_numpy(new)).numpy() == truth).mean() > 0.97
    assert found.held_out >= 0.98
    assert 2 < len(found.clustering.prototypes) <= 20


def test_labels_that_do_not_follow_from_the_cells_are_not_fitted():
    """Overlapping groups: no worse on held-out cells than a straight boundary, which is optimal here."""
    rng = np.random.default_rng(5)
    codes = rng.permutation(np.arange(1200) % 2)
    z = rng.normal(size=(1200, 2)).astype(np.float32)
    z[:, 0] += 2.0 * codes
    new_codes = np.arange(2000) % 2
    new = rng.normal(size=(2000, 2)).astype(np.float32)
    new[:, 0] += 2.0 * new_codes
    found = neuralize(z, codes)
    straight = LogisticRegression().fit(z, codes).score(new, new_codes)
    assert (found.clustering.assign(torch.from_numpy(new)).numpy() == new_codes).mean() > straight - 0.02


def test_unlabelled_cells_and_asked_values():
    rng = np.random.default_rng(6)
    z, codes = _rings(400, rng)
    hidden = np.append(codes, [-1, -1])
    more = np.concatenate([z, 100 * np.ones((2, 2), dtype=np.float32)])
    found, again = neuralize(z, codes), neuralize(more, hidden)
    assert torch.equal(found.clustering.prototypes, again.clustering.prototypes)
    softer = neuralize(z, codes, beta=0.7).clustering  # how soft the assignment is, and not the assignment
    assert softer.beta == pytest.approx(0.7)
    assert torch.equal(softer.assign(torch.from_numpy(z)), found.clustering.assign(torch.from_numpy(z)))
    prototypes, owner = found.clustering.prototypes.numpy(), found.clustering.groups.numpy()
    nearest = [((cell - prototypes[owner == code]) ** 2).sum(axis=1).min() for cell, code in zip(z, codes, strict=True)]
    assert found.clustering.beta == pytest.approx(1 / np.mean(nearest), rel=1e-4)
    assert len(neuralize(z, codes, min_fidelity=0).clustering.prototypes) == 2


def test_groups_of_too_few_cells_to_hold_one_out_keep_their_means():
    z = np.array([[0.0], [9.0], [0.1], [9.1], [0.2], [9.2]], dtype=np.float32)
    found = neuralize(z, np.array([0, 0, 0, 1, 1, 1]))
    assert len(found.clustering.prototypes) == 2
    assert found.held_out is None


def test_a_seed_gives_the_same_bits():
    z, codes = _rings(400, np.random.default_rng(7))
    one, two = (neuralize(z, codes, seed=3).clustering.prototypes for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("tried", "numbers"),
    [
        # of 100 held-out cells at .95 one standard error is .022
        ([(0, 0.9, 0.9), (1, 0.96, 0.99)], [1]),  # reached on cells held out, whatever the others say
        # those that reach it where they were fitted, the smallest first
        ([(0, 0.9, 0.9), (1, 0.97, 0.94), (2, 0.99, 0.95), (5, 1.0, 0.95)], [2, 5]),
        ([(0, 0.9, 0.9), (1, 0.99, 0.92), (2, 0.99, 0.93), (5, 1.0, 0.95)], [2, 5]),  # but none clearly worse elsewhere
        ([(0, 0.9, 0.8), (1, 0.99, 0.80), (2, 0.99, 0.81), (5, 0.9, 0.95)], [5]),  # none does: the smallest that is not
        ([(0, 0.5, 0.5), (1, 0.6, 0.51), (2, 0.7, 0.52)], [0]),  # which may be the means
    ],
)
def test_the_number_of_prototypes_is_chosen_by_the_cells_held_out(tried, numbers):
    trials = [_Trial(number, 3, seen, unseen) for number, seen, unseen in tried]
    assert [trial.number for trial in _choose(trials, 0.98, 100)] == numbers


def test_all_labelled_cells_are_the_sample_where_they_are_few():
    codes = np.array([0, -1, 1, 1, -1, 0])
    np.testing.assert_array_equal(sample(codes, 0), [0, 2, 3, 5])


def test_a_sample_has_half_of_its_cells_by_group_and_half_by_cell():
    rng = np.random.default_rng(0)
    codes = rng.choice([-1, 0, 1, 2], p=[0.1, 0.7, 0.199, 0.001], size=200_000)
    drawn = sample(codes, 3)
    n_cells, n_drawn = (np.bincount(c[c >= 0]) for c in (codes, codes[drawn]))
    expected = np.minimum(n_cells, 8192 // 3 + 8192 * n_cells / n_cells.sum())
    np.testing.assert_allclose(n_drawn, expected, atol=1.0)
    assert n_drawn[2] == n_cells[2]  # a small group is there whole
    assert (codes[drawn] >= 0).all()
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(sample(codes, 3), drawn)
    assert not np.array_equal(sample(codes, 4), drawn)


@pytest.mark.parametrize(
    ("numbers", "unseen", "hopeless"),
    [
        ((0, 1), (0.50, 0.51), False),  # one prototype says too little
        ((0, 1, 2), (0.52, 0.57, 0.575), True),
        ((0, 1, 2), (0.80, 0.85, 0.93), False),
        ((0, 1, 2), (0.95, 0.96, 0.965), False),
        ((0, 1, 2, 5), (0.90, 0.92, 0.93, 0.93), True),
        ((0, 1, 2), (0.60, 0.70, 0.65), True),
    ],
)
def test_more_prototypes_are_not_tried_where_they_cannot_help_enough(numbers, unseen, hopeless):
    tried = [_Trial(number, 0, 0.0, share) for number, share in zip(numbers, unseen, strict=True)]
    assert _is_hopeless(tried, 0.98, 1000) is hopeless
