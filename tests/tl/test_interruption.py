"""Ctrl-C, or an error, at any moment: `adata` is as it was."""

from __future__ import annotations

import numpy as np
import pytest

import ace_scanpy as ace
from ace_scanpy._commit import Results

STEPS = [
    "ace_scanpy._matrix.moments",
    "ace_scanpy.tl._autoencoder.train",
    "ace_scanpy.tl._autoencoder.encode",
    "ace_scanpy._matrix.group_sums",
    "ace_scanpy.tl._autoencoder.fit_labels",
    "ace_scanpy.tl._cluster.from_labels",
    "ace_scanpy._neuralized.neuralize",
    "ace_scanpy.methods.explain",
    "ace_scanpy._foldchanges.log2_fold_changes",
    "ace_scanpy._rgg.build",
]


def _interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("step", STEPS)
def test_explain_from_scratch(planted, unchanged, monkeypatch, step):
    monkeypatch.setattr(step, _interrupt)
    with unchanged(planted, KeyboardInterrupt):
        ace.tl.explain(planted)


@pytest.mark.parametrize("step", STEPS[3:4] + STEPS[6:])
def test_explain_again(explained, unchanged, monkeypatch, step):
    monkeypatch.setattr(step, _interrupt)
    with unchanged(explained, KeyboardInterrupt):
        ace.tl.explain(explained, "group")


@pytest.mark.parametrize("joint", [False, True])
def test_cluster(explained, unchanged, monkeypatch, joint):
    step = "learn_jointly" if joint else "from_labels"
    monkeypatch.setattr(f"ace_scanpy.tl._cluster.{step}", _interrupt)
    with unchanged(explained, KeyboardInterrupt):
        ace.tl.cluster(explained, n_clusters=3, joint=joint)


class _Guarded(dict):
    """A dictionary that may not be written to under one key."""

    def __setitem__(self, key, value):
        if key == "rank_genes_groups":
            raise KeyboardInterrupt
        super().__setitem__(key, value)


@pytest.mark.usefixtures("short_training")
def test_while_writing(planted, unchanged):
    """`explain` writes obs, var, obsm and uns; when the last cannot be written, the others are taken back."""
    planted.uns = _Guarded(planted.uns)
    if not isinstance(planted.uns, _Guarded):
        pytest.skip("this anndata copies `uns`")
    with unchanged(planted, KeyboardInterrupt):
        ace.tl.explain(planted)


def test_what_was_there_comes_back(explained, unchanged):
    results = Results()
    results.add("obs", "group", np.arange(explained.n_obs))
    results.add("obs", "new", np.arange(explained.n_obs))
    results.add("obsm", "X_ace", np.zeros((explained.n_obs, 2)))
    results.add("obsm", "X_new", np.zeros((explained.n_obs + 1, 2)))  # one cell too many
    with unchanged(explained, ValueError):
        results.write(explained)
