"""Encoders of scvi-tools: read once, kept as plain arrays, explained without the package.

The first part needs no scvi-tools: its encoder is built of torch layers by hand. The second uses the real package.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import warnings
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from scipy import sparse
from torch import nn

import ace_scanpy as ace
from ace_scanpy import _counts
from ace_scanpy._record_kinds import ScviRecord
from ace_scanpy.methods import Contrasts, attribute
from ace_scanpy.models import NeuralizedClustering, SourceCells, encode, rectified_encoder
from ace_scanpy.tl._scvi import folded

BATCHES = ("x", "y/1", "z")
N_GENES = 35


def _with_counts(adata, form=sparse.csr_matrix):
    """Counts in a layer, and a batch per cell."""
    rng = np.random.default_rng(5)
    adata.layers["counts"] = form(np.rint(np.expm1(adata.X.toarray()) / 4).astype(np.float32))
    adata.obs["donor"] = pd.Categorical(np.array(BATCHES)[rng.integers(0, 3, adata.n_obs)])
    adata.obs["age"] = rng.random(adata.n_obs)
    return adata


@pytest.fixture
def counted(planted):
    return _with_counts(planted)


# --- without scvi-tools ----------------------------------------------------------------------------------------------


def _encoder(n_layers=1, n_batches=0, *, deep=False, batch_norm=True, layer_norm=False, seed=0):
    """Layers as scvi-tools stacks them, after some training: statistics and gains are not those of the start."""
    torch.manual_seed(seed)
    blocks = []
    for i in range(n_layers):
        n_in = (6 if i else N_GENES) + n_batches * (deep or i == 0)
        norm = nn.BatchNorm1d(6, eps=0.001) if batch_norm else None
        if norm is not None:
            for values in (norm.weight, norm.bias, norm.running_mean):
                nn.init.normal_(values, 0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.1, 2.0)
        shift = nn.LayerNorm(6, elementwise_affine=False) if layer_norm else None
        blocks.append(nn.Sequential(nn.Linear(n_in, 6), norm, shift, nn.ReLU(), nn.Dropout(0.4)))
    return SimpleNamespace(encoder=SimpleNamespace(fc_layers=blocks), mean_encoder=nn.Linear(6, 3))


def _by_the_layers(z_encoder, logged, indicators):
    """The latent mean of the layers as they are, in evaluation."""
    hidden = logged
    for block in z_encoder.encoder.fc_layers:
        for step in block.eval():
            if isinstance(step, nn.Linear) and step.in_features > hidden.shape[1]:
                hidden = torch.cat([hidden, indicators], dim=1)
            hidden = hidden if step is None else step(hidden)
    return z_encoder.mean_encoder(hidden).detach().numpy()


def _record(z_encoder, adata, batches=None):
    layers, layer_norm = folded(z_encoder)
    logged = np.log1p(_dense(adata.layers["counts"]))
    weights = {"mean": logged.mean(axis=0), "scale": logged.std(axis=0, ddof=1)}
    for i, (weight, bias) in enumerate(layers):
        weights |= {f"weight_{i}": weight, f"bias_{i}": bias}
    return ScviRecord(
        genes=adata.var_names.to_numpy(dtype=object),
        n_latent=3,
        weights={name: np.asarray(values, dtype=np.float32) for name, values in weights.items()},
        layer=None,
        use_raw=False,
        mask="the genes of the model",
        batch_key=None if batches is None else "donor",
        model="SCVI",
        counts_layer="counts",
        batches=None if batches is None else np.array(batches, dtype=object),
        layer_norm=layer_norm,
    )


def _dense(values):
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


FORMS = {
    "one layer": {},
    "two layers": {"n_layers": 2},
    "plain": {"n_layers": 2, "batch_norm": False},
    "normalised": {"n_layers": 3, "layer_norm": True},
    "batch": {"n_layers": 2, "n_batches": 3},
    "batch in all layers": {"n_layers": 3, "n_batches": 3, "deep": True},
}


@pytest.mark.parametrize("matrix", [sparse.csr_matrix, sparse.csc_matrix, np.asarray], ids=["csr", "csc", "dense"])
@pytest.mark.parametrize("form", FORMS)
def test_a_record_is_the_layers_in_evaluation(planted, form, matrix):
    adata = _with_counts(planted, matrix)
    z_encoder = _encoder(**FORMS[form])
    record = _record(z_encoder, adata, BATCHES if "n_batches" in FORMS[form] else None)
    again = ScviRecord.from_stored(record.stored())
    cells = again.cells(adata, None)
    indicators = torch.tensor((adata.obs["donor"].to_numpy()[:, None] == np.array(BATCHES)).astype(np.float32))
    logged = torch.tensor(np.log1p(_dense(adata.layers["counts"])))
    expected = _by_the_layers(z_encoder, logged, indicators)
    encoder = again.encoder()
    np.testing.assert_allclose(encode(encoder, cells), expected, rtol=1e-4, atol=1e-5)
    # a change of genes, in standard deviations, by the split after the first layer
    delta = torch.tensor(np.random.default_rng(0).normal(size=N_GENES), dtype=torch.float32)
    moved = SourceCells.from_expression(encoder, [cells.rows(slice(None))]).preactivation[0] + encoder.shift(delta)
    expected = _by_the_layers(z_encoder, logged + delta * encoder.scale, indicators)
    np.testing.assert_allclose(encoder.tail(moved), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("matrix", [sparse.csr_matrix, np.asarray], ids=["csr", "dense"])
def test_rows_are_logarithms_and_then_batches(planted, matrix):
    adata = _with_counts(planted, matrix)
    before = _dense(adata.layers["counts"]).copy()
    genes = adata.var_names[[7, 0, 3]].to_numpy(dtype=object)
    found = _counts.choose(adata, genes, layer="counts", batch_key="donor", batches=np.array(BATCHES))
    donors = [BATCHES.index(donor) for donor in adata.obs["donor"]]
    expected = np.hstack([np.log1p(before[:, [7, 0, 3]]), np.eye(3)[donors]])
    np.testing.assert_allclose(found.dense(slice(None)), expected, rtol=1e-6)
    np.testing.assert_allclose(found.dense(np.array([5, 2])), expected[[5, 2]], rtol=1e-6)
    np.testing.assert_allclose(found.genes_alone.dense(slice(None)), expected[:, :3], rtol=1e-6)
    assert (found.n_genes, found.genes_alone.n_batches) == (3, 0)
    np.testing.assert_array_equal(_dense(adata.layers["counts"]), before)


@pytest.mark.parametrize("kind", ["smoothgrad", "shap"])
def test_attributions_keep_the_batch_of_each_cell(counted, kind):
    """With all cells in one batch they are those of the encoder whose biases have that batch in them."""
    pytest.importorskip("captum")
    layers, _ = folded(_encoder(2, 3, deep=True))
    layers = [tuple(torch.tensor(a, dtype=torch.float32) for a in layer) for layer in layers]
    mean, scale = torch.full((N_GENES,), 0.7), torch.full((N_GENES,), 1.3)
    inside = [(w[: -3 if i < 2 else None], b + (w[-2] if i < 2 else 0.0)) for i, (w, b) in enumerate(layers)]
    counted.obs["donor"] = "y/1"
    genes = counted.var_names.to_numpy(dtype=object)
    cells = _counts.choose(counted, genes, layer="counts", batch_key="donor", batches=np.array(BATCHES))
    codes = counted.obs["group"].cat.codes.to_numpy().astype(int)
    clustering = NeuralizedClustering(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), beta=1.0)
    contrasts = Contrasts((0, 2), 4, None, "each")
    found = attribute(rectified_encoder(mean, scale, layers), clustering, cells, codes, contrasts, 0, kind)
    expected = attribute(
        rectified_encoder(mean, scale, inside), clustering, cells.genes_alone, codes, contrasts, 0, kind
    )
    assert found.scores.shape == (2, N_GENES)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-3, atol=1e-5)


def test_layers_that_are_not_known_are_refused():
    z_encoder = _encoder()
    z_encoder.encoder.fc_layers[0][3] = nn.Tanh()
    with pytest.raises(ValueError, match=r"ReLU and dropout. The model's has .*'Tanh'"):
        folded(z_encoder)


def _stored(adata, batches=None):
    """An AnnData with a record that no model is needed for."""
    record = _record(_encoder(2, 0 if batches is None else 3, deep=True), adata, batches)
    adata.uns["ace"] = {"X_scVI": record.stored()}
    adata.obsm["X_scVI"] = encode(record.encoder(), record.cells(adata, None))
    return adata


def test_what_is_explained_is_counts_and_what_is_ranked_is_expression(counted):
    _stored(counted, BATCHES)
    ace.tl.explain(counted, "group", use_rep="X_scVI")
    entry = counted.uns["rank_genes_groups"]
    assert entry["params"]["layer"] is None
    ace.tl.explain(counted, "group", method="jsd", key_added="expression")
    for group in entry["names"].dtype.names:  # fold changes are of X, whatever is explained
        found = pd.Series(entry["logfoldchanges"][group], entry["names"][group])
        other = pd.Series(counted.uns["expression"]["logfoldchanges"][group], counted.uns["expression"]["names"][group])
        pd.testing.assert_series_equal(found, other[found.index])
    delta = pd.DataFrame({g: pd.Series(entry["delta"][g], entry["names"][g]) for g in entry["names"].dtype.names})
    logged = np.log1p(counted.to_df("counts"))
    means = logged.groupby(counted.obs["group"], observed=True).mean()
    for (
        group
    ) in delta:  # no gene goes farther than 2.5 times the largest difference of the means, in units of log counts
        reach = 2.5 * (means - means.loc[group]).abs().max() / logged.std()
        moved = delta.index[delta[group] != 0]
        assert len(moved)
        assert (delta.loc[moved, group].abs() <= reach[moved] + 1e-5).all()


@pytest.mark.filterwarnings("ignore:Precision loss occurred in moment calculation:RuntimeWarning")
def test_what_else_reads_encoders(counted):
    _stored(counted, BATCHES)
    ace.tl.explain(counted, "group", use_rep="X_scVI")
    ace.tl.cluster(counted, n_clusters=3, use_rep="X_scVI")
    table = ace.tl.compare(counted, "group", keys=["rank_genes_groups"], n_genes=5, min_cells=5, k=5, use_rep="X_scVI")
    assert table.loc[table["metric"] == "flip_rate", "value"].between(0, 1).all()
    found = ace.get.contrasts(counted, group="B", target="dendritic").head(3)
    ax = ace.pl.perturbation(counted, "B", "dendritic", n_genes=3, show=False)
    assert ax.get_ylabel() == "log(1 + counts)"
    drawn = next(c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 3)[:, 1]
    before = np.log1p(counted[counted.obs["group"] == "B", found["names"]].to_df("counts")).mean()
    np.testing.assert_allclose(np.sort(drawn), np.sort(before), atol=1e-5)
    for method in ("smoothgrad", "shap"):
        ace.tl.explain(counted, "group", use_rep="X_scVI", method=method, key_added=method)
        scores = counted.uns[method]["scores"]["B"]
        assert len(scores) == N_GENES  # without the batches
        assert np.isfinite(scores).all()
        assert (scores != 0).sum() == N_GENES - 1  # all but the gene that is zero everywhere
    ace.pl.flip_curve(counted, show=False)
    ace.pl.embedding(counted, "group", use_rep="X_scVI", basis="X_scVI", show=False)


def test_what_the_encoder_reads_has_to_be_there(counted, unchanged):
    _stored(counted, BATCHES)
    lost = counted.copy()
    del lost.layers["counts"]
    with unchanged(lost, KeyError, match=r"counts from adata.layers\['counts'\], which is not there"):
        ace.tl.explain(lost, "group", use_rep="X_scVI")
    lost = counted.copy()
    del lost.obs["donor"]
    with unchanged(lost, KeyError, match=r"batch of each cell from obs\['donor'\], which is not there"):
        ace.tl.explain(lost, "group", use_rep="X_scVI")
    counted.obs["donor"] = counted.obs["donor"].astype(str).replace("z", "new")
    with unchanged(counted, ValueError, match=r"does not know: \['new'\]. It knows \['x', 'y/1', 'z'\]"):
        ace.tl.explain(counted, "group", use_rep="X_scVI")


def test_genes_are_those_of_both_matrices(counted, unchanged):
    _stored(counted)
    counted.raw = counted.copy()
    fewer = counted[:, 2:].copy()
    with unchanged(fewer, ValueError, match="2 of the 35 genes"):
        ace.tl.explain(fewer, "group", use_rep="X_scVI")


# --- with the real package -------------------------------------------------------------------------------------------

SETUPS = {
    "SCVI": ({}, {}),
    "batch": ({"batch_key": "donor"}, {"encode_covariates": True, "n_layers": 2}),
    "batch, first layer": (
        {"batch_key": "donor"},
        {"encode_covariates": True, "n_layers": 2, "deeply_inject_covariates": False, "use_layer_norm": "both"},
    ),
    "covariates not encoded": (
        {"batch_key": "donor", "continuous_covariate_keys": ["age"], "categorical_covariate_keys": ["group"]},
        {"use_batch_norm": "none", "gene_likelihood": "nb"},
    ),
}
real = pytest.mark.filterwarnings("ignore")  # of scvi-tools and what it imports, on the newest of everything


@pytest.fixture(scope="module")
def scvi():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("scvi")
    package.settings.verbosity = 40
    return package


def _trained(model, n_epochs=2):
    model.train(n_epochs, accelerator="cpu", batch_size=32, enable_progress_bar=False, logger=False)
    return model


@pytest.fixture
def model(scvi, counted):
    scvi.model.SCVI.setup_anndata(counted, layer="counts")
    return _trained(scvi.model.SCVI(counted, n_hidden=16, n_latent=4))


@real
@pytest.mark.parametrize("setup", SETUPS)
def test_latents_are_those_of_the_model(scvi, counted, contents, assert_same_contents, setup):
    fields, network = SETUPS[setup]
    scvi.model.SCVI.setup_anndata(counted, layer="counts", **fields)
    model = _trained(scvi.model.SCVI(counted, n_hidden=16, n_latent=4, **network))
    expected = model.get_latent_representation()
    before = contents(counted)
    state, flags = copy.deepcopy(model.module.state_dict()), [part.training for part in model.module.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.module.parameters()]
    registry, random = copy.deepcopy(model.registry), torch.get_rng_state()
    ace.tl.embed(counted, encoder=model, key_added="X_scVI")
    np.testing.assert_allclose(counted.obsm["X_scVI"], expected, rtol=1e-4, atol=1e-5)
    record = counted.uns["ace"]["X_scVI"]
    assert (record["kind"], record["model"], record["counts_layer"]) == ("scvi", "SCVI", "counts")
    assert (record["batches"] is None) == (setup not in ("batch", "batch, first layer"))
    # nothing else has changed, in the model or beside it
    after = contents(counted)
    kept = [path for path in before if path not in ("obsm", "uns")]
    assert_same_contents({path: after[path] for path in kept}, {path: before[path] for path in kept})
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, state[name])
    assert [part.training for part in model.module.modules()] == flags
    for parameter, gradient in zip(model.module.parameters(), gradients, strict=True):
        assert parameter.requires_grad
        assert gradient is parameter.grad is None or torch.equal(gradient, parameter.grad)
    assert repr(model.registry) == repr(registry)
    assert torch.equal(torch.get_rng_state(), random)
    np.testing.assert_array_equal(model.get_latent_representation(), expected)


@real
def test_scanvi_saved_and_loaded_and_a_query(scvi, counted, tmp_path):
    counted.obs["known"] = counted.obs["group"].astype(str).where(np.arange(80) % 3 > 0, "?")
    reference, query = counted[counted.obs["donor"] != "z"].copy(), counted[counted.obs["donor"] == "z"].copy()
    scvi.model.SCVI.setup_anndata(reference, layer="counts", batch_key="donor", labels_key="known")
    base = scvi.model.SCVI(reference, n_hidden=16, n_latent=4, n_layers=2, encode_covariates=True)
    scanvi = _trained(scvi.model.SCANVI.from_scvi_model(_trained(base), unlabeled_category="?"))
    scanvi.save(tmp_path / "model")
    loaded = scvi.model.SCANVI.load(tmp_path / "model", adata=reference, accelerator="cpu")
    for model in (scanvi, loaded):
        ace.tl.embed(reference, encoder=model, key_added="X_scANVI")
        np.testing.assert_allclose(reference.obsm["X_scANVI"], scanvi.get_latent_representation(), rtol=1e-4, atol=1e-5)
    assert reference.uns["ace"]["X_scANVI"]["model"] == "SCANVI"
    # new batches, as in scArches
    mapped = _trained(scvi.model.SCANVI.load_query_data(query, scanvi, accelerator="cpu"))
    ace.tl.embed(query, encoder=mapped, key_added="X_scANVI")
    np.testing.assert_allclose(query.obsm["X_scANVI"], mapped.get_latent_representation(), rtol=1e-4, atol=1e-5)
    assert set(query.uns["ace"]["X_scANVI"]["batches"]) == set(BATCHES)


ELSEWHERE = """
import json, sys
sys.modules["scvi"] = None  # any import of it fails
import anndata as ad, torch
import ace_scanpy as ace
torch.set_num_threads(1)
found = []
for path in sys.argv[1:]:
    adata = ad.read_h5ad(path) if path.endswith("h5ad") else ad.read_zarr(path)
    ace.tl.explain(adata, "group", use_rep="X_scVI", key_added="again")
    entry = adata.uns["again"]
    found.append({g: [entry["names"][g].tolist(), entry["scores"][g].tolist()] for g in entry["names"].dtype.names})
print(json.dumps(found))
"""


@real
def test_another_process_needs_neither_the_package_nor_the_model(scvi, counted, tmp_path):
    scvi.model.SCVI.setup_anndata(counted, layer="counts", batch_key="donor")
    model = _trained(scvi.model.SCVI(counted, n_hidden=16, n_latent=4, n_layers=2, encode_covariates=True))
    ace.tl.explain(counted, "group", use_rep="X_scVI", encoder=model)
    paths = [str(tmp_path / "file.h5ad"), str(tmp_path / "file.zarr")]
    counted.write_h5ad(paths[0])
    counted.write_zarr(paths[1])
    command = [sys.executable, "-W", "ignore", "-c", ELSEWHERE, *paths]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    entry = counted.uns["rank_genes_groups"]
    for found in json.loads(run.stdout.splitlines()[-1]):
        for group, (names, scores) in found.items():
            assert names == entry["names"][group].tolist()
            np.testing.assert_array_equal(np.array(scores, dtype=np.float32), entry["scores"][group])


@real
def test_explain_alone_makes_the_embedding(counted, isolated, model, assert_same_ranking):
    step_by_step = isolated(counted)
    ace.tl.explain(counted, "group", encoder=model, use_rep="X_scVI")
    ace.tl.embed(step_by_step, encoder=model, key_added="X_scVI")
    ace.tl.explain(step_by_step, "group", use_rep="X_scVI")
    assert_same_ranking(counted.uns["rank_genes_groups"], step_by_step.uns["rank_genes_groups"])
    np.testing.assert_array_equal(counted.obsm["X_scVI"], step_by_step.obsm["X_scVI"])


@real
def test_planted_genes_are_found(scvi, make_planted):
    adata = _with_counts(make_planted(n_per_group=60))
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    model = _trained(scvi.model.SCVI(adata, n_hidden=32, n_latent=4), n_epochs=60)
    ace.tl.explain(adata, "group", encoder=model, use_rep="X_scVI")
    for group in adata.obs["group"].cat.categories:
        top = ace.get.panel(adata, group, size=5)
        planted = adata.var.loc[top["names"], ["up", "down"]].astype(str)
        assert (planted != "").any(axis=1).all()  # none of the 15 genes that are the same everywhere
        assert (planted.iloc[0] == group).any()
        for gene, score in zip(top["names"], top["scores"], strict=True):
            if group in planted.loc[gene].tolist():
                assert np.sign(score) == (1 if planted.loc[gene, "up"] == group else -1)


@real
@pytest.mark.parametrize(
    ("network", "fields", "match"),
    [
        ({"log_variational": False}, {}, "log_variational=False"),
        ({"latent_distribution": "ln"}, {}, "latent_distribution='ln'"),
        ({"encode_covariates": True}, {"continuous_covariate_keys": ["age"]}, "extra_continuous_covs"),
        (
            {"encode_covariates": True, "batch_representation": "embedding"},
            {"batch_key": "donor"},
            "batch_representation='embedding'",
        ),
    ],
)
def test_encoders_that_read_something_else_are_refused(scvi, counted, unchanged, network, fields, match):
    scvi.model.SCVI.setup_anndata(counted, layer="counts", **fields)
    model = _trained(scvi.model.SCVI(counted, n_hidden=8, n_latent=3, **network), n_epochs=1)
    with unchanged(counted, ValueError, match=f"The SCVI model has .*{match}.*Supported are"):
        ace.tl.embed(counted, encoder=model)


@real
def test_what_cannot_be_explained_is_refused(scvi, counted, model, unchanged):
    with unchanged(counted, TypeError, match=r"\['SCVI', 'SCANVI'\] are supported. Got .*VAE"):
        ace.tl.embed(counted, encoder=model.module)
    with unchanged(counted, ValueError, match=r"only to \['autoencoder', 'distill'\]"):
        ace.tl.embed(counted, encoder=model, n_epochs=3)
    with unchanged(counted, ValueError, match="is where the model was set up to find counts"):
        ace.tl.embed(counted, encoder=model, layer="counts")
    fewer = counted[:, 3:].copy()
    with unchanged(fewer, ValueError, match=r"3 of the 35 genes of the model are not in `adata.X`"):
        ace.tl.embed(fewer, encoder=model)
    unlogged = counted.copy()
    unlogged.X = unlogged.layers["counts"] * 4
    with unchanged(unlogged, ValueError, match="looks like raw counts"):
        ace.tl.embed(unlogged, encoder=model)
    with unchanged(counted, ValueError, match="not trained"):
        ace.tl.explain(counted, "group", encoder=scvi.model.SCVI(counted, n_hidden=8))
    scvi.model.LinearSCVI.setup_anndata(counted, layer="counts")
    with unchanged(counted, TypeError, match="Got .*LinearSCVI"):
        ace.tl.explain(counted, "group", encoder=scvi.model.LinearSCVI(counted, n_hidden=8))


@real
def test_a_minified_model_is_refused(counted, model, unchanged):
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = model.get_latent_representation(
        return_dist=True
    )
    model.minify_adata()
    with unchanged(counted, ValueError, match="The SCVI model is minified. Supported are"):
        ace.tl.embed(counted, encoder=model)


@real
def test_a_version_that_builds_the_encoder_otherwise_is_refused(counted, model, unchanged, monkeypatch):
    def doubled(self, x, batch_index):
        return {"qz": torch.distributions.Normal(2 * self.z_encoder(torch.log1p(x), batch_index)[0].loc, 1.0)}

    monkeypatch.setattr(type(model.module), "inference", doubled)
    with unchanged(counted, ValueError, match="other latent means than the model itself"):
        ace.tl.embed(counted, encoder=model)


@real
def test_counts_in_x_and_a_subset_of_genes(scvi, counted, unchanged, logged):
    """A model of some genes, set up with counts in `X`: the log-normalised matrix is then a layer."""
    counted.layers["logged"], counted.X = counted.X, counted.layers["counts"]
    some = counted[:, 5:30].copy()
    scvi.model.SCVI.setup_anndata(some)
    model = _trained(scvi.model.SCVI(some, n_hidden=16, n_latent=4))
    with unchanged(counted, ValueError, match="is where the model was set up to find counts"):
        ace.tl.embed(counted, encoder=model)
    normalised = counted.copy()
    normalised.X = counted.layers["logged"].copy()
    with logged() as log:
        ace.tl.embed(normalised, encoder=model, layer="logged")
    assert "`adata.X`, where the model reads counts, has values that are not whole numbers" in log.getvalue()
    with logged() as log:
        ace.tl.explain(counted, "group", encoder=model, layer="logged", use_rep="X_scVI")
    assert "whole numbers" not in log.getvalue()
    np.testing.assert_allclose(counted.obsm["X_scVI"], model.get_latent_representation(), rtol=1e-4, atol=1e-5)
    entry = counted.uns["rank_genes_groups"]
    assert entry["params"]["layer"] == "logged"
    for group in entry["names"].dtype.names:
        scored = set(entry["names"][group][entry["scores"][group] != 0])
        assert scored
        assert scored <= set(some.var_names)


@real
def test_pbmc3k(scvi, data_file):
    adata = ad.read_h5ad(data_file("pbmc3k_lognorm.h5ad"))
    adata.raw = None
    types = ["B cells", "CD14+ Monocytes", "NK cells"]
    adata = adata[adata.obs["louvain"].isin(types)]
    variance = pd.Series(adata.X.toarray().var(axis=0), index=adata.var_names)
    adata = adata[:, adata.var_names.isin(variance.nlargest(300).index)].copy()
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    model = _trained(scvi.model.SCVI(adata), n_epochs=15)
    ace.tl.embed(adata, encoder=model, key_added="X_scVI")
    np.testing.assert_allclose(adata.obsm["X_scVI"], model.get_latent_representation(), rtol=1e-4, atol=1e-4)
    sc.pp.neighbors(adata, use_rep="X_scVI")
    ace.tl.explain(adata, "louvain", use_rep="X_scVI")
    entry = adata.uns["rank_genes_groups"]
    assert all(entry["fidelity"][name][0] > 0.9 for name in types)
    expression = adata.to_df()
    for name in types:
        panel = expression[list(entry["names"][name][:10])]
        assert ace.metrics.panel_auroc(panel, (adata.obs["louvain"] == name).to_numpy()) > 0.97
