"""Small data with a known answer, and helpers that several test files share."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse

import ace_scanpy as ace

mpl.use("Agg")
torch.set_num_threads(1)  # on tensors this small a second thread only costs

GROUPS = ("B", "T/NK ζ", "Mono 14⁺", "dendritic")
SMALL_NETWORK = {"n_hidden": (24, 12), "n_latent": 5, "n_epochs": 40}


def _planted(n_per_group=20, n_groups=4, seed=0, n_flat=14):
    """Log-normalised CSR counts in which each group has genes of its own, present or absent.

    `var["up"]` and `var["down"]` name the group where a gene is planted ("" elsewhere). One gene is zero everywhere;
    the names of three genes hold letters beyond ASCII and a "/". Cells are in random order.
    """
    rng = np.random.default_rng(seed)
    groups = GROUPS[:n_groups]
    up = [g for g in groups for _ in range(3)] + [""] * (2 * n_groups + n_flat + 1)
    down = [""] * (3 * n_groups) + [g for g in groups for _ in range(2)] + [""] * (n_flat + 1)
    genes = [f"gene{i}" for i in range(len(up) - 1)] + ["zero"]
    genes[0], genes[4], genes[3 * n_groups] = "HLA-DRA/β", "ген/1", "lacking/0 in B"
    rate = np.full((n_groups, len(genes)), 2.0)
    for row, group in enumerate(groups):
        rate[row, np.array(up) == group] = 14.0
        rate[:, np.array(down) == group] = 9.0
    for row, group in enumerate(groups):
        rate[row, np.array(down) == group] = 0.2
    rate[:, -1] = 0.0
    codes = rng.permutation(np.repeat(np.arange(n_groups), n_per_group))
    adata = ad.AnnData(
        sparse.csr_matrix(rng.poisson(rate[codes]).astype(np.float32)),
        obs=pd.DataFrame(
            {"group": pd.Categorical(np.array(groups)[codes], categories=list(groups))},
            index=[f"cell{i}" for i in range(len(codes))],
        ),
        var=pd.DataFrame({"up": pd.Categorical(up), "down": pd.Categorical(down)}, index=genes),
    )
    sc.pp.normalize_total(adata, target_sum=1e3)
    sc.pp.log1p(adata)
    return adata


def _isolated(adata):
    """A copy that shares nothing: `AnnData.copy` shares the dtypes that `rename_categories` changes in place."""
    copied = adata.copy()
    for entry in copied.uns.values():
        if isinstance(entry, Mapping):
            for name, value in entry.items():
                if isinstance(value, np.ndarray) and value.dtype.names is not None:
                    entry[name] = value.astype(np.dtype(value.dtype.descr))
    return copied


def _contents(adata):
    """Every element of an AnnData by its path, copied."""
    found = {"is_view": adata.is_view}

    def walk(path, value):
        if isinstance(value, Mapping):
            found[path] = sorted(map(str, value))
            for key in value:
                walk(f"{path}/{key}", value[key])
        elif sparse.issparse(value):
            found[path] = (value.format, value.shape)
            for part in ("data", "indices", "indptr"):
                found[f"{path}.{part}"] = getattr(value, part).copy()
        elif isinstance(value, pd.DataFrame):
            found[path] = pd.DataFrame(value).copy()
        elif isinstance(value, np.ndarray):
            found[path] = np.array(value, order="K")
        else:
            found[path] = deepcopy(value)

    for name in ("X", "obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns"):
        walk(name, getattr(adata, name))
    if adata.raw is not None:
        walk("raw.X", adata.raw.X)
        walk("raw.var", adata.raw.var)
    return found


def _assert_same_contents(found, expected):
    """Exact equality, types included; NaN equals NaN."""
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        other = found[path]
        assert type(other) is type(value), path
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(other, value, check_exact=True, obj=path)
        elif isinstance(value, np.ndarray):
            assert other.dtype == value.dtype, path
            assert other.flags.f_contiguous == value.flags.f_contiguous, path
            for name in value.dtype.names or (...,):
                np.testing.assert_array_equal(other[name], value[name], err_msg=path)
        else:
            assert other == value or (other != other and value != value), path


def _assert_same_ranking(found, expected, groups=None, names=None):
    """Two entries of `uns` say exactly the same of `groups` (all by default); `names` maps them to those of `found`."""
    names = names or {}
    per_group = [key for key, value in expected.items() if getattr(value, "dtype", np.dtype("f4")).names]
    per_group = [key for key in per_group if not key.startswith("contrast_")]
    assert {"names", "scores", "delta", "enriched", "logfoldchanges", "fidelity", "panel_size"} <= set(per_group)
    assert ("contrast_delta" in found) == ("contrast_delta" in expected)
    for group in groups or expected["names"].dtype.names:
        for key in per_group:
            other = found[key][names.get(group, group)]
            np.testing.assert_array_equal(np.asarray(other), np.asarray(expected[key][group]), err_msg=f"{key} {group}")
        if "contrast_delta" in expected:  # groups are numbered in the order of the categories, so compared by name
            ours, theirs = _contrasts_of(found, names.get(group, group)), _contrasts_of(expected, group)
            assert ours == {(names.get(target, target), gene): values for (target, gene), values in theirs.items()}


def _contrasts_of(entry, group):
    """What is stored of each contrast of a group, read field by field, by target and gene."""
    row = entry["names"].dtype.names.index(group)
    of_target = [entry[name] for name in ("contrast_flip_rate", "contrast_size", "contrast_distance")]
    targets = entry["contrast_flip_rate"].dtype.names
    fields = (entry[name][group].tolist() for name in ("contrast_target", "contrast_rank", "contrast_delta"))
    return {
        (targets[target], str(entry["names"][group][rank])): (
            delta,
            *(array[targets[target]][row] for array in of_target),
        )
        for target, rank, delta in zip(*fields, strict=True)
        if target >= 0
    }


def _frame(entry, group):
    """One group of an entry as a frame, read field by field."""
    columns = ("names", "scores", "logfoldchanges", "pvals", "pvals_adj", "enriched", "delta")
    return pd.DataFrame({c: np.asarray(entry[c][group]) for c in columns}).astype({"names": object})


@pytest.fixture(autouse=True)
def quiet():
    """Scanpy's settings as they are for a new user, and no figures left open."""
    sc.settings.verbosity = 1
    yield
    sc.settings.verbosity = 1
    mpl.pyplot.close("all")


@pytest.fixture(scope="session")
def make_planted():
    return _planted


@pytest.fixture(scope="session")
def isolated():
    return _isolated


@pytest.fixture(scope="session")
def contents():
    return _contents


@pytest.fixture(scope="session")
def assert_same_contents():
    return _assert_same_contents


@pytest.fixture(scope="session")
def assert_same_ranking():
    return _assert_same_ranking


@pytest.fixture(scope="session")
def frame():
    return _frame


@pytest.fixture(scope="session")
def contrasts_of():
    return _contrasts_of


@pytest.fixture(scope="session")
def small_network():
    """Arguments of `embed` for a network that trains in a moment."""
    return dict(SMALL_NETWORK)


@pytest.fixture(scope="session")
def shared():
    """The explained AnnData that those below are copies of; not to be changed."""
    adata = _planted()
    ace.tl.embed(adata, **SMALL_NETWORK)
    ace.tl.explain(adata, "group")
    return adata


@pytest.fixture
def planted():
    """80 cells of 4 groups, 35 genes, nothing computed."""
    return _planted()


@pytest.fixture
def explained(shared):
    """The same with a small encoder and `uns["rank_genes_groups"]` for `obs["group"]`."""
    return _isolated(shared)


@pytest.fixture
def embedded(shared):
    """The same without the ranking; the encoder's copy fitted to `obs["group"]` is there, which saves its training."""
    adata = _isolated(shared)
    del adata.uns["rank_genes_groups"]
    return adata


@pytest.fixture
def untouched(shared):
    """The same without the fitted copy: what `ace.tl.embed` leaves."""
    adata = _isolated(shared)
    del adata.uns["rank_genes_groups"]
    adata.uns["ace"]["X_ace"]["fits"] = {}
    return adata


@pytest.fixture
def unchanged():
    """A block that has to raise and to leave an AnnData exactly as it was."""

    @contextmanager
    def check(adata, error, match=None):
        before = _contents(adata)
        with pytest.raises(error, match=match) as raised:
            yield raised
        _assert_same_contents(_contents(adata), before)

    return check


@pytest.fixture
def logged():
    """What Scanpy's logger writes in a block, as `logged(verbosity)`; read it with `getvalue`."""

    @contextmanager
    def capture(verbosity=1):
        before = sc.settings.logfile
        stream = io.StringIO()
        sc.settings.logfile, sc.settings.verbosity = stream, verbosity
        try:
            yield stream
        finally:
            sc.settings.logfile, sc.settings.verbosity = before, 1

    return capture


@pytest.fixture
def short_training(monkeypatch):
    """The default training, cut to a few minibatches."""
    monkeypatch.setattr("ace_scanpy.models._training._MOST_STEPS", 60)


@pytest.fixture
def no_training(monkeypatch):
    """Any training fails: for errors that have to come before it, and for encoders that are reused."""

    def refuse(*_args, **_kwargs):
        pytest.fail("trained")

    monkeypatch.setattr("ace_scanpy.tl._autoencoder.train", refuse)
    monkeypatch.setattr("ace_scanpy.tl._autoencoder.fit_labels", refuse)
    monkeypatch.setattr("ace_scanpy.tl._cluster.learn_jointly", refuse)


@pytest.fixture(scope="session")
def data_file():
    """Path of a file in `ACE_DATA_DIR`; skips where it is not there."""

    def find(name):
        path = Path(os.environ.get("ACE_DATA_DIR", "")) / name
        if not path.is_file():
            pytest.skip(f"{name} is not in the folder that ACE_DATA_DIR names")
        return path

    return find
