"""Jensen-Shannon specificity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from ace_scanpy.methods import Contrasts, jsd


@pytest.fixture
def means():
    values = np.random.default_rng(0).gamma(0.5, size=(4, 30))
    values[:, 3] = 0.0
    values[1:, 4] = 0.0
    return values


@pytest.mark.parametrize("reference", [None, 2])
def test_is_one_minus_scipys_distance(means, reference):
    groups = (0, 1, 3)
    found = jsd(means, Contrasts(groups, 4, reference))
    for row, group in enumerate(groups):
        compared = [group, *[g for g in range(4) if g != group]] if reference is None else [group, reference]
        for gene in range(30):
            p = means[compared, gene]
            expected = 1 - jensenshannon(p, np.eye(len(compared))[0], base=2) if p.sum() else 0.0
            assert found.scores[row, gene] == pytest.approx(expected, abs=1e-9)


def test_cases_known_by_hand(means):
    found = jsd(means, Contrasts((0, 1), 4))
    assert found.scores[0, 4] == pytest.approx(1.0)  # only there
    assert found.scores[1, 4] == pytest.approx(0.0, abs=1e-12)  # only elsewhere
    assert (found.scores[:, 3] == 0).all()  # nowhere
    assert not found.signed
