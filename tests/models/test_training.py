from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from ace_scanpy.models import FeatureGates, Schedule, encode, fit_labels, from_labels, learn_jointly, mmd, seeded, train
from ace_scanpy.models._training import _is_flat

SHORT = Schedule(n_epochs=6, batch_size=32)


def run(model, source, seed=0, schedule=SHORT, **kwargs):
    return train(model, source, schedule, np.random.default_rng(seed), **kwargs)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def open_genes(model):
    return torch.nonzero((model.encoder.weight != 0).any(dim=0)).squeeze(1).tolist()


def new_gates(n_selected):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FeatureGates(30, n_selected)


@pytest.fixture
def two_batches(grouped):
    """The same cells with half of the genes of every third cell raised."""
    values, _ = grouped
    batch = (np.arange(len(values)) % 3 == 0).astype(np.int64)
    shifted = values + 2.0 * batch[:, None] * (np.arange(30) % 2 == 0)
    return shifted.astype(np.float32), batch


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_the_same_seed_gives_the_same_bits(new_autoencoder, grouped, as_source, form):
    source = as_source(form(grouped[0]))
    results = []
    for _ in range(2):
        model = new_autoencoder()
        history = run(model, source)
        fit_labels(model, source, grouped[1], SHORT, np.random.default_rng(1))
        results.append((weights(model), history))
        torch.rand(5)  # the global stream plays no part
    (first, history), (second, again) = results
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(np.array_equal(history[key], again[key]) for key in history)


def test_another_seed_gives_other_weights(new_autoencoder, grouped, as_source):
    models = [new_autoencoder(), new_autoencoder()]
    for seed, model in enumerate(models):
        run(model, as_source(grouped[0]), seed)
    assert not torch.equal(models[0].encoder.weight, models[1].encoder.weight)


def test_global_random_states_stay_as_they_are(new_autoencoder, grouped, as_source):
    model, source = new_autoencoder(), as_source(grouped[0])
    state, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    run(model, source, gates=new_gates(5))
    fit_labels(model, source, grouped[1], SHORT, np.random.default_rng(0))
    learn_jointly(model, source, np.zeros((3, 4)), SHORT, np.random.default_rng(0))
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


def test_seeded_numbers_follow_the_generator():
    def draw(seed):
        with seeded(np.random.default_rng(seed)):
            return torch.rand(3)

    state = torch.random.get_rng_state()
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_history_has_one_entry_per_round_and_the_held_out_loss_falls(new_autoencoder, grouped, as_source):
    history = run(new_autoencoder(), as_source(grouped[0]), schedule=Schedule(n_epochs=40, batch_size=32))
    assert set(history) == {"train", "held_out", "minibatches"}
    assert len({len(column) for column in history.values()}) == 1
    assert (np.diff(history["minibatches"]) > 0).all()
    assert history["minibatches"][-1] <= 40 * np.ceil(216 / 32)
    assert history["held_out"][-1] < history["held_out"][0]
    assert history["train"][-1] < history["train"][0]


def test_training_reconstructs_better_than_its_start_and_ends_in_evaluation_mode(new_autoencoder, grouped, as_source):
    model, source = new_autoencoder(), as_source(grouped[0])
    z = model.encoder.standardize(torch.tensor(grouped[0]))
    before = (np.linalg.svd(z.numpy(), compute_uv=False)[4:] ** 2).sum() / z.numel()  # of the best linear one
    run(model, source, schedule=Schedule(n_epochs=60, batch_size=32))
    assert not model.training
    with torch.no_grad():
        after = float((model(z)[1] - z).square().mean())
    assert after < 1.05 * before  # dropout costs a little; non-linearity pays it back


def test_training_stops_when_the_held_out_loss_is_flat(new_autoencoder, as_source):
    noise = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    history = run(new_autoencoder(), as_source(noise), schedule=Schedule(n_epochs=500, batch_size=100))
    assert history["minibatches"][-1] < 500 * 2
    assert history["held_out"][-1] >= history["held_out"].min()


def test_progress_is_reported_once_per_minibatch(new_autoencoder, grouped, as_source):
    calls = []
    schedule = Schedule(n_epochs=3, batch_size=32, progress=lambda phase, total: calls.append((phase, total)))
    model, source = new_autoencoder(), as_source(grouped[0])
    history = run(model, source, schedule=schedule)
    assert calls == [("training", 21)] * int(history["minibatches"][-1])
    calls.clear()
    fit_labels(model, source, grouped[1], schedule, np.random.default_rng(0))
    assert calls == [("fitting labels", len(calls))] * len(calls)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_the_matrix_is_never_modified(new_autoencoder, grouped, as_source, form):
    values = form(grouped[0].copy())
    parts = [values] if isinstance(values, np.ndarray) else [values.data, values.indices, values.indptr]
    before = [part.copy() for part in parts]
    model, source = new_autoencoder(), as_source(values)
    run(model, source, gates=new_gates(5), batch=np.arange(240) % 2)
    fit_labels(model, source, grouped[1], SHORT, np.random.default_rng(0))
    learn_jointly(model, source, encode(model.encoder, source)[:3], SHORT, np.random.default_rng(0))
    assert all(np.array_equal(old, new) for old, new in zip(before, parts, strict=True))


@pytest.mark.parametrize("n_cells", [1, 2, 9, 33])
def test_a_handful_of_cells_can_be_trained_on(new_autoencoder, grouped, as_source, n_cells):
    model = new_autoencoder()
    history = run(model, as_source(grouped[0][:n_cells]))
    assert np.isfinite(history["train"]).all()
    assert np.isfinite(history["held_out"]).all()
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("n_selected", [1, 6])
def test_with_gates_exactly_the_selected_genes_carry_the_embedding(new_autoencoder, grouped, as_source, n_selected):
    model, source, gates = new_autoencoder(), as_source(grouped[0]), new_gates(n_selected)
    run(model, source, gates=gates)
    selected = gates.selected().tolist()
    assert len(selected) == n_selected
    assert open_genes(model) == selected
    fit_labels(model, source, grouped[1], SHORT, np.random.default_rng(0))
    assert open_genes(model) == selected
    learn_jointly(model, source, encode(model.encoder, source)[:3], SHORT, np.random.default_rng(0))
    assert open_genes(model) == selected
    moved = grouped[0].copy()
    moved[:, np.setdiff1d(np.arange(30), selected)] += 100.0
    np.testing.assert_array_equal(encode(model.encoder, as_source(moved)), encode(model.encoder, source))


def test_gates_pick_one_gene_of_each_module(new_autoencoder, as_source):
    rng = np.random.default_rng(0)
    modules = rng.normal(size=(300, 5)).repeat(6, axis=1) + 0.3 * rng.normal(size=(300, 30))
    gates = new_gates(5)
    run(new_autoencoder(n_latent=5), as_source(modules.astype(np.float32)), gates=gates)
    assert sorted(gates.selected().numpy() // 6) == [0, 1, 2, 3, 4]


def test_the_batch_penalty_brings_batches_together(new_autoencoder, two_batches, as_source):
    values, batch = two_batches
    schedule = Schedule(n_epochs=20, batch_size=60)
    discrepancy = []
    for given in (None, batch):
        model = new_autoencoder()
        run(model, as_source(values), schedule=schedule, batch=given)
        latent = torch.from_numpy(encode(model.encoder, as_source(values)))
        discrepancy.append(mmd(latent, torch.from_numpy(batch)).item())
    assert discrepancy[1] < 0.5 * discrepancy[0]


def test_fitting_labels_brings_cells_to_their_own_prototype(new_autoencoder, as_source):
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), 60)
    values = rng.normal(size=(240, 30))
    values[:, :8] += 2.0 * np.eye(4)[codes].repeat(2, axis=1)
    values = values.astype(np.float32)
    model, source = new_autoencoder(), as_source(values)
    run(model, source)

    def share_at_home():
        latent = torch.from_numpy(encode(model.encoder, source))
        return (from_labels(latent, torch.from_numpy(codes)).assign(latent).numpy() == codes).mean()

    before = share_at_home()
    fit_labels(model, source, codes, SHORT, np.random.default_rng(0))
    assert not model.training
    assert share_at_home() > before + 0.03


def test_cells_without_a_label_take_no_part_in_the_fit(new_autoencoder, grouped, as_source):
    values, codes = grouped[0].copy(), grouped[1].copy()
    codes[::5] = -1
    fitted = []
    for _ in range(2):
        model = new_autoencoder()
        fit_labels(model, as_source(values), codes, SHORT, np.random.default_rng(0))
        fitted.append(weights(model))
        values[::5] = 7.0
    assert all(torch.equal(a, b) for a, b in zip(*fitted, strict=True))


def test_a_group_of_one_cell_is_part_of_the_fit(new_autoencoder, grouped, as_source, monkeypatch):
    monkeypatch.setattr("ace_scanpy.models._training._PROTOTYPE_CELLS", 20)
    codes = grouped[1].copy()
    codes[17] = 4
    model = new_autoencoder()
    fit_labels(model, as_source(grouped[0]), codes, SHORT, np.random.default_rng(0))
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_prototypes_are_group_means_and_beta_one_over_the_spread():
    rng = np.random.default_rng(0)
    latent, codes = rng.normal(size=(50, 3)), rng.integers(-1, 4, size=50)
    clustering = from_labels(torch.tensor(latent), torch.tensor(codes))
    means = np.stack([latent[codes == c].mean(axis=0) for c in range(4)])
    spread = np.mean([((z - means[c]) ** 2).sum() for z, c in zip(latent, codes, strict=True) if c >= 0])
    np.testing.assert_allclose(clustering.prototypes, means)
    np.testing.assert_allclose(clustering.beta, 1 / spread)
    np.testing.assert_allclose(from_labels(torch.tensor(latent), torch.tensor(codes), beta=0.3).beta, 0.3)


def test_clusters_learnt_jointly_are_the_planted_ones(new_autoencoder, grouped, as_source):
    values, codes = grouped
    model, source = new_autoencoder(), as_source(values)
    run(model, source)
    before = encode(model.encoder, source)
    start = np.stack([before[codes == c][0] for c in range(4)])  # one cell of each group
    latent, centres, assigned = learn_jointly(model, source, start, SHORT, np.random.default_rng(0))
    assert adjusted_rand_score(codes, assigned) > 0.95
    np.testing.assert_array_equal(latent, encode(model.encoder, source))
    distances = ((latent[:, None].astype(np.float64) - centres) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(assigned, distances.argmin(axis=1))

    def tightness(z):
        within = sum(((z[codes == c] - z[codes == c].mean(axis=0)) ** 2).sum() for c in range(4))
        return within / ((z - z.mean(axis=0)) ** 2).sum()

    assert tightness(latent) < tightness(before)


@pytest.mark.parametrize(
    ("seen", "losses", "flat"),
    [
        ([50, 100], [1.0, 1.0], False),  # too few to tell
        ([50, 100, 150], [1.0, 0.999, 0.998], True),
        ([50, 100, 150], [1.0, 0.999, 0.994], False),
        ([50, 100, 150], [1.0, 0.99, 1.2], False),  # what was reached counts
        ([10 * n for n in range(1, 12)], [1.0 - 0.0004 * n for n in range(11)], True),
        ([10 * n for n in range(1, 12)], [1.0 - 0.0006 * n for n in range(11)], False),
        ([50, 100, 150, 200], [1.0, 0.9, 0.8, 0.8], False),
        ([50, 100, 150, 200, 250], [1.0, 0.9, 0.8, 0.8, 0.8], True),
    ],
)
def test_training_is_over_when_a_hundred_minibatches_bring_less_than_half_a_percent(seen, losses, flat):
    assert _is_flat([(n, 0.0, loss) for n, loss in zip(seen, losses, strict=True)]) is flat
