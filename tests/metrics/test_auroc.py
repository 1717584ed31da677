from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from ace_scanpy import metrics


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    group = rng.random(90) < 0.3
    return rng.normal(size=(90, 4)) * [1.0, 5.0, 0.1, 2.0] + 0.8 * group[:, None] * [1.0, 5.0, 0.1, 0.0], group


@pytest.mark.parametrize(("n_splits", "rng"), [(3, 0), (3, 7), (5, 0)])
def test_auroc_equals_a_loop_over_the_folds(cells, n_splits, rng):
    expression, group = cells
    areas = []
    for train, test in StratifiedKFold(n_splits, shuffle=True, random_state=rng).split(expression, group):
        mean, std = expression[train].mean(axis=0), expression[train].std(axis=0)
        machine = SVC(C=1.0, kernel="rbf", gamma="scale").fit((expression[train] - mean) / std, group[train])
        areas.append(roc_auc_score(group[test], machine.decision_function((expression[test] - mean) / std)))
    found = metrics.panel_auroc(expression, group, n_splits=n_splits, rng=rng)
    assert found == pytest.approx(np.mean(areas), rel=1e-12)
    assert 0.6 < found < 1.0


def test_auroc_does_not_depend_on_the_unit_of_a_gene(cells):
    expression, group = cells
    scaled = metrics.panel_auroc(expression * [1e3, 1.0, 1e-3, 1.0], group)
    assert scaled == pytest.approx(metrics.panel_auroc(expression, group), rel=1e-6)


def test_auroc_of_noise_is_chance_and_of_a_marker_one(cells):
    _, group = cells
    rng = np.random.default_rng(1)
    noise = [metrics.panel_auroc(rng.normal(size=(90, 3)), group) for _ in range(10)]
    assert abs(np.mean(noise) - 0.5) < 0.1
    assert metrics.panel_auroc(group[:, None] * 1.0, group) == 1.0


def test_auroc_takes_integer_labels_and_lists(cells):
    expression, group = cells
    assert metrics.panel_auroc(expression.tolist(), group.astype(int)) == metrics.panel_auroc(expression, group)


def _by_hand(expression, group, rng):
    """The nested search as loops: C by the mean inner AUROC, then one machine on the whole training split."""
    folds = StratifiedKFold(3, shuffle=True, random_state=rng)
    areas, chosen = [], []
    for train, test in folds.split(expression, group):
        x, y = expression[train], group[train]
        inner = {}
        for power in range(-5, 6):
            scores = []
            for fit, held_out in folds.split(x, y):
                mean, std = x[fit].mean(axis=0), x[fit].std(axis=0)
                machine = SVC(C=5.0**power, gamma="scale").fit((x[fit] - mean) / std, y[fit])
                scores.append(roc_auc_score(y[held_out], machine.decision_function((x[held_out] - mean) / std)))
            inner[power] = np.mean(scores)
        best = max(inner, key=inner.__getitem__)
        mean, std = x.mean(axis=0), x.std(axis=0)
        machine = SVC(C=5.0**best, gamma="scale").fit((x - mean) / std, y)
        areas.append(roc_auc_score(group[test], machine.decision_function((expression[test] - mean) / std)))
        chosen.append(best)
    return areas, chosen


@pytest.mark.parametrize("rng", [0, 3])
def test_nested_auroc_equals_loops(cells, rng):
    expression, group = cells
    expected, chosen = _by_hand(expression, group, rng)
    found = metrics.panel_auroc_per_split(expression, group, nested=True, rng=rng)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert any(power != 0 for power in chosen)  # or the search has not been seen to matter
    assert not np.allclose(found, metrics.panel_auroc_per_split(expression, group, rng=rng), atol=1e-6)
    assert metrics.panel_auroc(expression, group, nested=True, rng=rng) == pytest.approx(np.mean(expected), rel=1e-12)


def test_sorted_cells_are_shuffled(cells):
    """With unshuffled folds a gene that drifts along the group's cells would be judged outside its range."""
    expression, group = cells
    order = np.lexsort((expression[:, 0], group))
    splits = [metrics.panel_auroc_per_split(expression[order], group[order], rng=seed) for seed in (0, 1)]
    assert not np.allclose(*splits)


def test_a_generator_is_a_seed(cells):
    seed = int(np.random.default_rng(5).integers(2**31))
    found = metrics.panel_auroc(*cells, rng=np.random.default_rng(5))
    assert found == metrics.panel_auroc(*cells, rng=seed)


@pytest.mark.parametrize(
    ("n_in_group", "arguments", "words"),
    [
        (2, {}, "2 cells in the group and 88 in the rest.*a cross-validation of 3 folds"),
        (88, {}, "88 cells in the group and 2 in the rest"),
        (3, {"n_splits": 4}, "3 cells in the group.*4 folds"),
        (4, {"nested": True}, "4 cells in the group.*two nested cross-validations"),
    ],
)
def test_too_few_cells_for_the_folds(cells, n_in_group, arguments, words):
    with pytest.raises(ValueError, match=words):
        metrics.panel_auroc(cells[0], np.arange(90) < n_in_group, **arguments)


@pytest.mark.parametrize(("n_in_group", "nested"), [(3, False), (5, True)])
def test_just_enough_cells_for_the_folds(cells, n_in_group, nested):
    found = metrics.panel_auroc_per_split(cells[0], np.arange(90) < n_in_group, nested=nested)
    assert found.shape == (3,)
    assert ((found >= 0) & (found <= 1)).all()
