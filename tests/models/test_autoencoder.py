from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from ace_scanpy.models import Autoencoder
from ace_scanpy.models._autoencoder import drop
from ace_scanpy.models._sampling import preactivations


@pytest.fixture
def model(new_autoencoder):
    return new_autoencoder().eval()


def slow_encoder(encoder, x):
    """Standardise, then layer by layer, in float64."""
    values = (x.astype(np.float64) - encoder.mean.double().numpy()) / encoder.scale.double().numpy()
    layers = [encoder.first, *(layer for layer in encoder.rest if isinstance(layer, torch.nn.Linear))]
    for i, layer in enumerate(layers):
        values = values @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        values = values if i == len(layers) - 1 else np.where(values > 0, values, 0.2 * values)
    return values


def test_encoder_of_expression_equals_the_layers_on_standardised_expression(model, grouped):
    found = model.encoder(torch.tensor(grouped[0])).detach()
    np.testing.assert_allclose(found, slow_encoder(model.encoder, grouped[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_hidden", [(8,), (16, 8), (12, 10, 8)])
def test_any_number_of_hidden_layers(new_autoencoder, grouped, n_hidden):
    model = new_autoencoder(n_hidden=n_hidden, n_latent=3)
    latent, output = model(model.encoder.standardize(torch.tensor(grouped[0])))
    assert latent.shape == (240, 3)
    assert output.shape == (240, 30)
    widths = [layer.out_features for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
    assert widths == [*n_hidden[::-1], 30]


@pytest.mark.parametrize("form", ["dense", "csr", "integers"])
def test_preactivations_are_the_first_layer_of_standardised_expression(model, grouped, form):
    x = np.rint(grouped[0]) if form == "integers" else grouped[0]
    rows = {"dense": x, "csr": sparse.csr_matrix(x), "integers": x.astype(np.int64)}[form]
    encoder = model.encoder
    standardized = (x.astype(np.float64) - encoder.mean.double().numpy()) / encoder.scale.double().numpy()
    expected = standardized @ encoder.first.weight.detach().double().numpy().T + encoder.first.bias.detach().numpy()
    np.testing.assert_allclose(preactivations(encoder, rows), expected, rtol=1e-4, atol=1e-5)


def test_preactivations_read_a_read_only_block(model, grouped):
    x = grouped[0].copy()
    expected = preactivations(model.encoder, x)
    x.flags.writeable = False
    assert torch.equal(preactivations(model.encoder, x), expected)


def test_a_shift_in_units_of_the_scale_adds_the_weights_to_the_preactivation(model, grouped):
    encoder, x = model.encoder, torch.tensor(grouped[0])
    delta = torch.linspace(-2.0, 2.0, 30)
    moved = encoder(x + delta * encoder.scale)
    added = encoder.tail(encoder.preactivation(x) + encoder.weight @ delta)
    torch.testing.assert_close(moved, added, rtol=1e-4, atol=1e-4)


def principal_components(model, standardized):
    """Latent coordinates and reconstruction of a network that was just started from principal components."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model.start_from_principal_components(standardized)
        return [values.double().numpy() for values in model.eval()(standardized)]


@pytest.mark.parametrize(("n_hidden", "n_latent"), [((16, 8), 4), ((40, 20), 4), ((200, 100), 10), ((100,), 5)])
def test_starts_as_principal_components_but_for_the_noise(new_autoencoder, n_hidden, n_latent, monkeypatch):
    monkeypatch.setattr(torch.nn.init, "normal_", lambda values, std: values.zero_())
    rng = np.random.default_rng(0)
    spectrum = 30 * 0.7 ** np.arange(30)  # no two components alike, so that there is one answer
    z = np.linalg.qr(rng.normal(size=(240, 30)))[0] * spectrum @ np.linalg.qr(rng.normal(size=(30, 30)))[0]
    model = new_autoencoder(n_hidden=n_hidden, n_latent=n_latent)
    latent, output = principal_components(model, torch.tensor(z, dtype=torch.float32))
    left, singular, components = np.linalg.svd(z, full_matrices=False)
    scores = left[:, :n_latent] * singular[:n_latent]
    np.testing.assert_allclose(np.abs(latent), np.abs(scores), atol=1e-4)
    np.testing.assert_allclose(output, scores @ components[:n_latent], atol=1e-4)


@pytest.mark.parametrize(("n_hidden", "n_latent"), [((16, 8), 4), ((40, 20), 4), ((200, 100), 10), ((100,), 5)])
def test_the_noise_of_the_start_is_small(new_autoencoder, grouped, n_hidden, n_latent):
    model = new_autoencoder(n_hidden=n_hidden, n_latent=n_latent)
    z = model.encoder.standardize(torch.tensor(grouped[0]))
    _, output = principal_components(model, z)
    z = z.double().numpy()
    best = (np.linalg.svd(z, compute_uv=False)[:n_latent] ** 2).sum() / (z**2).sum()  # R2 of principal components
    assert 0.9 * best < 1 - ((z - output) ** 2).sum() / (z**2).sum() < best
    assert all((layer.weight != 0).all() for layer in model.modules() if isinstance(layer, torch.nn.Linear))


def test_fewer_cells_than_units_can_start_too(new_autoencoder, grouped):
    model = new_autoencoder(n_hidden=(64, 32), n_latent=10)
    model.start_from_principal_components(model.encoder.standardize(torch.tensor(grouped[0][:3])))
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_dropout_acts_in_training_only(new_autoencoder, grouped):
    model = new_autoencoder(dropout=0.3)
    z = model.encoder.standardize(torch.tensor(grouped[0]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noisy = [model.train()(z)[1] for _ in range(2)]
        calm = [model.eval()(z)[1] for _ in range(2)]
    assert not torch.equal(*noisy)
    assert torch.equal(*calm)


def test_gates_multiply_the_input(model, grouped):
    z = model.encoder.standardize(torch.tensor(grouped[0]))
    gates = (torch.arange(30) < 7).float()
    latent, output = model(z, gates)
    expected_latent, expected_output = model(z * gates)
    assert torch.equal(latent, expected_latent)
    assert torch.equal(output, expected_output)


def test_mean_and_scale_are_copied_and_saved(grouped):
    mean, scale = torch.zeros(30), torch.ones(30)
    model = Autoencoder(mean, scale)
    mean += 5.0
    assert torch.equal(model.encoder.mean, torch.zeros(30))
    assert {"encoder.mean", "encoder.scale"} <= set(model.state_dict())
    assert model.encoder.n_genes == 30


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_dropped_values_are_zero_and_the_others_scaled_up(share):
    torch.manual_seed(0)
    x = torch.rand(300, 501) + 1.0
    dropped = drop(x, share)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], (x / (1 - share))[kept])
    assert (~kept).float().mean().item() == pytest.approx(share, abs=5 * (0.25 / x.numel()) ** 0.5)
    columns, rows = kept.float().mean(dim=0), kept.float().mean(dim=1)
    spread = (share * (1 - share)) ** 0.5  # each value by itself: no stripes over genes or cells
    assert columns.std().item() == pytest.approx(spread / 300**0.5, rel=0.15, abs=1e-9)
    assert rows.std().item() == pytest.approx(spread / 501**0.5, rel=0.15, abs=1e-9)
    torch.manual_seed(0)
    assert torch.equal(drop(torch.rand(300, 501) + 1.0, share), dropped)
