"""Every method of `explain` on an AnnData: signs, names of categories, arguments, interruptions."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import ace_scanpy as ace

SIGNED = ("deseq2", "gce", "smoothgrad", "shap")
METHODS = (*SIGNED, "jsd", "grs")
NETWORK = ("smoothgrad", "shap")
PACKAGES = {"deseq2": "pydeseq2", "smoothgrad": "captum", "shap": "captum"}


def _options(method):
    if method in PACKAGES:
        pytest.importorskip(PACKAGES[method])
    return {"method": method, **({"counts_layer": "counts"} if method == "deseq2" else {})}


@pytest.fixture(scope="module")
def counted(shared):
    """The planted data with an encoder and with counts, which undo its normalisation."""
    adata = shared.copy()
    values = np.expm1(adata.X.toarray())
    unit = np.array([row[row > 0].min() for row in values])[:, None]
    adata.layers["counts"] = sparse.csr_matrix(np.rint(values / unit))
    del adata.uns["rank_genes_groups"]
    return adata


@pytest.fixture
def adata(counted, isolated):
    return isolated(counted)


@pytest.mark.parametrize("method", METHODS)
def test_planted_genes_and_their_directions(adata, method):
    ace.tl.explain(adata, "group", **_options(method))
    entry = adata.uns["rank_genes_groups"]
    for group in adata.obs["group"].cat.categories:
        table = ace.get.rank_genes_groups_df(adata, group).set_index("names")
        up = adata.var_names[adata.var["up"] == group]
        down = adata.var_names[adata.var["down"] == group]
        assert ("enriched" in table) == (method in SIGNED)
        assert table["scores"].abs().is_monotonic_decreasing
        assert sorted(table.index) == sorted(adata.var_names)
        assert table.index[-1] == "zero"
        if method in SIGNED:
            assert table.loc[up, "enriched"].all()
            assert not table.loc[down, "enriched"].any()
            assert len(set(table.index[:8]) & {*up, *down}) >= 3
        else:
            assert (table["scores"] >= 0).all()
        if method == "jsd":
            assert set(table.index[:3]) == set(up)
        assert np.isfinite(table["pvals"]).sum() == (adata.n_vars - 1 if method == "deseq2" else 0)
        assert table["delta"].isna().all()
        assert entry["panel_size"][group][0] == 0
        assert np.isnan(entry["flip_rate"][group][0])
        assert np.isfinite(entry["fidelity"][group][0]) == (method in NETWORK)
    assert entry["params"]["method"] == method


@pytest.mark.parametrize("reference", ["rest", "dendritic"])
@pytest.mark.parametrize("method", METHODS)
def test_names_and_order_of_categories_change_nothing_else(adata, method, reference):
    names = {"B": "z", "T/NK ζ": "y", "Mono 14⁺": "x", "dendritic": "w"}
    adata.obs["renamed"] = pd.Categorical(adata.obs["group"].map(names).astype(str))  # sorted: the reverse order
    options = _options(method)
    ace.tl.explain(adata, "group", reference=reference, key_added="one", **options)
    ace.tl.explain(adata, "renamed", reference=names.get(reference, "rest"), key_added="two", **options)
    one, two = adata.uns["one"], adata.uns["two"]
    groups = [g for g in names if g != reference]
    assert list(two["names"].dtype.names) == [names[g] for g in groups][::-1]
    fields = {key for key, value in one.items() if key != "params"}
    for key in fields:
        for group in groups:
            np.testing.assert_array_equal(np.asarray(two[key][names[group]]), np.asarray(one[key][group]))


@pytest.mark.parametrize("method", METHODS)
def test_fewer_groups_change_nothing_else(adata, method):
    options = _options(method)
    ace.tl.explain(adata, "group", key_added="all", **options)
    ace.tl.explain(adata, "group", groups=["T/NK ζ"], n_genes=5, pts=True, key_added="one", **options)
    every, one = adata.uns["all"], adata.uns["one"]
    assert one["names"].dtype.names == ("T/NK ζ",)
    for key in ("names", "scores", "pvals"):
        np.testing.assert_array_equal(one[key]["T/NK ζ"], every[key]["T/NK ζ"][:5])
    assert list(one["pts"].columns) == ["T/NK ζ"]


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits(adata, method, assert_same_contents, contents):
    options = _options(method)
    for key in ("r1", "r2"):
        ace.tl.explain(adata, "group", rng=3, key_added=key, **options)
    held = contents(adata)
    first, second = ({p[6:]: v for p, v in held.items() if p.startswith(f"uns/{key}")} for key in ("r1", "r2"))
    assert len(first) > 10
    assert_same_contents(first, second)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("method", [m for m in METHODS if m not in NETWORK])
def test_methods_without_an_encoder_train_none(planted, method, counted, contents):
    planted.layers["counts"] = counted.layers["counts"]
    before = contents(planted)
    ace.tl.explain(planted, "group", **_options(method))
    after = contents(planted)
    assert {path for path in after if path not in before and not path.startswith("uns/rank_genes_groups")} == set()
    assert "ace" not in planted.uns


@pytest.mark.parametrize("method", NETWORK)
def test_the_encoder_is_that_of_ace(adata, method):
    fits = adata.uns["ace"]["X_ace"]["fits"]
    before = {name: value.copy() for name, value in next(iter(fits.values()))["weights"].items()}
    ace.tl.explain(adata, "group", beta=0.3, **_options(method))
    after = next(iter(adata.uns["ace"]["X_ace"]["fits"].values()))["weights"]
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    assert adata.uns["rank_genes_groups"]["params"]["beta"] == pytest.approx(0.3)


def test_genes_outside_the_mask_come_last(adata):
    adata.var["some"] = ~adata.var_names.isin(["gene1", "gene20"])
    for method in ("deseq2", "jsd", "gce", "grs"):
        ace.tl.explain(adata, "group", mask_var="some", **_options(method))
        for group in adata.obs["group"].cat.categories:
            assert set(adata.uns["rank_genes_groups"]["names"][group][-2:]) == {"gene1", "gene20"}


def test_layer_and_raw(adata):
    adata.raw = adata.copy()
    adata.layers["logged"] = adata.X.copy()
    adata.X = adata.X * 0.5
    for method in ("jsd", "gce", "grs"):
        ace.tl.explain(adata, "group", method=method, layer="logged", key_added="one")
        ace.tl.explain(adata, "group", method=method, use_raw=True, key_added="two")
        for key in ("names", "scores", "logfoldchanges"):
            np.testing.assert_array_equal(adata.uns["one"][key]["B"], adata.uns["two"][key]["B"])


def test_relevance_uses_the_neighbours_and_the_map_that_are_there(adata, logged):
    sc.pp.pca(adata, n_comps=10)
    sc.pp.neighbors(adata, n_neighbors=9, use_rep="X_pca")
    with logged(verbosity=3) as log:
        ace.tl.explain(adata, "group", method="grs", key_added="one")
    assert "with the neighbours of `adata`" in log.getvalue()
    assert "X_diffmap" not in adata.obsm
    sc.tl.diffmap(adata)
    with logged(verbosity=3) as log:
        ace.tl.explain(adata, "group", method="grs", key_added="two")
    assert "with the neighbours and the diffusion map of `adata`" in log.getvalue()
    assert adata.uns["one"]["params"]["n_neighbors"] == 8
    np.testing.assert_allclose(adata.uns["one"]["scores"]["B"], adata.uns["two"]["scores"]["B"], rtol=1e-4, atol=1e-7)


def test_deseq2_samples_many_cells(adata, monkeypatch, logged):
    monkeypatch.setattr("ace_scanpy.tl._rankers._TESTED_CELLS", 40)
    with logged(verbosity=3) as log:
        ace.tl.explain(adata, "group", **_options("deseq2"))
    assert "a sample of 40 cells" in log.getvalue()
    assert adata.uns["rank_genes_groups"]["params"]["n_cells"] == 40
    assert adata.uns["rank_genes_groups"]["n_cells"]["B"][0] == 20


REFUSED = {
    "lam": ({"method": "jsd", "lam": 3.0}, ["`lam`", "3.0", "'jsd'", "['ace']"]),
    "weights": ({"method": "shap", "weights": "uniform"}, ["`weights`", "uniform", "'shap'"]),
    "rest": ({"method": "gce", "rest": "max"}, ["`rest`", "max", "'gce'"]),
    "use_rep": ({"method": "grs", "use_rep": "X_pca"}, ["`use_rep`", "X_pca", "'grs'", "smoothgrad"]),
    "counts_layer": ({"counts_layer": "counts"}, ["`counts_layer`", "'ace'", "deseq2"]),
    "no counts": ({"method": "deseq2"}, ["`counts_layer`", "counts", "Available layers"]),
    "no groupby": ({"groupby": None, "method": "jsd"}, ["`groupby`", "'jsd'", "ace_cluster", "group"]),
    "unknown": ({"method": "cosg"}, ["`method`", "cosg", "deseq2", "smoothgrad"]),
}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_arguments_that_are_not_the_methods(adata, unchanged, arguments, words):
    with unchanged(adata, ValueError) as raised:
        ace.tl.explain(adata, **{"groupby": "group", **arguments})
    assert [word for word in words if word not in str(raised.value)] == []


@pytest.mark.usefixtures("no_training")
def test_counts_layer_that_is_not_there(adata, unchanged):
    with unchanged(adata, KeyError, match=r"`counts_layer`='umi'.*'counts'"):
        ace.tl.explain(adata, "group", method="deseq2", counts_layer="umi")


@pytest.mark.parametrize("wrong", [0.5, -1.0, np.nan])
def test_counts_that_are_none(adata, unchanged, wrong):
    adata.layers["counts"].data[7] = wrong
    with unchanged(adata, ValueError, match=r"`counts_layer`='counts' must hold counts, whole numbers .* Got"):
        ace.tl.explain(adata, "group", **_options("deseq2"))


def test_raw_with_genes_that_have_no_counts(adata, unchanged):
    adata.raw = adata.copy()
    fewer = adata[:, ::2].copy()
    with unchanged(fewer, ValueError, match=r"17 genes of `adata.raw.X` have no counts"):
        ace.tl.explain(fewer, "group", use_raw=True, **_options("deseq2"))


def test_specificity_of_scaled_data(planted, unchanged):
    sc.pp.scale(planted, zero_center=False)
    planted.X = planted.X.toarray() - 1
    with unchanged(planted, ValueError, match="negative values, and method='jsd'"):
        ace.tl.explain(planted, "group", method="jsd")


@pytest.mark.parametrize("method", METHODS)
def test_raw_counts_are_refused(adata, unchanged, method):
    adata.X = adata.layers["counts"] * 3
    if method in NETWORK:
        del adata.uns["ace"]
    with unchanged(adata, ValueError, match="looks like raw counts"):
        ace.tl.explain(adata, "group", **_options(method))


@pytest.mark.parametrize("package", ["pydeseq2", "captum"])
def test_without_the_package(adata, unchanged, monkeypatch, package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    for method in [m for m, p in PACKAGES.items() if p == package]:
        options = {"counts_layer": "counts"} if method == "deseq2" else {}
        with unchanged(adata, ImportError, match=rf"{method}.*{package}.*ace_scanpy\[methods\]"):
            ace.tl.explain(adata, "group", method=method, **options)


STEPS = {
    "deseq2": "ace_scanpy.methods.deseq2",
    "jsd": "ace_scanpy.methods.jsd",
    "gce": "ace_scanpy.methods.translate",
    "grs": "ace_scanpy.methods.relevance",
    "smoothgrad": "ace_scanpy.methods.attribute",
    "shap": "ace_scanpy._rgg.build",
}


@pytest.mark.parametrize(("method", "step"), STEPS.items())
def test_interrupted(adata, unchanged, monkeypatch, method, step):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    options = _options(method)
    monkeypatch.setattr(step, interrupt)
    with unchanged(adata, KeyboardInterrupt):
        ace.tl.explain(adata, "group", **options)
