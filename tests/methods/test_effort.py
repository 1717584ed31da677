"""How many cells stand for a group, and that they do not depend on which groups are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from ace_scanpy.methods._perturbation import effort, sample


@pytest.mark.parametrize(("n_groups", "cells"), [(2, 60), (32, 60), (33, 56), (45, 30), (55, 20), (56, 20), (200, 20)])
def test_sixty_cells_while_all_pairs_together_stay_below_60_000(n_groups, cells):
    assert effort(n_groups) == cells


def test_a_group_is_sampled_alike_for_the_same_seed():
    class Source:
        def rows(self, cells):
            return cells

    codes = np.random.default_rng(0).integers(45, size=9000)
    drawn = sample(Source(), codes, 3, 7)
    assert len(drawn) == 30
    assert (codes[drawn] == 3).all()
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, sample(Source(), codes, 3, 7))
    assert set(drawn) != set(sample(Source(), codes, 3, 8))
