"""Encoders are used again, in this process or another; what does not fit is refused, never retrained silently."""

from __future__ import annotations

import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import ace_scanpy as ace

ONE = {"groups": ["B"], "reference": "dendritic"}

ELSEWHERE = """
import json, sys
import anndata as ad, torch
import ace_scanpy as ace
from ace_scanpy.tl import _autoencoder

torch.set_num_threads(1)

def refuse(*args, **kwargs):
    raise RuntimeError("trained")

_autoencoder.train = _autoencoder.fit_labels = refuse
found = {}
for path in sys.argv[1:]:
    adata = ad.read_h5ad(path) if path.endswith("h5ad") else ad.read_zarr(path)
    ace.tl.explain(adata, "group", key_added="again")
    entry = adata.uns["again"]
    found[path] = {
        name: {group: entry[name][group].tolist() for group in entry[name].dtype.names}
        for name in ("names", "scores", "delta", "logfoldchanges", "fidelity", "panel_size")
    }
    latent = ace.get.encoder(adata)(torch.tensor(adata[:, list(adata.uns["ace"]["X_ace"]["genes"])].X.toarray()))
    found[path]["latent"] = latent.tolist()
print(json.dumps(found))
"""


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
def test_another_process_explains_without_training(explained, tmp_path):
    paths = [str(tmp_path / "file.h5ad"), str(tmp_path / "file.zarr")]
    explained.write_h5ad(paths[0])
    explained.write_zarr(paths[1])
    run = subprocess.run([sys.executable, "-c", ELSEWHERE, *paths], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    entry = explained.uns["rank_genes_groups"]
    for path in paths:
        for group in entry["names"].dtype.names:
            for name in ("names", "scores", "delta", "logfoldchanges", "fidelity", "panel_size"):
                assert found[path][name][group] == entry[name][group].tolist()
        np.testing.assert_allclose(found[path]["latent"], explained.obsm["X_ace"], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("no_training")
def test_explaining_again_does_not_train(explained, assert_same_ranking):
    ace.tl.explain(explained, "group", key_added="again")
    assert_same_ranking(explained.uns["again"], explained.uns["rank_genes_groups"])


@pytest.mark.usefixtures("no_training")
def test_renaming_categories_keeps_the_fit(explained, isolated, assert_same_ranking):
    before = isolated(explained).uns["rank_genes_groups"]
    new = ["z", "y/1", "x", "w"]
    explained.rename_categories("group", new)
    ace.tl.explain(explained, "group", key_added="again")
    names = dict(zip(before["names"].dtype.names, new, strict=True))
    assert_same_ranking(explained.uns["again"], before, names=names)
    assert_same_ranking(explained.uns["rank_genes_groups"], explained.uns["again"])


def test_one_explanation_does_not_change_the_next(untouched, isolated, assert_same_ranking):
    untouched.obs["halves"] = np.where(untouched.obs["group"].isin(["B", "dendritic"]), "one", "two")
    untouched.obs["halves"] = untouched.obs["halves"].astype("category")
    alone = isolated(untouched)
    shared = isolated(untouched)
    ace.tl.explain(alone, "halves")
    ace.tl.explain(untouched, "group", key_added="first")
    ace.tl.explain(untouched, "halves")
    assert_same_ranking(untouched.uns["rank_genes_groups"], alone.uns["rank_genes_groups"])
    # the shared encoder and embedding stay as they were
    np.testing.assert_array_equal(untouched.obsm["X_ace"], shared.obsm["X_ace"])
    record = untouched.uns["ace"]["X_ace"]
    assert set(record["fits"]) == {"group", "halves"}
    for name, value in shared.uns["ace"]["X_ace"]["weights"].items():
        np.testing.assert_array_equal(record["weights"][name], value)


def test_other_labels_under_the_same_key_are_fitted_anew(explained, untouched, assert_same_ranking):
    labels = explained.obs["group"].astype(object).to_numpy(copy=True)
    labels[np.flatnonzero(labels == "B")[:8]] = "dendritic"
    for adata in (explained, untouched):
        adata.obs["group"] = pd.Categorical(labels, categories=list(adata.obs["group"].cat.categories))
        ace.tl.explain(adata, "group")
    assert explained.uns["rank_genes_groups"]["n_cells"]["B"][0] == 12
    assert_same_ranking(explained.uns["rank_genes_groups"], untouched.uns["rank_genes_groups"])
    fits = [adata.uns["ace"]["X_ace"]["fits"]["group"]["weights"] for adata in (explained, untouched)]
    for name, value in fits[0].items():
        np.testing.assert_array_equal(value, fits[1][name])


@pytest.mark.parametrize("key", ["cell type/fine", "тип ⁺"])
def test_keys_with_any_letters(explained, key, assert_same_ranking):
    explained.obs[key] = explained.obs["group"]
    ace.tl.explain(explained, key, key_added="again")
    assert explained.uns["again"]["params"]["groupby"] == key
    assert_same_ranking(explained.uns["again"], explained.uns["rank_genes_groups"])
    assert not any("/" in name for name in explained.uns["ace"]["X_ace"]["fits"])


def test_a_supervised_embedding_needs_no_copy(planted, small_network, monkeypatch):
    ace.tl.embed(planted, groupby="group", **small_network)
    assert planted.uns["ace"]["X_ace"]["groupby"] == "group"
    monkeypatch.setattr("ace_scanpy.tl._autoencoder.fit_labels", lambda *_args, **_kwargs: pytest.fail("trained"))
    ace.tl.explain(planted, "group", lam=3.0)
    assert planted.uns["ace"]["X_ace"]["fits"] == {}
    assert planted.uns["rank_genes_groups"]["names"].dtype.names == tuple(planted.obs["group"].cat.categories)


def _refused(raised, words):
    message = str(raised.value)
    assert "ace.tl.embed(adata, key_added='X_ace'" in message, message  # the call that makes a new one
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


@pytest.fixture
def with_batches(embedded):
    embedded.obs["donor"] = pd.Categorical(["a", "b"] * 40)
    embedded.layers["other"] = embedded.X.copy()
    embedded.raw = embedded.copy()
    embedded.var["some"] = np.arange(embedded.n_vars) < 20
    return embedded


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layer": "other"}, ["layer=None", "layer='other'"]),
        ({"use_raw": True}, ["layer=None", "use_raw=True"]),
        ({"mask_var": "some"}, ["mask", "all genes", "`mask_var`"]),
        ({"mask_var": np.arange(35) < 20}, ["mask", "all genes", "`mask_var`"]),
        ({"batch_key": "donor"}, ["batch_key=None", "batch_key='donor'"]),
    ],
    ids=["layer", "raw", "mask", "mask as an array", "batches"],
)
def test_encoder_of_another_matrix_is_refused(with_batches, unchanged, arguments, words):
    with unchanged(with_batches, ValueError) as raised:
        ace.tl.explain(with_batches, "group", **arguments)
    _refused(raised, words)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("function", [ace.tl.explain, ace.tl.cluster])
def test_encoder_whose_genes_are_lost_is_refused(embedded, unchanged, function):
    fewer = embedded[:, 2:].copy()
    arguments = {"groupby": "group"} if function is ace.tl.explain else {"n_clusters": 4, "joint": True}
    with unchanged(fewer, ValueError) as raised:
        function(fewer, **arguments)
    _refused(raised, ["2 of the 34 genes", "HLA-DRA/β", "gene1"])


def test_encoder_of_a_layer_a_mask_and_batches_is_refused_for_others(planted, unchanged, small_network):
    planted.layers["logged"] = planted.X.copy()
    planted.obs["donor"] = pd.Categorical(["a", "b"] * 40)
    planted.var["some"] = np.arange(planted.n_vars) < 20
    ace.tl.embed(planted, layer="logged", mask_var="some", batch_key="donor", **small_network)
    for arguments, words in (
        ({}, ["layer='logged'", "layer=None"]),
        ({"layer": "logged", "mask_var": None}, ["mask", "var['some']", "`mask_var`"]),
        ({"layer": "logged", "batch_key": "group"}, ["batch_key='donor'", "batch_key='group'"]),
    ):
        with unchanged(planted, ValueError) as raised:
            ace.tl.explain(planted, "group", **arguments)
        _refused(raised, words)
    ace.tl.explain(planted, "group", layer="logged", mask_var="some", batch_key="donor", lam=1.0, **ONE)
    params = planted.uns["rank_genes_groups"]["params"]
    assert (params["layer"], params["use_raw"]) == ("logged", False)


@pytest.mark.usefixtures("short_training")
def test_explain_trains_an_encoder_for_what_it_is_asked(planted):
    planted.layers["logged"] = planted.X.copy()
    planted.obs["donor"] = pd.Categorical(["a", "b"] * 40)
    planted.var["some"] = np.arange(planted.n_vars) < 20
    asked = {"layer": "logged", "mask_var": "some", "batch_key": "donor"}
    ace.tl.explain(planted, "group", **asked, **ONE)
    record = planted.uns["ace"]["X_ace"]
    assert (record["layer"], record["batch_key"]) == ("logged", "donor")
    assert list(record["genes"]) == list(planted.var_names[:20])
    latent = planted.obsm["X_ace"].copy()
    ace.tl.explain(planted, "group", layer="logged", **ONE)  # mask and batches are the encoder's own
    ace.tl.explain(planted, "group", **asked, **ONE)
    np.testing.assert_array_equal(planted.obsm["X_ace"], latent)


@pytest.mark.usefixtures("no_training")
def test_halves_put_together_again_keep_the_encoder(explained, assert_same_ranking):
    whole = ad.concat([explained[:33], explained[33:]], uns_merge="same")
    ace.tl.explain(whole, "group", key_added="again")
    assert_same_ranking(whole.uns["again"], explained.uns["rank_genes_groups"])


def test_genes_that_are_added_do_not_matter(explained, planted, assert_same_ranking):
    extra = ad.AnnData(
        np.random.default_rng(0).random((planted.n_obs, 3), dtype=np.float32),
        obs=planted.obs[[]],
        var=pd.DataFrame(index=["new1", "new2", "new3"]),
    )
    more = ad.concat([extra, explained], axis="var", merge="same", uns_merge="same")
    more.obs["group"] = explained.obs["group"]
    more.uns["ace"] = explained.uns["ace"]
    more.obsm["X_ace"] = explained.obsm["X_ace"]
    ace.tl.explain(more, "group")
    entry, before = more.uns["rank_genes_groups"], explained.uns["rank_genes_groups"]
    for group in before["names"].dtype.names:
        scored = int((before["scores"][group] != 0).sum())
        assert list(entry["names"][group][:scored]) == list(before["names"][group][:scored])
        np.testing.assert_array_equal(entry["scores"][group][:scored], before["scores"][group][:scored])
        assert set(entry["names"][group][-4:]) == {"new1", "new2", "new3", "zero"}


@pytest.mark.usefixtures("no_training")
def test_the_mask_it_was_trained_with_is_accepted(embedded):
    """By name, as an array, or as all genes; genes that do not vary make no difference."""
    embedded.var["varying"] = embedded.var_names != "zero"
    for mask in (None, "varying", np.ones(35, dtype=bool), embedded.var["varying"].to_numpy()):
        ace.tl.explain(embedded, "group", mask_var=mask, **ONE)
        assert len(embedded.uns["rank_genes_groups"]["names"]["B"]) == 35


def test_labels_can_be_explained_without_the_embedding(explained, assert_same_ranking):
    before = explained.copy()
    del explained.obsm["X_ace"]
    ace.tl.explain(explained, "group")
    assert_same_ranking(explained.uns["rank_genes_groups"], before.uns["rank_genes_groups"])


@pytest.mark.parametrize("function", [ace.tl.cluster, ace.tl.explain])
def test_clustering_without_the_embedding_says_so(embedded, unchanged, function):
    embedded.obsm["X_other"] = embedded.obsm.pop("X_ace")
    with unchanged(embedded, KeyError) as raised:
        function(embedded)
    message = str(raised.value)
    for word in ("`use_rep`", "'X_ace'", "adata.obsm", "ace.tl.embed", "X_other"):
        assert word in message
