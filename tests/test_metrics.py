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


@pytest.mark.parametrize("n_genes", [2, 5, 12])
def test_redundancy_equals_numpy(n_genes):
    rng = np.random.default_rng(n_genes)
    expression = rng.normal(size=(40, n_genes)) @ rng.normal(size=(n_genes, n_genes)) + 100.0
    pairs = np.corrcoef(expression.T)[np.triu_indices(n_genes, k=1)]
    assert metrics.redundancy(expression) == pytest.approx(np.abs(pairs).mean(), rel=1e-10)
    assert metrics.redundancy(expression, signed=True) == pytest.approx(pairs.mean(), rel=1e-8, abs=1e-12)


def test_pairs_with_a_constant_gene_count_as_zero():
    expression = np.random.default_rng(0).normal(size=(40, 3))
    expression[:, 2] = 0.3
    correlation = np.corrcoef(expression[:, :2].T)[0, 1]
    assert metrics.redundancy(expression) == pytest.approx(abs(correlation) / 3, rel=1e-10)
    assert metrics.redundancy(expression, signed=True) == pytest.approx(correlation / 3, rel=1e-10)


def test_redundancy_of_copies_is_one_and_of_opposites_too():
    gene = np.random.default_rng(0).normal(size=(40, 1))
    panel = np.hstack([gene, 2 * gene + 1, -gene])
    assert metrics.redundancy(panel) == pytest.approx(1.0)
    assert metrics.redundancy(panel, signed=True) == pytest.approx(-1 / 3)


def test_redundancy_in_single_precision_is_computed_in_double():
    expression = (1e4 + np.random.default_rng(0).normal(size=(40, 3))).astype(np.float32)
    pairs = np.corrcoef(expression.T.astype(np.float64))[np.triu_indices(3, k=1)]
    assert metrics.redundancy(expression) == pytest.approx(np.abs(pairs).mean(), rel=1e-8)


@pytest.mark.parametrize("shape", [(40,), (40, 1), (2, 3, 4)])
def test_redundancy_of_fewer_than_two_genes_raises(shape):
    with pytest.raises(ValueError, match=r"n_genes >= 2\). Got"):
        metrics.redundancy(np.ones(shape))
