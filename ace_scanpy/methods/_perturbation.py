"""ACE itself: the smallest perturbation that moves a group of cells, as a ranking of genes (paper, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import torch
from scipy import sparse

from .. import _pool
from ..models import SourceCells, perturb
from ._contrasts import Pairs, distances
from ._panels import Prefixes, panel_size
from ._shares import coverage_gains, shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..models import Encoder, NeuralizedClustering
    from ..models._sampling import CellSource
    from ._contrasts import Contrasts

# Cells of a group: the more groups there are, the fewer, down to a third.
_MOST, _FEWEST = 60, 20
_IN_ALL = 60_000
_EPSILON = 0.3
_REACH = 2.5
WANTED = 0.95
"""Share of the cells that has to flip in every contrast."""
# Linear models for each lambda, at most. With 60, to the optimum, one gene in fifty of the top 18 of PBMC3k is another.
_MODELS = 4
_TOLERANCE = 3e-3
_RIDGE = 0.3  # in units in which a unit of a weighted change costs 1
_MEMORY = 2**25  # floats

Weights = Literal["adaptive", "uniform"]
Values = TypeVar("Values", "NDArray[np.floating]", "torch.Tensor")


@dataclass(frozen=True)
class Explanation:
    """Per row of the contrasts, over the encoder's genes.

    Attributes
    ----------
    scores
        Signed scores, positive for enriched, shape ``(n_groups, n_genes)``.
    marginal
        For genes with score 0, how near they are to entering, signed likewise.
    delta
        Perturbation in units of the gene's scale, the mean over contrasts.
    flip_rate
        Share of the sampled cells that it moves, the mean over contrasts.
    panel_size
        Genes that are enough to flip 95 % of the sampled cells in every contrast; 0 when none are.
    lam
        Largest trade-off used, over the group's contrasts.
    pairs
        Each contrast by itself; None for equation 8, which has no target.
    """

    scores: NDArray[np.float64]
    marginal: NDArray[np.float64]
    delta: NDArray[np.float64]
    flip_rate: NDArray[np.float64]
    panel_size: NDArray[np.int64]
    lam: NDArray[np.float64]
    pairs: Pairs | None


def explain(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    source: CellSource,
    codes: NDArray[np.integer],
    means: NDArray[np.floating],
    contrasts: Contrasts,
    seed: int,
    *,
    weights: Weights = "adaptive",
    alpha: float = 1.0,
    lam: float | None = None,
) -> Explanation:
    r"""Perturb a sample of each group's cells and rank the genes by what they add.

    Two things keep :math:`\delta` on differences that the data show. Adaptive weights
    :math:`w_i=1/(|\bar x_{ti}-\bar x_{si}|+\epsilon)` make a change cheap where the groups differ, and
    bounds keep :math:`\delta_i` between 0 and 2.5 times that difference. An elastic net lets genes that would do nearly
    as well as another share its change.

    Parameters
    ----------
    encoder, clustering
        The network to explain.
    source
        Cells by genes.
    codes
        Group of each cell.
    means
        Mean standardised expression per group, shape ``(n_groups, n_genes)``.
    contrasts
        What to explain against what.
    seed
        For the sample of cells; each group has its own stream, so that explaining fewer groups changes nothing else.
    weights
        ``"adaptive"``, or ``"uniform"`` as in the paper.
    alpha, lam
        As in the paper.
    """
    chunks = []
    for rows in _chunks(contrasts, encoder.n_genes, encoder.width):
        sampled = [sample(source, codes, contrasts.groups[row], seed) for row in rows]
        chunks.append((rows, SourceCells.from_expression(encoder, sampled)))
    parts = _pool.each(
        lambda chunk: _explain_chunk(encoder, clustering, *chunk, means, contrasts, weights, alpha, lam), chunks
    )
    per_row = [f.name for f in fields(Explanation) if f.name != "pairs"]
    stacked = {name: np.concatenate([getattr(part, name) for part in parts]) for name in per_row}
    pairs = [part.pairs for part in parts if part.pairs is not None]
    return Explanation(**stacked, pairs=Pairs.joined(pairs) if pairs else None)


def effort(n_groups: int) -> int:
    """Cells that stand for a group: 60; from 33 groups on fewer, and 20 from 54 on.

    Each group against each other, 60,000 cells are moved at a time and no more, as far as 20 are left of each.
    """
    return int(np.clip(_IN_ALL // (n_groups * (n_groups - 1)), _FEWEST, _MOST))


def _chunks(contrasts: Contrasts, n_genes: int, n_hidden: int) -> list[range]:
    """Rows to be solved together, so that the work arrays of each thread stay within the memory bound."""
    per_contrast = 8 * effort(contrasts.n_groups) * n_hidden + 16 * n_genes
    n_rows = len(contrasts.groups)
    n_contrasts = max(len(contrasts.targets(row)) for row in range(n_rows))
    size = max(1, _MEMORY // (per_contrast * n_contrasts))
    return [range(i, min(i + size, n_rows)) for i in range(0, n_rows, size)]


def sample(source: CellSource, codes: NDArray[np.integer], group: int, seed: int) -> object:
    """Expression of the cells that stand for a group: at most 60, see `effort`, the same ones for the same seed."""
    members = np.flatnonzero(codes == group)
    rng = np.random.default_rng([seed, group])
    return source.rows(np.sort(rng.permutation(members)[: effort(int(codes.max()) + 1)]))


def _explain_chunk(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    rows: Sequence[int],
    cells: SourceCells,
    means: NDArray[np.floating],
    contrasts: Contrasts,
    weights: Weights,
    alpha: float,
    lam: float | None,
) -> Explanation:
    like = cells.preactivation
    asked = [(i, row, t) for i, row in enumerate(rows) for t in contrasts.targets(row)]
    place, row, target = np.array(asked).T
    source = np.array(contrasts.groups)[row]
    lower, upper, difference = _reach(means, contrasts, row, target)
    weight = adaptive_weights(difference) if weights == "adaptive" else np.ones_like(difference)
    solution = perturb(
        encoder,
        clustering,
        cells,
        torch.from_numpy(source).to(like.device),
        torch.from_numpy(target).to(like.device),
        objective=contrasts.objective,
        sources=torch.from_numpy(place).to(like.device),
        weights=torch.as_tensor(weight).to(like),
        lower=torch.as_tensor(_REACH * lower).to(like),
        upper=torch.as_tensor(_REACH * upper).to(like),
        lam=lam,
        alpha=alpha,
        flip_target=WANTED,
        max_iter=_MODELS,
        tolerance=_TOLERANCE,
        ridge=_RIDGE,
    )
    mine = [np.flatnonzero(place == i) for i in range(len(rows))]
    deltas, gradients, flips, lams = (
        values.cpu().numpy()
        for values in (solution.delta, solution.gradient, solution.flip_rate, solution.lam.cpu().double())
    )
    ranked = [_rank(deltas[kept], gradients[kept], weight[kept]) for kept in mine]
    scores, marginal, delta = (np.stack(column) for column in zip(*ranked, strict=True))
    sizes = []
    for i, kept in enumerate(mine):
        order = np.lexsort((-np.abs(marginal[i]), -np.abs(scores[i].astype(np.float32))))  # as stored
        prefixes = Prefixes(
            encoder,
            clustering,
            cells.preactivation[i, cells.weight[i] > 0],
            solution.delta[torch.from_numpy(kept).to(like.device)],
            torch.from_numpy(order).to(like.device),
            contrasts.groups[rows[i]],
            torch.from_numpy(target[kept]).to(like.device),
            contrasts.objective,
        )
        sizes.append(panel_size(prefixes, WANTED))
    return Explanation(
        scores,
        marginal,
        delta,
        flip_rate=np.array([flips[kept].mean() for kept in mine]),
        panel_size=np.array(sizes),
        lam=np.array([lams[kept].max() for kept in mine]),
        pairs=None
        if contrasts.objective == "rest"
        else Pairs(row, target, sparse.csr_matrix(deltas), flips.astype(float), distances(clustering)),
    )


def adaptive_weights(difference: Values) -> Values:
    """Weights that make a change cheap where groups differ, from the size of the difference of their means."""
    return 1.0 / (difference + _EPSILON)


def _reach(
    means: NDArray[np.floating], contrasts: Contrasts, rows: NDArray[np.intp], targets: NDArray[np.intp]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """How far down and up each gene goes from the source to the target means, and the size of the difference.

    Against the rest as a whole, the range over all other groups, and the difference to their mean.
    """
    lower, upper, size = [], [], []
    for row, target in zip(rows.tolist(), targets.tolist(), strict=True):
        others = contrasts.others(row) if contrasts.objective == "rest" else [target]
        difference = means[others] - means[contrasts.groups[row]]
        lower.append(np.minimum(difference.min(axis=0), 0.0))
        upper.append(np.maximum(difference.max(axis=0), 0.0))
        size.append(np.abs(difference.mean(axis=0)))
    return np.stack(lower), np.stack(upper), np.stack(size)


def _rank(
    delta: NDArray[np.floating], gradient: NDArray[np.floating], weight: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Signed scores, signed tie-break and mean perturbation of one group from its contrasts."""
    share = shares(np.abs(delta))
    sign = -np.sign((share * np.sign(delta)).sum(axis=0))
    marginal = (np.sign(gradient) * shares(np.abs(gradient) / weight)).mean(axis=0)
    sign = np.where(sign == 0, np.where(marginal < 0, -1.0, 1.0), sign)
    scores = np.asarray(sign * coverage_gains(share) + 0.0)  # + 0.0: no negative zeros
    return scores, marginal, delta.mean(axis=0)
