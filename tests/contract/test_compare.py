"""Rankings compared in every state of the AnnData: the same figures."""

from __future__ import annotations

import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
ONE = {"keys": ["rank_genes_groups"]}
ARGUMENTS = {"n_genes": (2, 5), "min_cells": 20, "k": 10}


@pytest.fixture(scope="module")
def originals(fresh):
    """The figures of each data set as it was when it was fresh."""
    return {data: ace.tl.compare(adata, groupby, **ONE, **ARGUMENTS) for data, (adata, groupby) in fresh.items()}


def test_same_figures_in_every_state(case, originals):
    """Of the ranking alone; names of groups follow the column."""
    found = ace.tl.compare(case.adata, case.groupby, **ONE, **ARGUMENTS)
    expected = originals[case.data].copy()
    expected["group"] = expected["group"].map(dict(zip(case.original_groups, case.groups, strict=True)))
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.filterwarnings("ignore:invalid value encountered in log2:RuntimeWarning")
@pytest.mark.parametrize("state", ["h5ad", "zarr"])
def test_with_a_ranking_of_scanpy(fresh, isolated, through, tmp_path, state):
    adata = isolated(fresh["planted"][0])
    sc.tl.rank_genes_groups(adata, "group", method="wilcoxon", key_added="wilcoxon", rankby_abs=True)
    arguments = {"keys": ["rank_genes_groups", "wilcoxon"], **ARGUMENTS}
    expected = ace.tl.compare(adata, "group", **arguments)
    found = ace.tl.compare(through(tmp_path / f"file.{state}", adata), "group", **arguments)
    pd.testing.assert_frame_equal(found, expected)
