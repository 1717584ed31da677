"""One change per cell: where it leads, what it keeps to, what is stored, and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse
from scipy.optimize import linprog

import ace_scanpy as ace
from ace_scanpy import _labels, _records
from ace_scanpy.methods import _single_cells
from ace_scanpy.models import from_labels

GROUPS = ["B", "T/NK ζ", "Mono 14⁺", "dendritic"]


@pytest.fixture(scope="module")
def solved(shared, isolated):
    """All cells, each towards its nearest group; not to be changed."""
    adata = isolated(shared)
    ace.tl.explain_cells(adata, "group")
    return adata


def logits(adata, changed=False):
    """Logits of the explained network, rebuilt from the record and computed gene by gene."""
    labels = _labels.read(adata, "group")
    encoder, matrix = _records.explained(adata, "X_ace", labels)
    values = adata[:, matrix.gene_names].to_df().to_numpy(copy=True)
    with torch.no_grad():
        clustering = from_labels(encoder(torch.from_numpy(values)), torch.tensor(labels.codes))
        if changed:
            values = values + adata[:, matrix.gene_names].to_df("ace_delta").to_numpy()
        found = clustering(encoder(torch.from_numpy(values))).numpy()
    return pd.DataFrame(found, index=adata.obs_names, columns=labels.names)


def test_the_changed_cells_are_assigned_to_their_targets(solved):
    found = logits(solved, changed=True).idxmax(axis=1)
    flipped = solved.obs["ace_delta_flipped"]
    assert flipped.mean() > 0.95
    np.testing.assert_array_equal(found == solved.obs["ace_delta_target"].astype(str), flipped)


def test_the_nearest_group_has_the_second_largest_logit(solved):
    order = logits(solved).T.apply(lambda cell: cell.nlargest(2).index[1])
    np.testing.assert_array_equal(solved.obs["ace_delta_target"].astype(str), order)


def test_changes_are_sparse_and_stay_in_the_range_of_each_gene(solved):
    change = solved.layers["ace_delta"]
    assert sparse.issparse(change)
    assert change.format == "csr"
    assert change.dtype == np.float32
    assert (change.data != 0).all()
    assert 0 < change.nnz < 0.5 * solved.n_obs * solved.n_vars
    before = solved.X.toarray()
    after = before + change.toarray()
    assert after.min() == 0.0  # exactly, where a gene is switched off
    assert (after <= np.nextafter(before.max(axis=0), np.inf)).all()
    assert change[:, solved.var_names == "zero"].nnz == 0
    at_a_bound = (change.toarray() != 0) & ((after == before.max(axis=0)) | (after == 0))
    assert at_a_bound.any()


def test_the_summary_says_what_is_in_the_layer(solved):
    labels = _labels.read(solved, "group")
    encoder, matrix = _records.explained(solved, "X_ace", labels)
    scale = pd.Series(encoder.scale.numpy(), index=matrix.gene_names)
    change = solved.to_df("ace_delta")
    np.testing.assert_array_equal(solved.obs["ace_delta_n_genes"], (change != 0).sum(axis=1))
    size = (change[scale.index[scale > 0]].abs() / scale[scale > 0]).sum(axis=1)
    np.testing.assert_allclose(solved.obs["ace_delta_size"], size, rtol=1e-5)
    assert solved.uns["ace"]["ace_delta"] == {
        "groupby": "group",
        "reference": "nearest",
        "ranking": "rank_genes_groups",
    }


def test_the_table_lists_the_layer(solved):
    table = ace.get.cells(solved)
    wide = table.pivot(index="cell", columns="names", values="delta").fillna(0.0)
    expected = solved.to_df("ace_delta")
    pd.testing.assert_frame_equal(
        wide.loc[expected.index], expected.loc[:, wide.columns], check_names=False, check_dtype=False
    )
    assert len(table) == solved.layers["ace_delta"].nnz
    assert list(table["cell"].unique()) == list(solved.obs_names)
    for cell, part in table.groupby("cell"):
        assert (part["target"] == solved.obs.loc[cell, "ace_delta_target"]).all()
        assert (np.diff(part["delta"].abs()) <= 0).all()


def write_and_read(adata, path):
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
        return ad.read_h5ad(path)
    adata.write_zarr(path)
    return ad.read_zarr(path)


def assert_same_changes(adata, expected, cells):
    """Equally good, and nearly the same: a batch of other cells rounds otherwise, and optima are flat."""
    found, wanted = (a.layers["ace_delta"].toarray()[list(cells)] for a in (adata, expected))
    apart = np.abs(found - wanted).sum(axis=1) / np.abs(wanted).sum(axis=1)
    assert np.median(apart) < 0.02
    found, wanted = (a.obs.iloc[list(cells)].filter(like="ace_delta_") for a in (adata, expected))
    for name in ("ace_delta_target", "ace_delta_flipped"):
        pd.testing.assert_series_equal(found[name], wanted[name])
    np.testing.assert_allclose(found["ace_delta_size"], wanted["ace_delta_size"], rtol=0.03)


CHOICES = {
    "names": lambda adata: list(adata.obs_names[[3, 7, 20]]),
    "an index": lambda adata: adata.obs_names[[20, 7, 3]],
    "a mask": lambda adata: np.isin(np.arange(adata.n_obs), [3, 7, 20]),
    "a series": lambda adata: pd.Series(np.isin(np.arange(adata.n_obs), [3, 7, 20]), index=adata.obs_names),
    "positions": lambda adata: [3, 7, 20],
    "from the end": lambda adata: np.array([3 - adata.n_obs, 7, 20]),
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_cells_are_given_as_anndata_takes_them(explained, solved, choice):
    ace.tl.explain_cells(explained, "group", cells=choice(explained))
    asked = np.flatnonzero(explained.obs["ace_delta_target"].notna())
    assert asked.tolist() == [3, 7, 20]
    assert_same_changes(explained, solved, asked)
    assert np.flatnonzero(explained.layers["ace_delta"].getnnz(axis=1)).tolist() == [3, 7, 20]
    others = explained.obs.drop(index=explained.obs_names[asked])
    assert others["ace_delta_size"].isna().all()
    assert not others["ace_delta_flipped"].any()
    assert not others["ace_delta_n_genes"].any()
    assert list(ace.get.cells(explained)["cell"].unique()) == list(explained.obs_names[asked])
    assert list(ace.get.cells(explained, choice(explained))["cell"].unique()) == list(explained.obs_names[asked])
    assert list(ace.get.cells(explained, "cell7")["cell"].unique()) == ["cell7"]


@pytest.mark.parametrize("cell", ["cell5", 5, slice(5, 6)])
def test_a_single_cell(explained, solved, cell):
    ace.tl.explain_cells(explained, "group", cells=cell)
    assert np.flatnonzero(explained.layers["ace_delta"].getnnz(axis=1)).tolist() == [5]
    assert_same_changes(explained, solved, [5])


def test_chunks_do_not_matter(explained, solved, monkeypatch):
    monkeypatch.setattr(_single_cells, "_VALUES", 30 * explained.n_vars)  # three chunks
    ace.tl.explain_cells(explained, "group")
    assert_same_changes(explained, solved, range(explained.n_obs))


def test_the_same_call_gives_the_same_bits(explained, solved):
    ace.tl.explain_cells(explained, "group")
    assert (explained.layers["ace_delta"] != solved.layers["ace_delta"]).nnz == 0
    pd.testing.assert_frame_equal(explained.obs, solved.obs, check_exact=True)


def test_a_cell_that_is_there_already_does_not_change(explained):
    ace.tl.explain_cells(explained, "group", reference="dendritic")
    there = (logits(explained).idxmax(axis=1) == "dendritic").to_numpy()
    assert 0 < there.sum() < explained.n_obs
    changed = explained.layers["ace_delta"].getnnz(axis=1) > 0
    np.testing.assert_array_equal(changed, ~there)
    assert explained.obs["ace_delta_flipped"][there].all()
    assert (explained.obs["ace_delta_size"][there] == 0).all()
    assert set(explained.obs["ace_delta_target"]) == {"dendritic"}
    assert list(explained.obs["ace_delta_target"].cat.categories) == GROUPS


def test_cells_without_a_label(explained):
    """They are assigned to a group as all others are, and explained from there."""
    explained.obs.loc[explained.obs_names[:4], "group"] = np.nan
    ace.tl.explain(explained, "group", key_added="some")
    ace.tl.explain_cells(explained, "group", cells=range(6), key="some")
    assert explained.obs["ace_delta_target"].notna().sum() == 6
    assert explained.obs["ace_delta_flipped"][:6].all()
    np.testing.assert_array_equal(
        logits(explained, changed=True).idxmax(axis=1)[:6], explained.obs["ace_delta_target"].astype(str)[:6]
    )


@pytest.mark.filterwarnings("ignore:.*zero-centering.*")
def test_two_groups_and_a_linear_encoder_are_a_linear_programme():
    """With two groups m_t is linear in the latent space, so the cheapest way to m_t = alpha / 2 is an LP's."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 40)
    centre = np.where(codes[:, None] == 1, rng.uniform(0.5, 2.5, 12), rng.uniform(0.5, 2.5, 12))
    adata = ad.AnnData((centre + rng.uniform(0, 1, (80, 12))).astype(np.float32))
    adata.obs["group"] = pd.Categorical(np.array(["a", "b"])[codes])
    sc.pp.pca(adata, n_comps=4)
    ace.tl.explain(adata, "group", use_rep="X_pca", weights="uniform")
    ace.tl.explain_cells(adata, "group", reference="b", cells=adata.obs["group"] == "a")
    encoder, _ = _records.explained(adata, "X_pca", _labels.read(adata, "group"))
    with torch.no_grad():
        clustering = from_labels(encoder(torch.from_numpy(adata.X)), torch.tensor(codes))
        base = encoder(torch.zeros(12)).numpy().astype(float)
        slope = (encoder(torch.eye(12)).numpy() - base).astype(float)  # of the latent by gene
    a, b = clustering.prototypes.numpy().astype(float)
    beta = float(clustering.beta)
    scale = encoder.scale.numpy().astype(float)
    normal = 2 * beta * slope @ (b - a)
    low, high = adata.X.min(axis=0).astype(float), adata.X.max(axis=0).astype(float)
    ratios = []
    for cell in np.flatnonzero(codes == 0):
        x = adata.X[cell].astype(float)
        z = base + x @ slope
        m_b = beta * (((z - a) ** 2).sum() - ((z - b) ** 2).sum())
        found = adata.layers["ace_delta"].toarray()[cell]
        reached = m_b + normal @ found
        assert 0 < reached < 0.55  # past the boundary, by alpha / 2 at most and half the width of the hinge
        bounds = [(0, most) for most in np.concatenate([high - x, x - low])]
        cost = np.concatenate([1 / scale, 1 / scale])
        best = linprog(cost, A_ub=[-np.concatenate([normal, -normal])], b_ub=[m_b - reached], bounds=bounds)
        assert best.success
        ratios.append(adata.obs["ace_delta_size"].iloc[cell] / best.fun)
    assert min(ratios) > 1 - 1e-4
    assert max(ratios) < 1.03
    assert np.mean(ratios) < 1.01


def test_settings_are_those_of_the_ranking(explained, solved):
    """Adaptive weights are the cheaper in the norm that they weigh; a larger margin leads further."""
    cells = np.arange(24)
    for key, arguments in {"plain": {"weights": "uniform"}, "far": {"alpha": 6.0}}.items():
        ace.tl.explain(explained, "group", key_added=key, **arguments)
        ace.tl.explain_cells(explained, "group", cells=cells, key=key, key_added=key)
    assert explained.obs["far_size"].iloc[cells].mean() > 1.05 * solved.obs["ace_delta_size"].iloc[cells].mean()
    scale = explained.to_df().std().replace(0.0, np.inf)
    means = (explained.to_df() / scale).groupby(explained.obs["group"], observed=True).mean()
    own, target = logits(explained).idxmax(axis=1), explained.obs["plain_target"].astype(object)
    weighed = {"ace_delta": 0.0, "plain": 0.0}
    for cell in explained.obs_names[cells]:
        weight = 1 / ((means.loc[target[cell]] - means.loc[own[cell]]).abs() + 0.3)
        for adata, key in ((solved, "ace_delta"), (explained, "plain")):
            weighed[key] += (weight * (adata[cell].to_df(key).iloc[0] / scale).abs()).sum()
    assert weighed["ace_delta"] < 0.97 * weighed["plain"]


@torch.no_grad()
def test_of_raw(explained, small_network):
    """Genes of the layer are those of `adata`, in its order; units are those of `raw`."""
    raw = explained.copy()
    explained.X = explained.X * 0.5
    explained.raw = raw
    explained = explained[:, explained.var_names[::-1]].copy()
    del explained.uns["ace"]
    with torch.enable_grad():
        ace.tl.embed(explained, use_raw=True, **small_network)
        ace.tl.explain(explained, "group", use_raw=True)
    ace.tl.explain_cells(explained, "group", cells=range(8))
    after = explained.raw.to_adata().to_df() + explained.to_df("ace_delta")
    labels = _labels.read(explained, "group")
    encoder, matrix = _records.explained(explained, "X_ace", labels)
    latent = encoder(torch.from_numpy(raw[:, matrix.gene_names].X.toarray()))
    clustering = from_labels(latent, torch.tensor(labels.codes))
    assigned = clustering.assign(encoder(torch.from_numpy(after[matrix.gene_names].to_numpy(copy=True)[:8]))).numpy()
    assert [labels.names[g] for g in assigned] == explained.obs["ace_delta_target"][:8].tolist()


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_round_trip(solved, tmp_path, kind):
    path = tmp_path / f"cells.{kind}"
    read = write_and_read(solved, path)
    assert (read.layers["ace_delta"] != solved.layers["ace_delta"]).nnz == 0
    pd.testing.assert_frame_equal(ace.get.cells(read), ace.get.cells(solved))
    ace.tl.explain_cells(read, "group", cells=[0, 5])  # again, from the file alone
    assert_same_changes(read, solved, [0, 5])


def test_an_earlier_result_is_replaced_and_a_copy_is_a_copy(explained, contents, assert_same_contents):
    ace.tl.explain_cells(explained, "group", cells=[0, 1])
    before = contents(explained)
    copied = ace.tl.explain_cells(explained, "group", cells=[2], copy=True)
    assert_same_contents(contents(explained), before)
    assert np.flatnonzero(copied.obs["ace_delta_target"].notna()).tolist() == [2]
    assert np.flatnonzero(copied.layers["ace_delta"].getnnz(axis=1)).tolist() == [2]


REFUSED = {
    "no such column": ({"groupby": "no"}, KeyError, r"`groupby`='no' not found.*'group'"),
    "another column": ({"groupby": "half"}, ValueError, r"groupby='group' by method='ace', not of 'half'.*ace\.tl\.ex"),
    "no such ranking": ({"key": "no"}, KeyError, r"`key`='no' not found.*ace\.tl\.explain\(adata, 'group'\)"),
    "another method": ({"key": "jsd"}, ValueError, r"by method='jsd', not of 'group' by 'ace'"),
    "no such group": ({"reference": "nobody"}, ValueError, r"`reference`='nobody' is not a group.*'B'.*'dendritic'"),
    "no such cell": ({"cells": ["cell1", "nix"]}, KeyError, r"`cells` not found in `adata\.obs_names`: \['nix'\]"),
    "no such position": ({"cells": [0, 80]}, KeyError, r"`cells` has positions outside the 80 cells.*80"),
    "mask of the wrong length": ({"cells": [True, False]}, ValueError, r"`cells` is a mask of shape \(2,\).*80 cells"),
    "no cells": ({"cells": []}, ValueError, r"`cells` names no cell"),
    "an empty mask": ({"cells": np.zeros(80, dtype=bool)}, ValueError, r"`cells` names no cell"),
    "a layer of the user": ({"key_added": "counts"}, ValueError, r"'counts' is in `adata\.layers` and was not made"),
    "an encoder": ({"key_added": "X_ace"}, ValueError, r"'X_ace' is in `adata\.uns\['ace'\]` and was not made"),
    "no name": ({"key_added": ""}, TypeError, r"`key_added`"),
    "device": ({"device": "abacus"}, ValueError, r"`device`='abacus'.*cpu"),
}


@pytest.mark.parametrize(("arguments", "error", "match"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.usefixtures("no_training")
def test_refused(explained, unchanged, arguments, error, match):
    explained.obs["half"] = pd.Categorical(np.where(np.arange(explained.n_obs) % 2, "x", "y"))
    explained.layers["counts"] = explained.X.copy()
    ace.tl.explain(explained, "group", method="jsd", key_added="jsd")
    with unchanged(explained, error, match=match):
        ace.tl.explain_cells(explained, **{"groupby": "group", **arguments})


def test_more_cells_than_one_would_wait_for_have_to_be_named(explained, unchanged, monkeypatch):
    monkeypatch.setattr("ace_scanpy.tl._explain_cells._MOST_CELLS", 79)
    with unchanged(explained, ValueError, match=r"`cells` is needed: `adata` has 80 cells.*79.*cells=adata\.obs_names"):
        ace.tl.explain_cells(explained, "group")
    ace.tl.explain_cells(explained, "group", cells=explained.obs_names, reference="B")
    assert explained.obs["ace_delta_target"].notna().all()


def test_labels_that_have_changed_since(explained, unchanged):
    explained.obs["group"] = explained.obs["group"].to_numpy()[::-1]
    with unchanged(explained, ValueError, match=r"has not been fitted to obs\['group'\]"):
        ace.tl.explain_cells(explained, "group")


def test_names_of_cells_that_repeat(explained, unchanged):
    explained.obs_names = ["same", "same", *explained.obs_names[2:]]
    with unchanged(explained, ValueError, match=r"`cells` are names.*obs_names_make_unique"):
        ace.tl.explain_cells(explained, "group", cells=["same"])
    ace.tl.explain_cells(explained, "group", cells=[0])


def test_genes_that_raw_alone_has(explained, unchanged, small_network):
    explained.raw = explained.copy()
    fewer = explained[:, 2:].copy()
    del fewer.uns["ace"]
    ace.tl.embed(fewer, use_raw=True, **small_network)
    ace.tl.explain(fewer, "group", use_raw=True)
    with unchanged(fewer, ValueError, match=r"2 genes.*in `adata\.raw` alone.*'HLA-DRA/β'"):
        ace.tl.explain_cells(fewer, "group")


def test_an_interruption_leaves_everything_as_it_was(explained, unchanged, monkeypatch):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_single_cells, "perturb", interrupt)
    with unchanged(explained, KeyboardInterrupt):
        ace.tl.explain_cells(explained, "group")


def test_nothing_to_list(explained):
    with pytest.raises(KeyError, match=r"`key`='ace_delta'.*ace\.tl\.explain_cells"):
        ace.get.cells(explained)
