"""ACE itself: the smallest perturbation that moves a group of cells, as a ranking of genes (paper, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ..models import SourceCells, perturb
from ._panels import panel_size
from ._shares import coverage_gains, shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..models import Encoder, NeuralizedClustering, Objective
    from ..models._sampling import CellSource

_CELLS = 60
_EPSILON = 0.3
_REACH = 2.5
_WANTED = 0.95
# Steps of refinement, and their width. The solver's own, larger budget changes one gene of the top 18.
_STEPS = 60
_WIDTH = 0.1
_MEMORY = 2**26  # floats

Weights = Literal["adaptive", "uniform"]
Rest = Literal["each", "max"]


@dataclass(frozen=True)
class Contrasts:
    """Which groups are explained, against what.

    Attributes
    ----------
    groups
        The groups to explain.
    n_groups
        Number of groups there are.
    reference
        A single group to compare with, or None for all others.
    rest
        Against all others: ``"each"`` one-vs-one with every other group, or ``"max"``, whichever is nearest
        (equation 8).
    """

    groups: tuple[int, ...]
    n_groups: int
    reference: int | None = None
    rest: Rest = "each"

    @property
    def objective(self) -> Objective:
        """The form of the hinge."""
        return "rest" if self.reference is None and self.rest == "max" else "targeted"

    def others(self, group: int) -> list[int]:
        """The groups that `group` is compared with."""
        if self.reference is not None:
            return [self.reference]
        return [t for t in range(self.n_groups) if t != group]

    def targets(self, group: int) -> list[int]:
        """The target of each contrast of `group`; a single, unused one for equation 8."""
        return self.others(group)[:1] if self.objective == "rest" else self.others(group)


@dataclass(frozen=True)
class Explanation:
    """Per explained group, over the encoder's genes.

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
    """

    scores: NDArray[np.float64]
    marginal: NDArray[np.float64]
    delta: NDArray[np.float64]
    flip_rate: NDArray[np.float64]
    panel_size: NDArray[np.int64]
    lam: NDArray[np.float64]


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
    bounds keep :math:`\delta_i` between 0 and 2.5 times that difference.

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
    parts = []
    for groups in _chunks(contrasts, encoder.n_genes, encoder.width):
        cells = SourceCells.from_expression(encoder, [_sample(source, codes, g, seed) for g in groups])
        parts.append(_explain_chunk(encoder, clustering, cells, groups, means, contrasts, weights, alpha, lam))
    stacked = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Explanation)}
    return Explanation(**stacked)


def _chunks(contrasts: Contrasts, n_genes: int, n_hidden: int) -> list[tuple[int, ...]]:
    """Groups to be solved together, so that the work arrays stay within the memory bound."""
    per_contrast = 8 * _CELLS * n_hidden + 16 * n_genes
    n_contrasts = max(len(contrasts.targets(g)) for g in contrasts.groups)
    size = max(1, _MEMORY // (per_contrast * n_contrasts))
    return [contrasts.groups[i : i + size] for i in range(0, len(contrasts.groups), size)]


def _sample(source: CellSource, codes: NDArray[np.integer], group: int, seed: int) -> object:
    members = np.flatnonzero(codes == group)
    rng = np.random.default_rng([seed, group])
    return source.rows(np.sort(rng.permutation(members)[:_CELLS]))


def _explain_chunk(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    cells: SourceCells,
    groups: Sequence[int],
    means: NDArray[np.floating],
    contrasts: Contrasts,
    weights: Weights,
    alpha: float,
    lam: float | None,
) -> Explanation:
    like = cells.preactivation
    pairs = [(row, g, t) for row, g in enumerate(groups) for t in contrasts.targets(g)]
    rows, source, target = torch.tensor(pairs, device=like.device).T
    lower, upper, difference = _reach(means, contrasts, pairs)
    weight = 1.0 / (difference + _EPSILON) if weights == "adaptive" else np.ones_like(difference)
    solution = perturb(
        encoder,
        clustering,
        cells,
        source,
        target,
        objective=contrasts.objective,
        sources=rows,
        weights=torch.as_tensor(weight).to(like),
        lower=torch.as_tensor(_REACH * lower).to(like),
        upper=torch.as_tensor(_REACH * upper).to(like),
        lam=lam,
        alpha=alpha,
        flip_target=_WANTED,
        max_iter=_STEPS,
        smoothing=(_WIDTH,),
    )
    mine = [(rows == row).cpu() for row in range(len(groups))]
    deltas, gradients, flips, lams = (
        values.cpu().numpy()
        for values in (solution.delta, solution.gradient, solution.flip_rate, solution.lam.double())
    )
    ranked = [_rank(deltas[kept], gradients[kept], weight[kept]) for kept in (m.numpy() for m in mine)]
    scores, marginal, delta = (np.stack(column) for column in zip(*ranked, strict=True))
    sizes = []
    for row, group in enumerate(groups):
        order = np.lexsort((-np.abs(marginal[row]), -np.abs(scores[row])))
        sizes.append(
            panel_size(
                encoder,
                clustering,
                cells.preactivation[row, cells.weight[row] > 0],
                solution.delta[mine[row].to(like.device)],
                torch.from_numpy(order).to(like.device),
                group,
                target[mine[row].to(like.device)],
                contrasts.objective,
                _WANTED,
            )
        )
    return Explanation(
        scores,
        marginal,
        delta,
        flip_rate=np.array([flips[m.numpy()].mean() for m in mine]),
        panel_size=np.array(sizes),
        lam=np.array([lams[m.numpy()].max() for m in mine]),
    )


def _reach(
    means: NDArray[np.floating], contrasts: Contrasts, pairs: Sequence[tuple[int, int, int]]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """How far down and up each gene goes from the source to the target means, and the size of the difference.

    Against the rest as a whole, the range over all other groups, and the difference to their mean.
    """
    lower, upper, size = [], [], []
    for _, group, target in pairs:
        others = contrasts.others(group) if contrasts.objective == "rest" else [target]
        difference = means[others] - means[group]
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
