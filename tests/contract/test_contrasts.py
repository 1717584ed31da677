"""What is stored of each contrast, in every state of the AnnData."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import ace_scanpy as ace

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
TYPES = {"contrast_target": "<i4", "contrast_rank": "<i4", "contrast_delta": "<f4", "contrast_source": "<i4"}
MATRICES = ("contrast_flip_rate", "contrast_size", "contrast_distance")


def test_fields(shared):
    entry = shared.uns["rank_genes_groups"]
    groups = tuple(shared.obs["group"].cat.categories)
    for name in (*TYPES, *MATRICES):
        assert type(entry[name]) is np.recarray
        assert entry[name].dtype.names == groups
        assert {entry[name].dtype[group] for group in groups} == {np.dtype(TYPES.get(name, "<f4"))}
        assert entry[name].shape == {"contrast_source": (1,), **dict.fromkeys(MATRICES, (4,))}.get(
            name, entry["contrast_target"].shape
        )
    for number, group in enumerate(groups):
        assert entry["contrast_source"][group][0] == number
        used = entry["contrast_target"][group] >= 0
        assert set(entry["contrast_target"][group][used]) == set(range(4)) - {number}
        assert np.isnan(entry["contrast_flip_rate"][group][number])
        assert entry["contrast_distance"][group][number] == 0
        assert (np.asarray(entry["scores"][group])[entry["contrast_rank"][group][used]] != 0).all()


def test_same_table_in_every_state(case):
    """Names of groups follow the column."""
    found, expected = ace.get.contrasts(case.adata), ace.get.contrasts(case.original)
    names = dict(zip(case.original_groups, case.groups, strict=True))
    for column in ("group", "target"):
        expected[column] = expected[column].cat.rename_categories(names)
    pd.testing.assert_frame_equal(found, expected)
    assert list(found["group"].cat.categories) == case.groups
