from __future__ import annotations

import pytest
import torch

from ace_scanpy.models import FeatureGates


@pytest.fixture(autouse=True)
def seeded_torch():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("temperature", [1.0, 0.1])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_selected", [1, 7, 49, 50])
def test_exactly_n_selected_gates_are_open(n_selected, training, temperature):
    gates = FeatureGates(50, n_selected).train(training)
    gates.temperature = temperature
    for _ in range(50):
        drawn = gates()
        assert int((drawn == 1).sum()) == n_selected
        assert int((drawn == 0).sum()) == 50 - n_selected


def test_evaluation_opens_the_largest_logits():
    gates = FeatureGates(6, 2).eval()
    gates.logits.data = torch.tensor([0.0, 3.0, -1.0, 1.0, 2.0, 0.5])
    assert gates().tolist() == [0, 1, 0, 0, 1, 0]
    assert gates.selected().tolist() == [1, 4]


def test_training_draws_one_gene_with_the_probability_of_its_logit():
    gates = FeatureGates(4, 1)
    gates.logits.data, gates.temperature = torch.tensor([0.0, 1.0, -1.0, 0.5]), 1.0
    with torch.no_grad():
        share = sum(gates() for _ in range(4000)) / 4000
    expected = gates.logits.softmax(dim=0)
    assert ((share - expected).abs() < 4 * (expected * (1 - expected) / 4000).sqrt()).all()


def test_a_low_temperature_draws_the_largest_logits():
    gates = FeatureGates(4, 2)
    gates.logits.data, gates.temperature = torch.tensor([0.0, 1.0, -1.0, 2.0]), 1e-3
    assert all(gates().tolist() == [0, 1, 0, 1] for _ in range(50))


def test_gradient_of_a_draw_is_that_of_the_relaxed_gates():
    gates = FeatureGates(8, 3)
    gates.temperature = 0.5
    wanted = torch.randn(8)
    state = torch.random.get_rng_state()
    (gates() * wanted).sum().backward()
    torch.random.set_rng_state(state)
    logits = gates.logits.detach().clone().requires_grad_()
    noisy = logits - 0.5 * torch.log(-torch.log(torch.rand(8).clamp(1e-6, 1 - 1e-6)))
    ordered = noisy.sort(descending=True).values
    (torch.sigmoid((noisy - (ordered[2] + ordered[3]) / 2) / 0.5) * wanted).sum().backward()
    assert (gates.logits.grad != 0).any()
    torch.testing.assert_close(gates.logits.grad, logits.grad)


def test_learning_opens_the_genes_that_are_needed():
    gates = FeatureGates(20, 4)
    needed = torch.tensor([2, 3, 11, 17])
    optimizer = torch.optim.Adam(gates.parameters(), lr=0.1)
    for step in range(200):
        gates.temperature = 0.1 ** (step / 199)
        optimizer.zero_grad()
        (-gates()[needed].sum()).backward()
        optimizer.step()
    assert torch.equal(gates.selected(), needed)


@pytest.mark.parametrize("n_selected", [1, 5, 12])
def test_principal_variables_are_those_that_explain_most_variance_one_by_one(n_selected):
    values = torch.randn(200, 4) @ torch.randn(4, 12) + 0.5 * torch.randn(200, 12) * torch.rand(12)
    gates = FeatureGates(12, n_selected)
    gates.start_from_principal_variables(values)
    left = values.double().T @ values.double() / 200  # what the genes taken so far leave unexplained
    taken = []
    for _ in range(n_selected):
        gains = [float(left[i] @ left[i] / left[i, i]) if i not in taken else -1.0 for i in range(12)]
        best = max(range(12), key=gains.__getitem__)
        taken.append(best)
        left = left - torch.outer(left[best], left[best]) / left[best, best]
    assert gates.selected().tolist() == sorted(taken)


def test_principal_variables_do_not_repeat_each_other():
    genes = torch.randn(300, 6) * torch.linspace(1.0, 2.0, 6)
    gates = FeatureGates(18, 6)
    gates.start_from_principal_variables(genes.repeat(1, 3) + 0.01 * torch.randn(300, 18))
    assert sorted(gates.selected() % 6) == list(range(6))


@pytest.mark.parametrize("n_selected", [0, -1, 6])
def test_an_impossible_number_of_genes_raises(n_selected):
    with pytest.raises(ValueError, match="between 1 and 5"):
        FeatureGates(5, n_selected)
