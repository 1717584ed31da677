"""The embedding, its record and the encoder rebuilt from it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse

import ace_scanpy as ace


def _reads(adata, genes=slice(None)):
    return torch.tensor(adata[:, genes].X.toarray(), dtype=torch.float32)


def test_writes_the_embedding_and_nothing_else(planted, contents, assert_same_contents, small_network):
    before = contents(planted)
    ace.tl.embed(planted, **small_network)
    after = contents(planted)
    assert planted.obsm["X_ace"].shape == (80, 5)
    assert planted.obsm["X_ace"].dtype == np.float32
    assert np.isfinite(planted.obsm["X_ace"]).all()
    kept = [p for p in before if p not in ("var", "obsm", "uns")]
    assert_same_contents({path: after[path] for path in kept}, {path: before[path] for path in kept})
    assert set(planted.var) == {"up", "down", "ace_mean", "ace_std"}
    assert set(planted.uns) == {"log1p", "ace"}
    assert set(planted.uns["ace"]) == {"standardize", "X_ace"}


def test_record_says_what_was_done(planted, small_network):
    planted.obs["donor"] = pd.Categorical(["a", "b"] * 40)
    planted.layers["logged"] = planted.X.copy()
    planted.var["some"] = planted.var_names != "gene5"
    ace.tl.embed(
        planted,
        layer="logged",
        mask_var="some",
        batch_key="donor",
        groupby="group",
        batch_size=32,
        learning_rate=2e-3,
        rng=4,
        key_added="X_mine",
        **small_network,
    )
    record = planted.uns["ace"]["X_mine"]
    expected = {
        "n_latent": 5,
        "layer": "logged",
        "use_raw": False,
        "batch_key": "donor",
        "groupby": "group",
        "n_selected": None,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "seed": 4,
    }
    assert {name: record[name] for name in expected} == expected
    assert list(record["n_hidden"]) == [24, 12]
    assert list(record["genes"]) == [g for g in planted.var_names if g not in ("gene5", "zero")]
    assert "some" in record["mask"]
    assert {value.dtype for value in record["weights"].values()} == {np.dtype("float32")}
    assert planted.obsm["X_mine"].shape == (80, 5)


def test_encoder_gives_the_embedding(explained):
    genes = list(explained.uns["ace"]["X_ace"]["genes"])
    encoder = ace.get.encoder(explained)
    latent = encoder(_reads(explained, genes)).detach().numpy()
    np.testing.assert_allclose(latent, explained.obsm["X_ace"], rtol=1e-4, atol=1e-5)


def test_first_layer_standardises(explained):
    """What the encoder subtracts and divides by is what `standardize` writes, gene by gene."""
    encoder = ace.get.encoder(explained)
    genes = list(explained.uns["ace"]["X_ace"]["genes"])
    np.testing.assert_allclose(encoder.mean, explained.var.loc[genes, "ace_mean"], rtol=1e-6)
    np.testing.assert_allclose(encoder.scale, explained.var.loc[genes, "ace_std"], rtol=1e-6)
    values = explained.to_df()[genes]
    np.testing.assert_allclose(encoder.mean, values.mean(), rtol=1e-5)
    np.testing.assert_allclose(encoder.scale, values.std(), rtol=1e-5)


def test_same_seed_same_bits_another_seed_others(planted, small_network):
    for key, seed in {"X_a": 1, "X_b": 1, "X_c": 2}.items():
        torch.manual_seed(hash(key) % 1000)
        ace.tl.embed(planted, rng=seed, key_added=key, **small_network)
    np.testing.assert_array_equal(planted.obsm["X_a"], planted.obsm["X_b"])
    assert not np.allclose(planted.obsm["X_a"], planted.obsm["X_c"])


def test_global_random_numbers_are_left_alone(planted, small_network):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002  this is the global state
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    ace.tl.embed(planted, groupby="group", **small_network)
    torch.testing.assert_close(torch.rand(3), expected[0], rtol=0, atol=0)
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_training_lowers_the_loss_of_cells_it_did_not_see(make_planted):
    adata = make_planted(n_per_group=60)
    ace.tl.embed(adata, n_hidden=(24, 12), n_latent=3, n_epochs=200)
    loss = adata.uns["ace"]["X_ace"]["loss"]
    assert set(loss) == {"minibatches", "train", "held_out"}
    assert len(loss["train"]) == len(loss["held_out"]) == len(loss["minibatches"]) > 3
    assert (np.diff(loss["minibatches"]) > 0).all()
    assert min(loss["held_out"]) < loss["held_out"][0]


@pytest.mark.parametrize("n_epochs", [1, 7])
def test_n_epochs_is_the_most(planted, n_epochs):
    ace.tl.embed(planted, n_epochs=n_epochs, batch_size=16, n_hidden=(8,), n_latent=2)
    # 72 of 80 cells are trained on, in 5 minibatches a pass
    assert planted.uns["ace"]["X_ace"]["loss"]["minibatches"][-1] == 5 * n_epochs


def test_groups_lie_apart(explained):
    """The planted groups are nearer to themselves than to each other in the embedding."""
    codes = explained.obs["group"].cat.codes.to_numpy()
    latent = explained.obsm["X_ace"]
    centres = np.stack([latent[codes == c].mean(axis=0) for c in range(4)])
    nearest = ((latent[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == codes).mean() > 0.95


@pytest.mark.parametrize(("verbosity", "shown"), [(0, False), (1, False), (2, True)])
def test_progress_is_shown_from_info_on(planted, logged, capsys, small_network, verbosity, shown):
    with logged(verbosity):
        ace.tl.embed(planted, **small_network)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("training" in printed.err) == shown
    assert shown or printed.err == ""


def test_the_run_is_logged(planted, logged, small_network):
    with logged(verbosity=3) as log:
        ace.tl.embed(planted, **small_network)
    for words in ("embedding 80 cells by 34 genes of adata.X (all genes)", "finished", "'X_ace' (adata.obsm)"):
        assert words in log.getvalue()


def test_n_selected_genes_carry_the_embedding(planted, monkeypatch, small_network):
    monkeypatch.setattr("ace_scanpy.models._training._GATE_STEPS", 60)
    planted.var["highly_variable"] = planted.var_names != "gene1"
    ace.tl.embed(planted, n_selected=9, **small_network)
    encoder = ace.get.encoder(planted)
    selected = (encoder.weight != 0).any(dim=0).numpy()
    assert selected.sum() == 9
    genes = np.array(planted.uns["ace"]["X_ace"]["genes"], dtype=object)
    values = _reads(planted, list(genes))
    noise = torch.rand(values.shape, generator=torch.Generator().manual_seed(0))
    others = torch.where(torch.tensor(selected), values, noise)
    torch.testing.assert_close(encoder(others), encoder(values), rtol=1e-5, atol=1e-6)
    assert (encoder(noise) - encoder(values)).abs().max() > 0.1
    # the explanation, of a copy fitted to the labels, keeps to them
    ace.tl.explain(planted, "group", groups=["B"], reference="dendritic")
    table = ace.get.rank_genes_groups_df(planted, "B")
    assert set(table["names"][table["scores"] != 0]) <= set(genes[selected])
    # what was not selected is still ahead of what could not be
    assert set(table["names"][-2:]) == {"gene1", "zero"}


@pytest.mark.parametrize("groupby", [None, "group"], ids=["unsupervised", "fitted to labels"])
def test_batches_are_brought_together(make_planted, groupby):
    adata = make_planted(n_per_group=60, n_groups=2)
    donor = np.arange(adata.n_obs) % 2
    adata.obs["donor"] = pd.Categorical(np.array(["first", "second"])[donor])
    shift = np.zeros(adata.n_vars, dtype=np.float32)
    shift[10:20] = 1.5
    adata.X = sparse.csr_matrix(adata.X.toarray() + donor[:, None] * shift)
    network = {"n_hidden": (24, 12), "n_latent": 4, "n_epochs": 120, "batch_size": 64, "groupby": groupby}
    gaps = {}
    for key in (None, "donor"):
        ace.tl.embed(adata, batch_key=key, **network)
        latent = adata.obsm["X_ace"]
        gaps[key] = np.linalg.norm(latent[donor == 0].mean(axis=0) - latent[donor == 1].mean(axis=0)) / latent.std()
        group = adata.obs["group"].cat.codes.to_numpy()
        apart = np.linalg.norm(latent[group == 0].mean(axis=0) - latent[group == 1].mean(axis=0)) / latent.std()
        assert apart > 1
    assert gaps["donor"] < 0.4 * gaps[None]


def test_the_mask_is_the_highly_variable_genes_when_known(planted, small_network, logged):
    chosen = planted.var_names[3:23]
    planted.var["highly_variable"] = planted.var_names.isin(chosen)
    with logged(verbosity=2) as log:
        ace.tl.embed(planted, **small_network)
    assert list(planted.uns["ace"]["X_ace"]["genes"]) == list(chosen)
    assert "var['highly_variable']" in log.getvalue()
    ace.tl.embed(planted, mask_var=None, **small_network)
    assert len(planted.uns["ace"]["X_ace"]["genes"]) == 34
    ace.tl.embed(planted, mask_var=planted.var_names.isin(chosen[:9]), **small_network)
    assert list(planted.uns["ace"]["X_ace"]["genes"]) == list(chosen[:9])


def test_the_mask_of_scanpys_pca_is_the_same(planted, small_network):
    """A gene outside the mask changes neither embedding."""
    planted.var["highly_variable"] = np.arange(planted.n_vars) < 20
    other = planted.copy()
    other.X = sparse.csr_matrix(np.where(planted.var["highly_variable"].to_numpy(), other.X.toarray(), 0))
    for adata in (planted, other):
        sc.pp.pca(adata, n_comps=3)
        ace.tl.embed(adata, **small_network)
    np.testing.assert_allclose(planted.obsm["X_pca"], other.obsm["X_pca"], atol=1e-4)
    np.testing.assert_array_equal(planted.obsm["X_ace"], other.obsm["X_ace"])


def test_everything_stored_is_plain(explained):
    """Arrays, numbers and text: nothing that needs this package, or pickle, to be read."""
    ace.tl.cluster(explained, n_clusters=3)

    def leaves(value):
        return [leaf for v in value.values() for leaf in leaves(v)] if isinstance(value, dict) else [value]

    found = leaves(explained.uns["ace"])
    assert len(found) > 30
    for leaf in found:
        assert type(leaf) in (np.ndarray, str, int, float, bool, type(None))
        if isinstance(leaf, np.ndarray) and leaf.dtype == object:
            assert {type(item) for item in leaf} == {str}


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
@pytest.mark.parametrize("extension", ["h5ad", "zarr"])
def test_encoder_survives_files(explained, tmp_path, extension):
    path = tmp_path / f"file.{extension}"
    getattr(explained, f"write_{extension}")(path)
    read = getattr(ad, f"read_{extension}")(path)
    before, after = (ace.get.encoder(adata).state_dict() for adata in (explained, read))
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0)
    np.testing.assert_array_equal(read.obsm["X_ace"], explained.obsm["X_ace"])
    old, new = explained.uns["ace"]["X_ace"], read.uns["ace"]["X_ace"]
    assert [str(g) for g in new["genes"]] == list(old["genes"])
    for name in ("layer", "use_raw", "mask", "batch_key", "groupby", "n_selected", "seed", "kind"):
        assert new[name] == old[name], name


def test_another_key_does_not_touch_the_first(explained, contents):
    before = contents(explained)
    ace.tl.embed(explained, n_epochs=1, n_hidden=(8,), n_latent=2, key_added="X_second", rng=1)
    after = contents(explained)
    for path, value in before.items():
        if path.startswith(("uns/ace/X_ace", "obsm/X_ace")) and isinstance(value, np.ndarray):
            np.testing.assert_array_equal(after[path], value)
    assert explained.obsm["X_second"].shape == (80, 2)
