"""Everything is computed on the device asked for, shown on one that refuses to meet the CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import ace_scanpy as ace
from ace_scanpy import _devices, models
from ace_scanpy.models import _training

_spec = importlib.util.spec_from_file_location("fake_device", Path(__file__).with_name("fake_device.py"))
fake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake)


def test_the_device_of_these_tests_refuses_what_a_gpu_refuses():
    with fake.FakeDevice() as device:
        here, there = torch.ones(3), torch.ones(3, device=fake.DEVICE)
        assert there.device == fake.DEVICE
        assert float((there + 1.0).sum()) == 6.0
        assert (there.cpu() + here).tolist() == [2.0, 2.0, 2.0]
        for meeting in (lambda: here + there, lambda: torch.cat([there, here]), lambda: there.add_(here)):
            with pytest.raises(RuntimeError, match="on the device and on the CPU"):
                meeting()
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        device.elsewhere.clear()
        there.exp()
        assert not device.elsewhere
        here.exp()
        assert device.elsewhere == {"exp": 3}


@pytest.fixture
def on(monkeypatch):
    """Runs a function on a device, whatever `device` its arguments name."""

    def run(device, function):
        monkeypatch.setattr(_devices, "choose", lambda _: device)
        if device.type == "cpu":
            return function()
        with fake.FakeDevice():
            return function()

    return run


@pytest.fixture
def few_steps(monkeypatch):
    """Each operation on the device takes a while."""
    monkeypatch.setattr("ace_scanpy.models._training._MOST_STEPS", 4)
    monkeypatch.setattr("ace_scanpy.models._training._LABEL_STEPS", 4)
    monkeypatch.setattr("ace_scanpy.models._training._GATE_STEPS", 4)
    monkeypatch.setattr("ace_scanpy.models._joint._MOST_ROUNDS", 1)
    monkeypatch.setattr("ace_scanpy.models._joint._STEPS_PER_ROUND", 4)


def _everything(adata):
    network = {"n_hidden": (12, 6), "n_latent": 3, "batch_size": 40}
    one = {"groups": ["B"], "reference": "dendritic", "lam": 3.0}
    ace.tl.embed(adata, n_selected=25, batch_key="batch", **network)
    ace.tl.cluster(adata, n_clusters=3, joint=True, key_added="joint")
    ace.tl.explain(adata, "group", **one)
    for method in ("smoothgrad", "shap"):
        ace.tl.explain(adata, "group", method=method, groups=["B"], key_added=method)
    adata.obsm["X_other"] = adata.obsm["X_ace"][:, :2] * 2
    ace.tl.embed(adata, encoder="distill", use_rep="X_other", n_hidden=(12,))
    module = torch.nn.Sequential(torch.nn.Linear(adata.n_vars, 4), torch.nn.Tanh())
    torch.nn.init.orthogonal_(module[0].weight)
    ace.tl.embed(adata, encoder=module, key_added="X_own")
    ace.tl.explain(adata, "group", use_rep="X_own", key_added="own", **one)


def test_all_steps_on_a_device_give_the_bits_of_the_cpu(planted, on, few_steps, contents, assert_same_contents):
    pytest.importorskip("captum")
    planted.X = planted.X.toarray()  # of sparse blocks the CPU alone makes sparse products
    planted.obs["batch"] = np.where(np.arange(planted.n_obs) % 2, "one", "two")
    found = []
    for device in (torch.device("cpu"), fake.DEVICE):
        adata = planted.copy()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            on(device, lambda adata=adata: _everything(adata))
        found.append(contents(adata))
    assert_same_contents(*reversed(found))


def test_training_encoding_and_solving_compute_nothing_elsewhere(
    grouped, grouped_csr, as_source, new_autoencoder, few_steps
):
    """After the start from principal components, which is made on the CPU."""
    codes, source = grouped[1], as_source(grouped_csr)
    schedule = models.Schedule(batch_size=64, device=fake.DEVICE)
    model = new_autoencoder()
    with fake.FakeDevice() as device:
        model.to(fake.DEVICE)
        device.elsewhere.clear()
        models.fit_labels(model, source, codes, schedule, np.random.default_rng(0), batch=codes % 2)
        latent = torch.from_numpy(models.encode(model.encoder, source)).to(fake.DEVICE)
        clustering = models.from_labels(latent, torch.from_numpy(codes).to(fake.DEVICE))
        cells = models.SourceCells.from_expression(model.encoder, [source.rows(np.flatnonzero(codes == 0))])
        solution = models.perturb(
            model.encoder,
            clustering,
            cells,
            torch.tensor([0, 0], device=fake.DEVICE),
            torch.tensor([1, 2], device=fake.DEVICE),
            max_iter=5,
        )
        assert not {name: count for name, count in device.elsewhere.items() if count}
    assert solution.delta.device == fake.DEVICE
    assert all(value.device == fake.DEVICE for value in clustering.state_dict().values())


def test_half_precision_leaves_weights_and_losses_in_full(grouped, as_source, new_autoencoder, monkeypatch):
    """The autocast that training uses on CUDA, here on the CPU: close to full precision, and off afterwards."""
    source = as_source(grouped[0])
    losses = {}
    for name in ("full", "half"):
        if name == "half":
            monkeypatch.setattr(_training, "half_precision", lambda device: torch.autocast("cpu", dtype=torch.bfloat16))
        model = new_autoencoder()
        schedule = models.Schedule(n_epochs=30, batch_size=32)
        loss = models.train(model, source, schedule, np.random.default_rng(0), batch=grouped[1] % 2)
        assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
        losses[name] = loss["held_out"][-1]
        assert models.encode(model.encoder, source).dtype == np.float32
    assert losses["half"] != losses["full"]
    assert losses["half"] == pytest.approx(losses["full"], rel=0.05)


def test_half_precision_is_for_cuda_alone():
    for device in ("cpu", "mps"):
        with _training.half_precision(torch.device(device)):
            assert not torch.is_autocast_enabled("cpu")
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest_there_is(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert _devices.choose("auto") == torch.device(expected)
    assert _devices.choose(expected) == torch.device(expected)


def test_blocks_of_a_dask_array_are_encoded_on_the_cpu(grouped, as_source, new_autoencoder):
    """Its workers need not have the device that the encoder is on."""
    da = pytest.importorskip("dask.array")
    encoder = new_autoencoder().encoder
    expected = models.encode(encoder, as_source(grouped[0]))
    lazy = as_source(da.from_array(grouped[0], chunks=(100, 30)))
    with fake.FakeDevice():
        encoder.to(fake.DEVICE)
        found = models.encode(encoder, lazy)
        assert encoder.mean.device == fake.DEVICE
    np.testing.assert_array_equal(found, expected)
