from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ace_scanpy import metrics

RANKINGS = {"ace": ["A", "B", "C", "D"], "wilcoxon": ["B", "A", "E", "C"], "t-test": ["F", "G", "A", "B"]}


def test_overlap_by_hand():
    expected = pd.DataFrame(
        {
            "ranking": ["ace", "ace", "wilcoxon"],
            "other": ["wilcoxon", "t-test", "t-test"],
            "shared": [2, 1, 1],
            "jaccard": [2 / 4, 1 / 5, 1 / 5],
        }
    )
    pd.testing.assert_frame_equal(metrics.overlap(RANKINGS, 3), expected)


def test_membership_by_hand():
    """A is in all three, B in two, the others are unique; order: most shared, then as the rankings have them."""
    table = metrics.membership(RANKINGS, 3)
    assert list(table.index) == ["A", "B", "C", "E", "F", "G"]
    assert list(table.columns) == list(RANKINGS)
    assert set(table.dtypes) == {np.dtype(bool)}
    assert table.astype(int).to_numpy().tolist() == [
        [1, 1, 1],
        [1, 1, 0],
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
    ]


def test_the_order_within_the_top_does_not_matter():
    shuffled = {name: [*genes[:3][::-1], genes[3]] for name, genes in RANKINGS.items()}
    pd.testing.assert_frame_equal(metrics.overlap(shuffled, 3), metrics.overlap(RANKINGS, 3))
    assert metrics.membership(shuffled, 3).loc["A"].all()


def test_overlap_of_random_rankings_agrees_with_membership():
    rng = np.random.default_rng(0)
    genes = np.array([f"g{i}" for i in range(40)])
    rankings = {name: rng.permutation(genes) for name in "abcd"}
    table = metrics.membership(rankings, 15)
    counts = table.astype(int).T @ table.astype(int)
    for row in metrics.overlap(rankings, 15).itertuples():
        assert row.shared == counts.loc[row.ranking, row.other]
        assert row.jaccard == pytest.approx(row.shared / (30 - row.shared))


def test_a_single_ranking_has_no_pairs():
    found = metrics.overlap({"ace": ["A", "B"]}, 2)
    assert list(found.columns) == ["ranking", "other", "shared", "jaccard"]
    assert found.empty


@pytest.mark.parametrize("function", [metrics.overlap, metrics.membership])
@pytest.mark.parametrize(
    ("rankings", "n_genes", "words"),
    [
        (RANKINGS, 5, "`n_genes`=5, but the ranking 'ace' has only 4"),
        (RANKINGS, 0, "`n_genes` must be at least 1"),
        ({"a": ["A", "A", "B"]}, 2, "'a' names a gene twice"),
    ],
)
def test_wrong_arguments(function, rankings, n_genes, words):
    with pytest.raises(ValueError, match=words):
        function(rankings, n_genes)
