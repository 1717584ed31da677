"""Scanpy's PCA as an encoder: exact, without training, and refused where it is not the PCA of the matrix."""

from __future__ import annotations

import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import torch

import ace_scanpy as ace

N_COMPONENTS = 6
ONE = {"groups": ["B"], "reference": "dendritic"}


@pytest.fixture
def with_pca(planted):
    sc.pp.pca(planted, n_comps=N_COMPONENTS)
    return planted


def _latent(adata, use_rep="X_pca", layer=None):
    genes = list(adata.uns["ace"][use_rep]["genes"])
    values = adata[:, genes].to_df(layer).to_numpy(dtype=np.float32)
    return ace.get.encoder(adata, use_rep)(torch.tensor(values)).numpy()


def _scaled(adata):
    adata.raw = adata.copy()
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=N_COMPONENTS)


def _layer(adata):
    adata.layers["scaled"] = sc.pp.scale(adata, max_value=10, copy=True).X
    sc.pp.pca(adata, n_comps=N_COMPONENTS, layer="scaled")


def _masked(adata):
    adata.var["some"] = np.arange(adata.n_vars) % 3 != 1
    sc.pp.pca(adata, n_comps=N_COMPONENTS, mask_var="some")


def _variable(adata):
    adata.var["highly_variable"] = np.arange(adata.n_vars) < 25
    sc.pp.pca(adata, n_comps=N_COMPONENTS)


def _dense(adata):
    adata.X = adata.X.toarray()
    sc.pp.pca(adata, n_comps=N_COMPONENTS)


def _not_centred(adata):
    sc.pp.pca(adata, n_comps=N_COMPONENTS, zero_center=False)


def _plain(adata):
    sc.pp.pca(adata, n_comps=N_COMPONENTS)


@pytest.mark.usefixtures("no_training")
@pytest.mark.filterwarnings("ignore:zero-centering a sparse array:UserWarning", "ignore:as scaling leads to float")
@pytest.mark.parametrize("prepare", [_plain, _dense, _masked, _variable, _not_centred, _scaled, _layer])
def test_the_encoder_reproduces_scanpys_coordinates(planted, prepare):
    prepare(planted)
    before = planted.obsm["X_pca"].copy()
    ace.tl.embed(planted, encoder="pca")
    layer = "scaled" if prepare is _layer else None
    np.testing.assert_allclose(_latent(planted, layer=layer), before, atol=2e-5 * np.abs(before).max())
    np.testing.assert_array_equal(planted.obsm["X_pca"], before)  # Scanpy's own
    record = planted.uns["ace"]["X_pca"]
    assert (record["kind"], record["n_latent"], record["layer"]) == ("pca", N_COMPONENTS, layer)
    read = planted.var_names[(planted.varm["PCs"] != 0).any(axis=1)]
    assert list(record["genes"]) == list(read)
    ace.tl.explain(planted, "group", use_rep="X_pca", layer=layer, **ONE)
    listed = planted.uns["rank_genes_groups"]["names"]["B"]
    assert set(listed) == set(planted.var_names)
    assert set(listed[: len(read)]) == set(read)


@pytest.mark.usefixtures("no_training")
def test_loadings_outside_the_mask_may_be_nan(planted):
    """As older versions of Scanpy left them, in its own data too."""
    _masked(planted)
    outside = ~planted.var["some"].to_numpy()
    assert not planted.varm["PCs"][outside].any()
    planted.varm["PCs"][outside] = np.nan
    ace.tl.embed(planted, encoder="pca")
    assert set(planted.uns["ace"]["X_pca"]["genes"]) == set(planted.var_names[~outside])
    np.testing.assert_allclose(_latent(planted), planted.obsm["X_pca"], atol=1e-4)


def test_a_part_of_the_cells_keeps_its_coordinates(with_pca):
    """The means of the part are not those that Scanpy subtracted."""
    part = with_pca[with_pca.obs["group"] != "B"].copy()
    ace.tl.embed(part, encoder="pca")
    np.testing.assert_allclose(_latent(part), part.obsm["X_pca"], atol=2e-5 * np.abs(part.obsm["X_pca"]).max())


@pytest.mark.usefixtures("no_training")
def test_a_pca_under_another_name(planted):
    sc.pp.pca(planted, n_comps=N_COMPONENTS, key_added="mine")
    ace.tl.explain(planted, "group", use_rep="mine", **ONE)
    np.testing.assert_allclose(_latent(planted, "mine"), planted.obsm["mine"], atol=1e-4)


@pytest.mark.usefixtures("no_training")
def test_a_pca_of_raw(planted):
    planted.raw = planted.copy()
    sc.pp.pca(planted, n_comps=N_COMPONENTS)
    part = planted[:, 3:].copy()
    part.varm["PCs"] = planted.varm["PCs"][3:]
    planted.X = sc.pp.scale(planted, copy=True, zero_center=False).X
    ace.tl.explain(planted, "group", use_rep="X_pca", use_raw=True, **ONE)
    assert planted.uns["ace"]["X_pca"]["use_raw"]
    np.testing.assert_allclose(
        ace.get.encoder(planted, "X_pca")(
            torch.tensor(planted.raw[:, list(planted.uns["ace"]["X_pca"]["genes"])].X.toarray())
        ),
        planted.obsm["X_pca"],
        atol=1e-4,
    )


@pytest.mark.usefixtures("no_training")
def test_explain_makes_the_record_itself_and_the_labels_change_nothing(with_pca, isolated, assert_same_ranking):
    with_pca.obs["halves"] = np.where(with_pca.obs["group"].isin(["B", "dendritic"]), "one", "two")
    alone, step_by_step = isolated(with_pca), isolated(with_pca)
    ace.tl.explain(alone, "halves", use_rep="X_pca")
    ace.tl.embed(step_by_step, encoder="pca")
    made = isolated(step_by_step).uns["ace"]["X_pca"]
    ace.tl.explain(step_by_step, "group", use_rep="X_pca", key_added="first")
    ace.tl.explain(step_by_step, "halves", use_rep="X_pca")
    assert_same_ranking(step_by_step.uns["rank_genes_groups"], alone.uns["rank_genes_groups"])
    for record in (alone.uns["ace"]["X_pca"], step_by_step.uns["ace"]["X_pca"]):
        assert record.keys() == made.keys()
        for name, value in made["weights"].items():
            np.testing.assert_array_equal(record["weights"][name], value)


def test_planted_genes_are_found(with_pca):
    ace.tl.explain(with_pca, "group", use_rep="X_pca")
    entry = with_pca.uns["rank_genes_groups"]
    for group in entry["names"].dtype.names:
        assert entry["fidelity"][group][0] == 1.0
        assert entry["flip_rate"][group][0] >= 0.95
        top = ace.get.panel(with_pca, group, size=5)
        planted = with_pca.var.loc[top["names"]]
        right = np.where(top["enriched"], planted["up"] == group, planted["down"] == group)
        other = np.where(top["enriched"], planted["down"], planted["up"])  # what tells the others apart
        assert (right | (other != "")).all()
        assert right.any()


ELSEWHERE = """
import json, sys
import anndata as ad
import ace_scanpy as ace
found = {}
for path in sys.argv[1:]:
    adata = ad.read_h5ad(path) if path.endswith("h5ad") else ad.read_zarr(path)
    del adata.varm["PCs"], adata.obsm["X_pca"]
    ace.tl.explain(adata, "group", use_rep="X_pca", key_added="again")
    entry = adata.uns["again"]
    found[path] = {name: {g: entry[name][g].tolist() for g in entry[name].dtype.names} for name in ("names", "scores")}
print(json.dumps(found))
"""


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
def test_another_process_explains_from_the_file_alone(with_pca, tmp_path):
    ace.tl.explain(with_pca, "group", use_rep="X_pca")
    paths = [str(tmp_path / "file.h5ad"), str(tmp_path / "file.zarr")]
    with_pca.write_h5ad(paths[0])
    with_pca.write_zarr(paths[1])
    run = subprocess.run([sys.executable, "-c", ELSEWHERE, *paths], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    entry = with_pca.uns["rank_genes_groups"]
    for path in paths:
        for group in entry["names"].dtype.names:
            for name in ("names", "scores"):
                assert found[path][name][group] == entry[name][group].tolist()


def _changed(adata):
    adata.X = adata.X.multiply(2.0).tocsr()


def _kept_in_a_layer(adata):
    adata.layers["logged"] = adata.X.copy()
    _changed(adata)


def _kept_in_raw(adata):
    adata.raw = adata.copy()
    _changed(adata)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("function", [ace.tl.embed, ace.tl.explain])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_changed, ["sc.pp.pca(adata)", "adata.X", "varm['PCs']"]),
        (_kept_in_a_layer, ["pass layer='logged'", "adata.X"]),
        (_kept_in_raw, ["pass use_raw=True", "adata.X"]),
    ],
)
def test_another_matrix_is_refused_and_the_right_one_named(with_pca, unchanged, function, change, words):
    change(with_pca)
    arguments = {"encoder": "pca"} if function is ace.tl.embed else {"groupby": "group", "use_rep": "X_pca"}
    with unchanged(with_pca, ValueError) as raised:
        function(with_pca, **arguments)
    message = str(raised.value)
    assert not [word for word in words if word not in message], message


@pytest.mark.parametrize("missing", ["PCs", "X_pca"])
def test_without_a_pca_it_says_what_makes_one(with_pca, unchanged, missing):
    del (with_pca.varm if missing == "PCs" else with_pca.obsm)[missing]
    with unchanged(with_pca, KeyError, match=r"sc\.pp\.pca\(adata\)"):
        ace.tl.embed(with_pca, encoder="pca")


def test_cut_components_are_refused(with_pca, unchanged):
    with_pca.obsm["X_pca"] = with_pca.obsm["X_pca"][:, :4]
    with unchanged(with_pca, ValueError, match="4 components"):
        ace.tl.embed(with_pca, encoder="pca")


@pytest.mark.parametrize(
    "argument", [{"n_latent": 5}, {"groupby": "group"}, {"mask_var": None}, {"n_epochs": 3}, {"key_added": "mine"}]
)
def test_arguments_of_training_are_refused(with_pca, unchanged, argument):
    (name,) = argument
    with unchanged(with_pca, ValueError, match=f"`{name}`=.* does not apply to encoder='pca', only to"):
        ace.tl.embed(with_pca, encoder="pca", **argument)


def test_an_unknown_encoder_is_refused(with_pca, unchanged):
    with unchanged(with_pca, ValueError, match="`encoder` must be one of .*'pca'.* Got 'umap'"):
        ace.tl.embed(with_pca, encoder="umap")


@pytest.mark.usefixtures("no_training")
def test_what_else_reads_encoders(with_pca, unchanged):
    ace.tl.embed(with_pca, encoder="pca")
    ace.tl.cluster(with_pca, n_clusters=4, use_rep="X_pca")
    assert with_pca.obs.groupby("group", observed=True)["ace_cluster"].nunique().eq(1).all()
    axes = ace.pl.embedding(with_pca, "group", basis="pca", use_rep="X_pca", show=False)
    assert axes[0].get_title() == "group, as assigned"
    ace.tl.explain(with_pca, "group", use_rep="X_pca")
    table = ace.tl.compare(
        with_pca, "group", keys=["rank_genes_groups"], n_genes=[1, 20], use_rep="X_pca", min_cells=10, k=5
    )
    flips = table[table["metric"] == "flip_rate"].groupby("n_genes")["value"].mean()
    assert flips[1] < flips[20] <= 1.0
    assert flips[20] > 0.9
    with unchanged(with_pca, ValueError, match="'X_pca' is of the kind 'pca'"):
        ace.tl.cluster(with_pca, use_rep="X_pca", joint=True)
    with unchanged(with_pca, ValueError, match="not trained here"):
        ace.pl.training(with_pca, "X_pca")


def test_layers_that_do_not_fit_the_record_are_refused(with_pca, unchanged):
    with_pca.layers["other"] = with_pca.X.copy()
    ace.tl.embed(with_pca, encoder="pca")
    with unchanged(with_pca, ValueError, match="reads layer=None, but layer='other' is asked for"):
        ace.tl.explain(with_pca, "group", use_rep="X_pca", layer="other")
    fewer = with_pca[:, 2:].copy()
    with unchanged(fewer, ValueError, match=r"2 of the 3\d genes .* encoder='pca'"):
        ace.tl.explain(fewer, "group", use_rep="X_pca")


def test_copies_do_not_change_the_original(with_pca):
    copied = ace.tl.embed(with_pca, encoder="pca", copy=True)
    assert "X_pca" in copied.uns["ace"]
    assert "ace" not in with_pca.uns


@pytest.mark.usefixtures("no_training")
def test_halves_put_together_again_keep_the_encoder(with_pca, assert_same_ranking):
    ace.tl.explain(with_pca, "group", use_rep="X_pca")
    whole = ad.concat([with_pca[:33], with_pca[33:]], uns_merge="same")
    ace.tl.explain(whole, "group", use_rep="X_pca", key_added="again")
    assert_same_ranking(whole.uns["again"], with_pca.uns["rank_genes_groups"])
