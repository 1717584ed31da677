"""What the solver reports, what it keeps to, and what must not change its answers."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import logsumexp

from ace_scanpy.models import NeuralizedClustering, SourceCells, _contrast, _perturb, perturb

OBJECTIVES = ["pairwise", "targeted", "rest"]
SIZES = (20, 7, 13, 1)


@pytest.fixture(scope="module")
def problem(trained, grouped):
    """Contrasts of each group with every other one, on groups of different size, in double precision."""
    model, clustering = trained
    values, codes = grouped
    rng = np.random.default_rng(0)
    encoder = copy.deepcopy(model.encoder).double()
    source, target = np.array([(s, t) for s in range(4) for t in range(4) if s != t]).T
    shape = (len(source), values.shape[1])
    return SimpleNamespace(
        encoder=encoder,
        clustering=NeuralizedClustering(clustering.prototypes.double(), float(clustering.beta)),
        groups=[values[codes == g][: SIZES[g]].astype(np.float64) for g in range(4)],
        source=torch.tensor(source),
        target=torch.tensor(target),
        weights=torch.tensor(rng.uniform(0.5, 2.0, size=shape)),
        lower=torch.tensor(-rng.uniform(0.5, 4.0, size=shape)),
        upper=torch.tensor(rng.uniform(0.5, 4.0, size=shape)),
    )


def solve(problem, rows=slice(None), **kwargs):
    q = SimpleNamespace(**{**vars(problem), **{k: kwargs.pop(k) for k in list(kwargs) if hasattr(problem, k)}})
    options = {
        "lam": 10.0,
        "max_iter": 8,
        "weights": q.weights[rows],
        "lower": q.lower[rows],
        "upper": q.upper[rows],
    }
    cells = kwargs.pop("cells", None) or SourceCells.from_expression(q.encoder, q.groups)
    return perturb(q.encoder, q.clustering, cells, q.source[rows], q.target[rows], **{**options, **kwargs})


def slow_scores(problem, x, delta):
    """-beta |z - mu|^2 of expression `x` whose standardised values are moved by `delta`, layer by layer."""
    encoder = problem.encoder
    values = (x - encoder.mean.numpy()) / encoder.scale.numpy() + delta
    layers = [encoder.first, *(layer for layer in encoder.rest if isinstance(layer, torch.nn.Linear))]
    for i, layer in enumerate(layers):
        values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if i < len(layers) - 1:
            values = np.where(values > 0, values, 0.2 * values)
    distances = ((values[:, None] - problem.clustering.prototypes.numpy()) ** 2).sum(axis=-1)
    return -float(problem.clustering.beta) * distances


def slow_margins(scores, source, target, objective):
    """Cell by cell, from the definitions."""
    margins = []
    for row in scores:
        m = np.array([row[c] - logsumexp(np.delete(row, c)) for c in range(len(row))])
        if objective == "pairwise":
            margins.append(m[source] - m[target])
        elif objective == "targeted":
            margins.append(-2 * m[target])
        else:
            margins.append(m[source] - max(m[k] for k in range(len(m)) if k != source))
    return np.array(margins)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("n_groups", [2, 3, 7])
def test_margins_follow_their_definitions(objective, n_groups):
    rng = np.random.default_rng(n_groups)
    scores = rng.normal(scale=3.0, size=(4, 11, n_groups))
    source = rng.integers(n_groups, size=4)
    target = (source + rng.integers(1, n_groups, size=4)) % n_groups
    found, _ = _contrast.margin(torch.tensor(scores), torch.tensor(source), torch.tensor(target), objective)
    for row in range(4):
        expected = slow_margins(scores[row], source[row], target[row], objective)
        np.testing.assert_allclose(found[row], expected, rtol=1e-9, atol=1e-9)


def test_with_two_groups_the_three_objectives_agree():
    scores = torch.randn(2, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    source, target = torch.tensor([0, 1]), torch.tensor([1, 0])
    pairwise, targeted, rest = (_contrast.margin(scores, source, target, o)[0] for o in OBJECTIVES)
    torch.testing.assert_close(targeted, pairwise)
    torch.testing.assert_close(rest, pairwise)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective_flip_rate_and_gradient_equal_a_slow_recomputation(problem, objective):
    solution = solve(
        problem, objective=objective, alpha=2.0, lam=1.0, max_iter=1
    )  # an optimum may lie on a kink of the network
    assert ((solution.flip_rate > 0) & (solution.flip_rate < 1)).any()
    for row in (1, 5, 6, 10):  # from each of the groups
        source, target = problem.source[row].item(), problem.target[row].item()
        x, delta = problem.groups[source], solution.delta[row].numpy()
        weights = problem.weights[row].numpy()

        def mean_margin(at, x=x, source=source, target=target):
            return slow_margins(slow_scores(problem, x, at), source, target, objective).mean()

        scores = slow_scores(problem, x, delta)
        hinge = np.maximum(0.0, 2.0 + slow_margins(scores, source, target, objective)).mean()
        np.testing.assert_allclose(solution.objective[row], (weights * np.abs(delta)).sum() + 1.0 * hinge, rtol=1e-9)
        assigned = scores.argmax(axis=1)
        flipped = assigned != source if objective == "rest" else assigned == target
        np.testing.assert_allclose(solution.flip_rate[row], flipped.mean())
        steps = 1e-6 * np.eye(len(delta))
        slope = [(mean_margin(delta + step) - mean_margin(delta - step)) / 2e-6 for step in steps]
        np.testing.assert_allclose(solution.gradient[row], slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_stays_within_the_bounds_and_uses_them(problem, objective):
    delta = solve(problem, objective=objective).delta
    assert (delta >= problem.lower * (1 + 1e-12)).all()
    assert (delta <= problem.upper * (1 + 1e-12)).all()
    assert torch.isclose(delta, problem.lower).any()
    assert torch.isclose(delta, problem.upper).any()


def test_a_gene_between_two_zero_bounds_stays(problem):
    closed = torch.arange(30) % 2 == 0
    delta = solve(problem, lower=problem.lower * ~closed, upper=problem.upper * ~closed).delta
    assert (delta[:, closed] == 0.0).all()
    assert (delta[:, ~closed] != 0.0).any()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_most_genes_are_exactly_zero(problem, objective):
    free = torch.full_like(problem.upper, torch.inf)
    delta = solve(problem, objective=objective, lower=-free, upper=free, max_iter=60).delta
    assert ((delta == 0.0).sum(dim=1) >= 15).all()
    assert (delta != 0.0).any(dim=1).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_without_bounds_some_lambda_does_what_the_objective_asks(problem, objective):
    free = torch.full_like(problem.upper, torch.inf)
    solution = solve(
        problem, objective=objective, lower=-free, upper=free, lam=np.geomspace(1.0, 1000.0, 13), max_iter=50
    )
    if objective == "pairwise":  # asks that m_t exceeds m_s; a third group may still be nearer
        assert solution.flip_rate.mean() > 0.5
    else:
        assert (solution.flip_rate >= 0.95).all()


@pytest.mark.parametrize("lam", [10.0, None])
def test_permuting_genes_permutes_the_result(problem, lam):
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    encoder = copy.deepcopy(problem.encoder)
    encoder.first.weight.data = problem.encoder.first.weight[:, order]
    encoder.mean, encoder.scale = problem.encoder.mean[order], problem.encoder.scale[order]
    permuted = solve(
        problem,
        encoder=encoder,
        groups=[group[:, order.numpy()] for group in problem.groups],
        weights=problem.weights[:, order],
        lower=problem.lower[:, order],
        upper=problem.upper[:, order],
        lam=lam,
    )
    straight = solve(problem, lam=lam)
    for name in ("delta", "gradient"):
        torch.testing.assert_close(getattr(permuted, name), getattr(straight, name)[:, order], rtol=1e-7, atol=1e-7)
    for name in ("flip_rate", "objective", "lam"):
        torch.testing.assert_close(getattr(permuted, name), getattr(straight, name), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("objective", "lam"), [*((objective, 10.0) for objective in OBJECTIVES), ("targeted", None), ("rest", None)]
)
def test_permuting_the_groups_changes_no_contrast(problem, objective, lam):
    """Over few steps: a network is not convex, and many amplify what rounding makes of another order of the sums."""
    order = torch.tensor([2, 0, 3, 1])  # new number -> old number
    number = order.argsort()
    permuted = solve(
        problem,
        clustering=NeuralizedClustering(problem.clustering.prototypes[order], float(problem.clustering.beta)),
        groups=[problem.groups[g] for g in order],
        source=number[problem.source],
        target=number[problem.target],
        objective=objective,
        lam=lam,
    )
    straight = solve(problem, objective=objective, lam=lam)
    for name in ("delta", "gradient", "flip_rate", "objective", "lam"):
        torch.testing.assert_close(getattr(permuted, name), getattr(straight, name), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("lam", [10.0, None])
def test_a_contrast_in_a_batch_is_what_it_is_alone(problem, lam):
    batch = solve(problem, lam=lam)
    for row in range(len(problem.source)):
        alone = solve(problem, slice(row, row + 1), lam=lam)
        for name in ("delta", "gradient", "flip_rate", "objective", "lam"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(batch, name)[row], rtol=1e-7, atol=1e-7)


def test_padding_of_smaller_groups_plays_no_part(problem):
    cells = SourceCells.from_expression(problem.encoder, problem.groups)
    assert cells.preactivation.shape[:2] == (4, max(SIZES))
    batch = solve(problem, cells=cells)
    for row, source in enumerate(problem.source.tolist()):
        unpadded = SourceCells.from_expression(problem.encoder, [problem.groups[source]])
        alone = solve(problem, slice(row, row + 1), cells=unpadded, sources=torch.tensor([0]))
        for name in ("delta", "flip_rate", "objective"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(batch, name)[row], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("lam", [10.0, None])
def test_padding_of_which_the_network_makes_no_number_plays_no_part(problem, lam):
    cells = SourceCells.from_expression(problem.encoder, problem.groups)
    padding = (cells.weight == 0).unsqueeze(-1)
    spoilt = SourceCells(cells.preactivation.masked_fill(padding, torch.nan), cells.weight)
    for name in ("delta", "flip_rate", "objective", "lam"):
        found, expected = (getattr(solve(problem, cells=c, lam=lam), name) for c in (spoilt, cells))
        torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


def test_a_contrast_of_which_the_network_makes_no_number_spoils_no_other(problem):
    groups = [problem.groups[0] * np.nan, *problem.groups[1:]]
    spoilt, whole = solve(problem, groups=groups), solve(problem)
    others = problem.source != 0
    torch.testing.assert_close(spoilt.delta[others], whole.delta[others], rtol=1e-7, atol=1e-7)


def test_a_tie_is_no_flip_where_the_clustering_assigns_the_other():
    clustering = NeuralizedClustering(torch.tensor([[0.0], [1.0], [1.0]]), 1.0)
    scores = clustering.scores(torch.tensor([[[0.9], [0.2]]]))
    for target in (1, 2):
        flipped = _contrast.is_flipped(scores, torch.tensor([0]), torch.tensor([target]), "targeted")
        assert flipped.tolist() == [[target == 1, False]]
    assert clustering.assign(torch.tensor([[0.9]])).item() == 1


def test_source_cells_are_the_first_layer_of_dense_and_sparse_expression(problem):
    groups = [problem.groups[0], sparse.csr_matrix(problem.groups[1]), problem.groups[2], problem.groups[3]]
    cells = SourceCells.from_expression(problem.encoder, groups)
    for g, size in enumerate(SIZES):
        x = torch.tensor(problem.groups[g])
        expected = problem.encoder.first(problem.encoder.standardize(x))
        torch.testing.assert_close(cells.preactivation[g, :size], expected)
        assert cells.weight[g, :size].tolist() == pytest.approx([1 / size] * size)
        assert (cells.weight[g, size:] == 0.0).all()


def test_sources_say_which_row_of_cells_a_contrast_reads(problem):
    straight = solve(problem)
    backwards = SourceCells.from_expression(problem.encoder, problem.groups[::-1])
    mapped = solve(problem, cells=backwards, sources=3 - problem.source)
    torch.testing.assert_close(mapped.delta, straight.delta, rtol=0.0, atol=0.0)


def test_a_path_may_be_given(problem):
    """The default one by its values is the default; the smallest that flips enough is taken, and none is skipped."""
    given, default = (solve(problem, lam=lam) for lam in (_perturb._LAMBDA_PATH, None))
    np.testing.assert_array_equal(given.delta, default.delta)
    np.testing.assert_array_equal(given.lam, default.lam)
    low = solve(problem, lam=[1e-4, *_perturb._LAMBDA_PATH])
    assert (low.lam > 1e-3).all()
    assert (low.flip_rate[low.lam < _perturb._LAMBDA_PATH[-1]] >= 0.95).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_chosen_lambda_flips_enough_and_the_one_before_does_not(problem, objective, monkeypatch):
    weights = 30 * problem.weights
    options = {"objective": objective, "weights": weights, "lam": None, "max_iter": 3}
    chosen = solve(problem, **options)
    path = _perturb._LAMBDA_PATH
    used = sorted({path.index(value) for value in chosen.lam.tolist()})
    assert len(used) > 1
    enough = (chosen.flip_rate >= 0.95) | (chosen.lam == path[-1])
    assert enough.all()
    for last in used[1:]:
        monkeypatch.setattr(_perturb, "_LAMBDA_PATH", path[:last])
        before = solve(problem, **options)
        assert (before.flip_rate[chosen.lam == path[last]] < 0.95).all()


def test_the_wanted_share_is_the_callers(problem):
    half, most = (solve(problem, lam=None, flip_target=share) for share in (0.5, 1.0))
    assert (half.lam <= most.lam).all()
    assert (half.lam < most.lam).any()
    assert ((half.flip_rate >= 0.5) | (half.lam == _perturb._LAMBDA_PATH[-1])).all()


def test_models_solved_are_counted(problem):
    assert [solve(problem, max_iter=n).n_iter for n in (0, 1, 2)] == [0, 1, 2]
    path = solve(problem, lam=None, max_iter=2)
    assert path.n_iter == 2 * (1 + _perturb._LAMBDA_PATH.index(path.lam.max().item()))


@pytest.mark.parametrize("tolerance", [1e-3, 1e-2])
def test_a_contrast_leaves_when_its_objective_is_flat(problem, tolerance):
    long = solve(problem, max_iter=1000, tolerance=tolerance)
    assert long.n_iter < 1000
    again = solve(problem, max_iter=long.n_iter, tolerance=tolerance)
    torch.testing.assert_close(again.delta, long.delta, rtol=0.0, atol=0.0)


def test_a_smaller_tolerance_goes_on_for_longer(problem):
    coarse, fine = (solve(problem, max_iter=1000, tolerance=share) for share in (1e-2, 1e-3))
    assert coarse.n_iter < fine.n_iter
    assert coarse.objective.sum() > fine.objective.sum()


def test_the_same_call_gives_the_same_bits(problem):
    first, second = solve(problem, lam=None), solve(problem, lam=None)
    for name in ("delta", "gradient", "flip_rate", "objective", "lam"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_network_and_arguments_are_left_alone(problem):
    encoder = copy.deepcopy(problem.encoder).requires_grad_(requires_grad=True)
    cells = SourceCells.from_expression(encoder, problem.groups)
    given = [cells.preactivation, cells.weight, problem.weights, problem.lower, problem.upper, *encoder.parameters()]
    before = [values.detach().clone() for values in given]
    solution = solve(problem, encoder=encoder, cells=cells, lam=None)
    assert all(torch.equal(old, new) for old, new in zip(before, given, strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in encoder.parameters())
    assert not any(getattr(solution, n).requires_grad for n in ("delta", "gradient", "flip_rate", "objective", "lam"))


def test_an_unknown_objective_raises(problem):
    with pytest.raises(ValueError, match=r"`objective` must be one of .*'targeted', 'pairwise', 'rest'.* Got 'all'"):
        solve(problem, objective="all")
