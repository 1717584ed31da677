"""Explained AnnData in every state that users bring them to Scanpy in."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import ace_scanpy as ace

PBMC_GROUPS = ["CD14+ Monocyte", "CD19+ B", "CD56+ NK", "CD8+/CD45RA+ Naive Cytotoxic"]
NEW_NAMES = ["α/1", "second", "third (new)", "4"]


@pytest.fixture(scope="session")
def fresh(make_planted, small_network):
    """By data set: the explained AnnData and its `groupby`."""
    planted = make_planted()
    planted.uns["group_colors"] = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728"]
    ace.tl.embed(planted, **small_network)
    ace.tl.explain(planted, "group")
    pbmc = sc.datasets.pbmc68k_reduced()  # X scaled, with negative values; raw log-normalised
    pbmc = pbmc[pbmc.obs["bulk_labels"].isin(PBMC_GROUPS)].copy()
    ace.tl.embed(pbmc, **small_network)
    ace.tl.explain(pbmc, "bulk_labels")
    return {"planted": (planted, "group"), "pbmc68k": (pbmc, "bulk_labels")}


def _renamed(adata, groupby):
    adata.rename_categories(groupby, NEW_NAMES)
    return adata


def _through(path, adata):
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
        return ad.read_h5ad(path)
    adata.write_zarr(path)
    return ad.read_zarr(path)


@pytest.fixture(scope="session")
def through():
    """Write an AnnData to a path and read it again."""
    return _through


def _reach(state, adata, groupby, folder):
    if state in ("h5ad", "zarr"):
        return _through(folder / f"file.{state}", adata)
    if state == "copy":
        return adata.copy()
    if state == "view":
        return adata[np.arange(adata.n_obs)]
    if state == "concatenated":
        half = adata.n_obs // 2
        return ad.concat([adata[:half], adata[half:]], uns_merge="same")
    if state.startswith("renamed after "):
        return _renamed(_through(folder / f"file.{state.split()[-1]}", adata), groupby)
    if state == "renamed, then h5ad":
        return _through(folder / "file.h5ad", _renamed(adata, groupby))
    return _renamed(adata, groupby) if state == "renamed" else adata


STATES = [
    ("planted", "fresh"),
    ("planted", "h5ad"),
    ("planted", "zarr"),
    ("planted", "copy"),
    ("planted", "view"),
    ("planted", "concatenated"),
    ("planted", "renamed"),
    ("planted", "renamed after zarr"),
    ("planted", "renamed, then h5ad"),
    ("pbmc68k", "fresh"),
    ("pbmc68k", "h5ad"),
    ("pbmc68k", "zarr"),
    ("pbmc68k", "renamed"),
]


@pytest.fixture(scope="module", params=STATES, ids=[f"{data}-{state}" for data, state in STATES])
def case(request, fresh, isolated, frame, tmp_path_factory):
    """An explained AnnData in one state, with what its entry held when it was fresh, read field by field."""
    data, state = request.param
    source, groupby = fresh[data]
    entry = source.uns["rank_genes_groups"]
    old = list(entry["names"].dtype.names)
    groups = NEW_NAMES if "renamed" in state else old
    return SimpleNamespace(
        adata=_reach(state, isolated(source), groupby, tmp_path_factory.mktemp("states")),
        data=data,
        state=state,
        groupby=groupby,
        groups=groups,
        tables={new: frame(entry, group) for new, group in zip(groups, old, strict=True)},
        original=source,
        original_groups=old,
        codes=source.obs[groupby].cat.codes.to_numpy(),
    )
