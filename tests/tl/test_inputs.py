"""What has to work: every kind of matrix, of labels and of group."""

from __future__ import annotations

from copy import deepcopy

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import ace_scanpy as ace
from ace_scanpy.methods import _perturbation

FORMS = {
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "dense": lambda x: x.toarray(),
    "Fortran": lambda x: np.asfortranarray(x.toarray()),
    "float64": lambda x: x.astype(np.float64),
}


def _explain(adata, small_network, **arguments):
    ace.tl.embed(adata, **small_network)
    ace.tl.explain(adata, "group", **arguments)
    return adata.uns["rank_genes_groups"]


def _read_only(contents, adata):
    return {path: value for path, value in contents(adata).items() if path.startswith(("X", "layers", "raw"))}


@pytest.fixture
def few_steps(monkeypatch):
    """Of the solver: a network is not convex, and many amplify what rounding makes of another order of the sums."""
    solve = _perturbation.perturb
    monkeypatch.setattr(_perturbation, "perturb", lambda *given, **named: solve(*given, **{**named, "max_iter": 10}))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_same_ranking_for_every_form_of_the_matrix(
    explained, planted, small_network, contents, assert_same_contents, few_steps, form
):
    ace.tl.explain(explained, "group", lam=100)
    expected = explained.uns["rank_genes_groups"]
    planted.X = form(planted.X)
    before = _read_only(contents, planted)
    ace.tl.embed(planted, **small_network)
    size = np.abs(explained.obsm["X_ace"]).max()
    np.testing.assert_allclose(planted.obsm["X_ace"], explained.obsm["X_ace"], atol=0.01 * size)
    # training amplifies the rounding of another form's sums; the same encoder does not
    planted.uns["ace"], planted.obsm["X_ace"] = deepcopy(explained.uns["ace"]), explained.obsm["X_ace"].copy()
    ace.tl.explain(planted, "group", lam=100)
    found = planted.uns["rank_genes_groups"]
    assert_same_contents(_read_only(contents, planted), before)
    for group in expected["names"].dtype.names:
        ours, theirs = (pd.Series(e["scores"][group], index=list(e["names"][group])) for e in (found, expected))
        np.testing.assert_allclose(ours[theirs.index], theirs, atol=1e-3)  # rounding may swap genes that are this near
        ours, theirs = (pd.Series(e["delta"][group], index=list(e["names"][group])) for e in (found, expected))
        np.testing.assert_allclose(ours[theirs.index], theirs, atol=1e-2)
        assert found["panel_size"][group][0] == expected["panel_size"][group][0]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("is_sparse", [True, False], ids=["sparse", "dense"])
def test_whole_numbers_and_truth_values(
    planted, small_network, contents, assert_same_contents, assert_same_ranking, dtype, is_sparse
):
    values = (planted.X.toarray() > 3) if dtype is bool else np.rint(planted.X.toarray())
    other = planted.copy()
    planted.X = sparse.csr_matrix(values.astype(dtype)) if is_sparse else values.astype(dtype)
    other.X = sparse.csr_matrix(values.astype(np.float32)) if is_sparse else values.astype(np.float32)
    before = _read_only(contents, planted)
    one = {"groups": ["B"], "reference": "dendritic"}
    assert_same_ranking(_explain(planted, small_network, **one), _explain(other, small_network, **one))
    assert_same_contents(_read_only(contents, planted), before)


@pytest.mark.filterwarnings("ignore:Trying to modify attribute:anndata.ImplicitModificationWarning")
def test_a_view(explained, make_planted, small_network, assert_same_ranking):
    more = make_planted(n_per_group=20)
    bigger = ad.concat([more, more], index_unique="-")
    bigger.uns.update(more.uns)
    view = bigger[: more.n_obs]
    assert view.is_view
    found = _explain(view, small_network)
    assert_same_ranking(found, explained.uns["rank_genes_groups"])
    assert "ace" not in bigger.uns
    assert not bigger.obsm


def test_layer_and_raw(planted, explained, small_network, contents, assert_same_contents, assert_same_ranking):
    """The same values in a layer and in raw: the same result, and nothing is changed."""
    planted.raw = planted.copy()
    planted.layers["logged"] = planted.X.copy()
    planted.X = sparse.csr_matrix(np.random.default_rng(0).random(planted.shape, dtype=np.float32))
    before = _read_only(contents, planted)
    for name, where in {"X_layer": {"layer": "logged"}, "X_raw": {"use_raw": True}}.items():
        ace.tl.embed(planted, key_added=name, **where, **small_network)
        ace.tl.explain(planted, "group", use_rep=name, **where)
        found = planted.uns["rank_genes_groups"]
        assert_same_ranking(found, explained.uns["rank_genes_groups"])
        assert (found["params"]["layer"], found["params"]["use_raw"]) == (where.get("layer"), "use_raw" in where)
    assert_same_contents(_read_only(contents, planted), before)


def test_raw_may_have_more_genes(planted, small_network):
    planted.raw = planted.copy()
    fewer = planted[:, ::2].copy()
    entry_genes = _explain(fewer, small_network)["names"]["B"]
    assert sorted(entry_genes) == sorted(fewer.var_names)
    ace.tl.embed(fewer, use_raw=True, key_added="X_raw", **small_network)
    ace.tl.explain(fewer, "group", use_rep="X_raw", use_raw=True, groups=["B"], reference="dendritic")
    assert sorted(fewer.uns["rank_genes_groups"]["names"]["B"]) == sorted(planted.var_names)


def test_groups_of_one_and_two_cells(planted, small_network):
    labels = np.array(planted.obs["group"].astype(str), dtype=object)
    labels[:1], labels[1:3] = "single", "pair"
    planted.obs["group"] = pd.Categorical(labels)
    entry = _explain(planted, small_network)
    for group, n_cells in {"single": 1, "pair": 2}.items():
        assert entry["n_cells"][group][0] == n_cells
        assert entry["fidelity"][group][0] in (np.arange(n_cells + 1) / n_cells).astype(np.float32)
        assert np.abs(entry["scores"][group]).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "values", [np.array([10, 2]), np.array([True, False]), np.array(["x/y", "z"]), np.array([0.5, 1.5])], ids=str
)
def test_labels_that_are_not_categorical(embedded, assert_same_ranking, values):
    """They become categorical, as Scanpy's plots need, in sorted order; the ranking is that of the same partition."""
    halves = embedded.obs["group"].isin(["B", "dendritic"]).to_numpy()
    embedded.obs["known"] = pd.Categorical(np.where(halves, "one", "two"))
    embedded.obs["given"] = np.where(halves, values[0], values[1])
    original = embedded.obs["given"].copy()
    ace.tl.explain(embedded, "known", key_added="known")
    ace.tl.explain(embedded, "given")
    assert isinstance(embedded.obs["given"].dtype, pd.CategoricalDtype)
    assert embedded.obs["given"].tolist() == original.tolist()
    names = {"one": str(values[0]), "two": str(values[1])}
    assert_same_ranking(embedded.uns["rank_genes_groups"], embedded.uns["known"], names=names)
    assert list(embedded.uns["rank_genes_groups"]["names"].dtype.names) == [str(v) for v in sorted(values)]
    ace.tl.explain(embedded, "given", groups=[values[0]], reference=values[1], lam=1.0)  # groups by their own value
    assert embedded.uns["rank_genes_groups"]["names"].dtype.names == (str(values[0]),)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
@pytest.mark.parametrize(
    ("extension", "values"),
    [("h5ad", [3, 1]), ("h5ad", [True, False]), ("h5ad", ["b", "a"]), ("h5ad", [0.5, 1.5]), ("zarr", [3, 1])],
    ids=str,
)
def test_labels_that_became_categorical_can_be_written(embedded, tmp_path, extension, values):
    embedded.obs["given"] = np.where(embedded.obs["group"] == "B", values[0], values[1])
    original = embedded.obs["given"].tolist()
    ace.tl.explain(embedded, "given", groups=values[:1], lam=1.0)
    path = tmp_path / f"file.{extension}"
    getattr(embedded, f"write_{extension}")(path)
    read = getattr(ad, f"read_{extension}")(path)
    assert read.obs["given"].tolist() == original


def test_unused_categories_have_no_field(untouched, explained, assert_same_ranking):
    untouched.obs["group"] = (
        untouched.obs["group"]
        .cat.add_categories(["empty"])
        .cat.reorder_categories(["B", "empty", "T/NK ζ", "Mono 14⁺", "dendritic"])
    )
    ace.tl.explain(untouched, "group")
    entry = untouched.uns["rank_genes_groups"]
    assert entry["names"].dtype.names == ("B", "T/NK ζ", "Mono 14⁺", "dendritic")
    assert_same_ranking(entry, explained.uns["rank_genes_groups"])
    assert "empty" in untouched.obs["group"].cat.categories


def test_cells_without_a_label_are_left_out(untouched, logged, assert_same_ranking):
    """Exactly as if they were not there: the same encoder, fitted to and solved for the labelled cells."""
    without = np.arange(untouched.n_obs) % 5 == 0
    labelled = untouched[~without].copy()
    untouched.obs.loc[without, "group"] = np.nan
    with logged() as log:
        ace.tl.explain(untouched, "group")
    assert f"{without.sum()} cells without a label in obs['group'] are left out" in log.getvalue()
    ace.tl.explain(labelled, "group")
    assert_same_ranking(untouched.uns["rank_genes_groups"], labelled.uns["rank_genes_groups"])


def test_two_groups(embedded):
    """With two groups the rest is the other one."""
    embedded.obs["two"] = pd.Categorical(np.where(embedded.obs["group"].isin(["B", "dendritic"]), "one", "two"))
    ace.tl.explain(embedded, "two", groups=["one"], key_added="each")
    ace.tl.explain(embedded, "two", groups=["one"], reference="two", key_added="reference")
    each, one = (ace.get.rank_genes_groups_df(embedded, "one", key=key) for key in ("each", "reference"))
    scored = (each["scores"] != 0).sum()
    assert list(one["names"][:scored]) == list(each["names"][:scored])
    np.testing.assert_allclose(one["scores"], each["scores"], atol=1e-4)
    np.testing.assert_allclose(one["logfoldchanges"], each["logfoldchanges"], rtol=1e-6)


def test_genes_that_do_not_vary(planted, small_network):
    """Constant genes, at zero or elsewhere: last, untouched, and no other gene's score is changed by them."""
    planted.X = planted.X.toarray()
    planted.X[:, 25:28] = 1.25
    entry = _explain(planted, small_network)
    constant = {*planted.var_names[25:28], "zero"}
    for group in entry["names"].dtype.names:
        assert set(entry["names"][group][-4:]) == constant
        assert (entry["delta"][group][-4:] == 0).all()
        assert (entry["scores"][group][-4:] == 0).all()
        np.testing.assert_array_equal(entry["logfoldchanges"][group][-4:], 0)
    assert (planted.var.loc[sorted(constant), "ace_std"] == 0).all()


def test_copy_leaves_the_original(planted, contents, assert_same_contents, small_network):
    before = contents(planted)
    steps = [
        lambda a: ace.pp.standardize(a, copy=True),
        lambda a: ace.tl.embed(a, copy=True, **small_network),
        lambda a: ace.tl.cluster(a, n_clusters=3, copy=True),
        lambda a: ace.tl.cluster(a, n_clusters=3, joint=True, key_added="joint", copy=True),
        lambda a: ace.tl.explain(a, "group", groups=["B"], reference="dendritic", copy=True),
    ]
    adata = planted
    for step in steps:
        earlier = contents(adata)
        changed = step(adata)
        assert_same_contents(contents(adata), earlier)
        assert set(earlier) < set(contents(changed))
        adata = changed
    assert_same_contents(contents(planted), before)
    assert {"ace_cluster", "joint", "joint_confidence"} <= set(adata.obs)
    assert {"ace", "rank_genes_groups"} <= set(adata.uns)


def test_in_place_returns_nothing(embedded):
    assert ace.pp.standardize(embedded) is None
    assert ace.tl.cluster(embedded, n_clusters=2) is None
    assert ace.tl.explain(embedded, "group", groups=["B"], reference="dendritic", lam=1.0) is None
    assert ace.tl.embed(embedded, n_epochs=1, n_hidden=(4,), n_latent=2) is None
