"""A user's own network: explained as it is, known in this process, and passed again after a file was read."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import torch
from torch import nn

import ace_scanpy as ace
from ace_scanpy import _record_kinds

N_GENES = 35


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(N_GENES, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 4))
    layers[1].running_mean += 0.1
    return layers


@pytest.fixture
def module():
    return network()


@pytest.fixture
def no_memory(monkeypatch):
    """Another process, which was passed nothing."""
    monkeypatch.setattr(_record_kinds, "_PASSED", {})


@pytest.mark.usefixtures("no_training")
def test_latents_are_those_of_the_module_in_evaluation(planted, module):
    state, flags = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    ace.tl.embed(planted, encoder=module)
    with torch.no_grad():
        expected = copy.deepcopy(module).eval()(torch.tensor(planted.X.toarray()))
    np.testing.assert_allclose(planted.obsm["X_ace"], expected, atol=1e-5)
    record = planted.uns["ace"]["X_ace"]
    assert (record["kind"], record["n_latent"]) == ("module", 4)
    assert "BatchNorm1d(16" in record["description"]
    assert list(record["genes"]) == list(planted.var_names)  # all that it was made for, also one that is constant
    ace.tl.explain(planted, "group")
    assert planted.uns["rank_genes_groups"]["params"]["use_rep"] == "X_ace"
    assert [part.training for part in module.modules()] == flags
    assert all(p.grad is None for p in module.parameters())
    for name, value in module.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.usefixtures("no_training")
def test_a_pca_written_as_a_module_is_explained_as_the_pca(planted):
    """The same map by the general path and by the linear one."""
    import scanpy as sc

    sc.pp.pca(planted, n_comps=6)
    ace.tl.explain(planted, "group", use_rep="X_pca", key_added="linear")
    loadings = torch.tensor(planted.varm["PCs"].astype(np.float32))
    centre = torch.tensor(np.asarray(planted.X.mean(axis=0)).ravel(), dtype=torch.float32)
    ace.tl.explain(planted, "group", encoder=lambda x: (x - centre) @ loadings, use_rep="X_own", key_added="module")
    np.testing.assert_allclose(planted.obsm["X_own"], planted.obsm["X_pca"], atol=1e-4)
    linear, general = planted.uns["linear"], planted.uns["module"]
    for group in linear["names"].dtype.names:
        scores = [dict(zip(entry["names"][group], entry["scores"][group], strict=True)) for entry in (linear, general)]
        assert sum(abs(scores[0][gene] - scores[1][gene]) for gene in planted.var_names) < 0.02  # of 1
        assert general["flip_rate"][group] == linear["flip_rate"][group]
        assert general["fidelity"][group] == linear["fidelity"][group]


@pytest.mark.usefixtures("no_training")
def test_explain_alone_makes_the_embedding(planted, isolated, module, assert_same_ranking):
    step_by_step = isolated(planted)
    ace.tl.explain(planted, "group", encoder=module, use_rep="X_own")
    ace.tl.embed(step_by_step, encoder=module, key_added="X_own")
    ace.tl.explain(step_by_step, "group", use_rep="X_own")
    assert_same_ranking(planted.uns["rank_genes_groups"], step_by_step.uns["rank_genes_groups"])
    np.testing.assert_array_equal(planted.obsm["X_own"], step_by_step.obsm["X_own"])


@pytest.mark.usefixtures("no_training")
def test_labels_change_nothing(planted, isolated, module, assert_same_ranking):
    planted.obs["halves"] = np.where(planted.obs["group"].isin(["B", "dendritic"]), "one", "two")
    ace.tl.embed(planted, encoder=module)
    alone = isolated(planted)
    ace.tl.explain(alone, "halves")
    ace.tl.explain(planted, "group")
    ace.tl.explain(planted, "halves")
    assert_same_ranking(planted.uns["rank_genes_groups"], alone.uns["rank_genes_groups"])


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
@pytest.mark.parametrize("extension", ["h5ad", "zarr"])
def test_a_file_holds_the_description_and_the_module_is_passed_again(
    planted, module, unchanged, tmp_path, extension, monkeypatch, assert_same_ranking
):
    ace.tl.embed(planted, encoder=module)
    ace.tl.explain(planted, "group")
    path = tmp_path / f"file.{extension}"
    getattr(planted, f"write_{extension}")(path)
    monkeypatch.setattr(_record_kinds, "_PASSED", {})
    read = getattr(ad, f"read_{extension}")(path)
    again = r"module of yours.*explain\(adata, .*use_rep='X_ace', encoder=module\)"
    for call in (
        lambda: ace.tl.explain(read, "group", key_added="again"),
        lambda: ace.get.encoder(read),
        lambda: ace.pl.embedding(read, "group", basis="X_ace", show=False),
        lambda: ace.tl.compare(read, "group", keys=["rank_genes_groups"], n_genes=5, min_cells=5, k=5),
    ):
        with unchanged(read, ValueError, match=again):
            call()
    with unchanged(read, ValueError, match="other latents than the module that 'X_ace' was made with"):
        ace.tl.explain(read, "group", encoder=network(seed=1))
    ace.tl.explain(read, "group", key_added="again", encoder=module)
    assert_same_ranking(read.uns["again"], planted.uns["rank_genes_groups"])
    ace.pl.embedding(read, "group", basis="X_ace", show=False)  # and known from here on
    ace.tl.compare(read, "group", keys=["again"], n_genes=5, min_cells=5, k=5)


ELSEWHERE = """
import json, sys
import anndata as ad, torch
import ace_scanpy as ace
adata, module = ad.read_h5ad(sys.argv[1]), torch.load(sys.argv[2], weights_only=False)
try:
    ace.tl.explain(adata, "group")
except ValueError as error:
    refused = str(error)
ace.tl.explain(adata, "group", encoder=module, key_added="again")
entry = adata.uns["again"]
print(json.dumps([refused, {g: entry["scores"][g].tolist() for g in entry["scores"].dtype.names}]))
"""


def test_another_process(planted, module, tmp_path):
    ace.tl.explain(planted, "group", encoder=module)
    planted.write_h5ad(tmp_path / "file.h5ad")
    torch.save(module, tmp_path / "module.pt")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ELSEWHERE, str(tmp_path / "file.h5ad"), str(tmp_path / "module.pt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    refused, scores = json.loads(run.stdout.splitlines()[-1])
    assert "encoder=module" in refused
    entry = planted.uns["rank_genes_groups"]
    for group in entry["scores"].dtype.names:
        np.testing.assert_allclose(scores[group], entry["scores"][group], atol=1e-3)


@pytest.mark.parametrize(
    ("encoder", "match"),
    [
        (nn.Linear(N_GENES + 1, 2), r"cannot be called with .* \(2, 35\)"),
        (lambda x: x.sum(dim=1), "n_latent"),
        (lambda x: x.detach()[:, :3] * 1.0, "no gradient"),
        (lambda x: nn.functional.dropout(x[:, :3]), "two answers"),
    ],
)
def test_what_cannot_be_explained_is_refused(planted, unchanged, encoder, match):
    for call in (ace.tl.embed, ace.tl.explain):
        with unchanged(planted, ValueError, match=match):
            call(planted, encoder=encoder)


def test_encoders_of_no_known_kind_are_refused(planted, embedded, module, unchanged):
    with unchanged(planted, ValueError, match="Got 3 of type int"):
        ace.tl.embed(planted, encoder=3)
    with unchanged(planted, ValueError, match="does not apply to encoder='module'"):
        ace.tl.embed(planted, encoder=module, n_latent=4)
    with unchanged(planted, TypeError, match="must be a torch module or a callable.* Got 'pca'"):
        ace.tl.explain(planted, "group", encoder="pca", use_rep="X_own")
    with unchanged(embedded, ValueError, match="the encoder 'X_ace' is of the kind 'autoencoder'"):
        ace.tl.explain(embedded, "group", encoder=module)
    with unchanged(planted, ValueError, match="does not apply to method='jsd'"):
        ace.tl.explain(planted, "group", encoder=module, method="jsd")


def test_what_else_reads_encoders(planted, module, unchanged):
    ace.tl.embed(planted, encoder=module)
    ace.tl.cluster(planted, n_clusters=3)
    assert planted.obs["ace_cluster"].nunique() == 3
    assert ace.get.encoder(planted)(torch.zeros(2, N_GENES)).shape == (2, 4)
    with unchanged(planted, ValueError, match="not trained here"):
        ace.pl.training(planted)
    with unchanged(planted, ValueError, match="of the kind 'module'"):
        ace.tl.cluster(planted, joint=True)


@pytest.mark.usefixtures("no_memory")
def test_few_modules_are_kept(planted):
    for seed in range(12):
        ace.tl.embed(planted, encoder=network(seed))
    assert len(_record_kinds._PASSED) == 8
    ace.get.encoder(planted)
