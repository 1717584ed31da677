from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ace_scanpy._commit import Results, record


@pytest.fixture
def adata(make_planted):
    adata = make_planted()
    adata.obs["cluster"] = pd.Categorical(np.arange(adata.n_obs) % 3)
    adata.var["ace_mean"] = np.arange(adata.n_vars, dtype=float)
    adata.obsm["X_ace"] = np.ones((adata.n_obs, 2))
    adata.uns["ace"] = {"X_ace": {"seed": 1}}
    return adata


def results(adata, latent):
    found = Results()
    found.add("obs", "cluster", pd.Categorical(np.arange(adata.n_obs) % 2))
    found.add("obs", "cluster_confidence", np.zeros(adata.n_obs))
    found.add("var", "ace_mean", np.zeros(adata.n_vars))
    found.add("uns", "rank_genes_groups", {"params": {}})
    found.add("obsm", "X_new", np.zeros((adata.n_obs, 3)))
    found.add("obsm", "X_ace", latent)
    found.add("varm", "loadings", np.zeros((adata.n_vars, 3)))
    found.records["clustering"] = {"beta": 2.0}
    return found


def test_everything_is_written(adata):
    latent = np.zeros((adata.n_obs, 5))
    results(adata, latent).write(adata)
    assert list(adata.obs["cluster"].cat.categories) == [0, 1]
    assert (adata.obs["cluster_confidence"] == 0).all()
    assert (adata.var["ace_mean"] == 0).all()
    assert adata.uns["rank_genes_groups"] == {"params": {}}
    assert adata.obsm["X_new"].shape == (adata.n_obs, 3)
    np.testing.assert_array_equal(adata.obsm["X_ace"], latent)
    assert record(adata, "clustering") == {"beta": 2.0}
    assert record(adata, "X_ace") == {"seed": 1}


def test_an_error_half_way_leaves_everything_as_it_was(adata, unchanged):
    with unchanged(adata, ValueError):
        results(adata, np.zeros((adata.n_obs - 1, 5))).write(adata)


def test_a_record_is_not_written_when_something_else_fails(adata, unchanged):
    broken = Results()
    broken.records["X_ace"] = {"seed": 2}
    broken.add("var", "ace_mean", np.zeros(adata.n_vars + 1))
    with unchanged(adata, ValueError):
        broken.write(adata)


def test_an_error_on_an_anndata_without_results_leaves_no_key(make_planted, unchanged):
    adata = make_planted()
    with unchanged(adata, ValueError):
        results(adata, np.zeros((3, 5))).write(adata)
    assert "ace" not in adata.uns


class Interrupted(dict):
    """A mapping where the user presses Ctrl-C as `at` is being written."""

    def __init__(self, values, at):
        super().__init__(values)
        self.at = at

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if key == self.at:
            self.at = None
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["a", "b", "ace"])
def test_ctrl_c_while_writing_leaves_everything_as_it_was(at):
    adata = SimpleNamespace(var={"mean": 1}, uns=Interrupted({"a": "old", "ace": {"x": 1}}, at))
    found = Results()
    found.add("var", "mean", 2)
    found.add("var", "std", 3)
    found.add("uns", "a", "new")
    found.add("uns", "b", "new")
    found.records["y"] = 2
    with pytest.raises(KeyboardInterrupt):
        found.write(adata)
    assert adata.var == {"mean": 1}
    assert adata.uns == {"a": "old", "ace": {"x": 1}}


def test_results_can_be_merged(adata):
    first, second = Results(), Results()
    first.add("uns", "a", 1)
    first.add("uns", "b", 1)
    first.records["x"] = 1
    second.add("uns", "b", 2)
    second.add("var", "ace_std", np.ones(adata.n_vars))
    second.records["y"] = 2
    first.merge(second)
    first.write(adata)
    assert (adata.uns["a"], adata.uns["b"]) == (1, 2)
    assert adata.uns["ace"] == {"X_ace": {"seed": 1}, "x": 1, "y": 2}
    assert (adata.var["ace_std"] == 1).all()


def test_writing_replaces_the_records_and_does_not_change_those_of_a_copy(adata):
    shallow = dict(adata.uns)
    found = Results()
    found.records["y"] = 2
    found.write(adata)
    assert shallow["ace"] == {"X_ace": {"seed": 1}}


def test_a_record_that_is_not_there_is_none(adata):
    assert record(adata, "X_other") is None
    del adata.uns["ace"]
    assert record(adata, "X_ace") is None
