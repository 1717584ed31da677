"""Prototypes for given labels: the group means, or several per group where groups are not round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.cluster import KMeans
from torch.nn.functional import cross_entropy

from ._prototypes import NeuralizedClustering, layer, pool
from ._training import from_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

_PER_GROUP = (1, 2, 5, 10)
_CELLS_PER_PROTOTYPE = 10
_MOST_CELLS = 16_384
_HELD_OUT = 0.25
_MOST_STEPS = 30


@dataclass(frozen=True)
class Neuralized:
    """Labels as a small network.

    Attributes
    ----------
    clustering
        The network.
    held_out
        Share of cells, of a quarter that the prototypes had not seen, that are assigned their label; None where the
        group means were enough. Number and training of the prototypes are chosen by the same quarter, so that new cells
        fare slightly worse.
    """

    clustering: NeuralizedClustering
    held_out: float | None


@dataclass(frozen=True)
class _Cells:
    """Some labelled cells."""

    latent: Tensor
    codes: Tensor

    def __getitem__(self, rows: NDArray[np.intp]) -> _Cells:
        return _Cells(self.latent[rows], self.codes[rows])

    def fidelity(self, clustering: NeuralizedClustering) -> float:
        """Share of the cells that are assigned their label."""
        return float((clustering.assign(self.latent) == self.codes).double().mean())

    def error(self, clustering: NeuralizedClustering) -> float:
        """Cross-entropy of the soft assignment."""
        return float(cross_entropy(clustering.scores(self.latent), self.codes))


@dataclass(frozen=True)
class _Trial:
    """So many prototypes per group, 0 for the means: their steps, and fidelity on cells fitted to and on others."""

    number: int
    steps: int
    seen: float
    unseen: float


def sample(codes: NDArray[np.integer], seed: int) -> NDArray[np.intp]:
    """The cells that prototypes are fitted to and judged by, sorted: those with a label, or 16,384 of them.

    Half of the sample is spread evenly over the groups, half as the cells are.
    """
    labelled = np.flatnonzero(codes >= 0)
    if len(labelled) <= _MOST_CELLS:
        return labelled
    order = np.random.default_rng(seed).permutation(labelled)
    share, n_groups = _MOST_CELLS / 2 / len(labelled), int(codes.max()) + 1
    return np.sort(
        np.concatenate(
            [
                members[: max(1, int(share * len(members)) + _MOST_CELLS // 2 // n_groups)]
                for members in (order[codes[order] == group] for group in range(n_groups))
            ]
        )
    )


def neuralize(
    latent: NDArray[np.floating],
    codes: NDArray[np.integer],
    *,
    beta: float | None = None,
    min_fidelity: float = 0.98,
    seed: int = 0,
) -> Neuralized:
    r"""Prototypes whose nearest-prototype assignment reproduces the labels.

    The paper's group means where they give `min_fidelity` of the cells their label. Otherwise 1, 2, 5 or 10
    prototypes per group, started by k-means within the group and moved down the cross-entropy of the soft assignment
    (equation 4; robust soft learning vector quantisation, Seo and Obermayer 2003) until that rises for cells held out
    and `min_fidelity` of the others have their label. Numbers are not tried any more once the held-out cells gain so
    little by them that `min_fidelity` is out of reach.

    Their number is the smallest that reaches `min_fidelity` on the cells held out. Where none does, because the labels
    do not follow from the latent coordinates, it is the smallest that reaches it on the cells it is fitted to, and
    where none does that either, the smallest, which may be the means; both among those that are worse on the cells held
    out than the best by one standard error at most. All cells, or a sample of 16,384, are then fitted.

    Parameters
    ----------
    latent
        Shape ``(n_cells, n_latent)``.
    codes
        Group of each cell, from 0; cells with a negative code are left out.
    beta
        :math:`\beta`; None for one over the mean squared distance of cells to the prototype of their group, of several
        the nearest.
    min_fidelity
        Wanted share of cells whose assignment is their label; 0 for the group means whatever they give.
    seed
        Of the split and of k-means.
    """
    z = torch.from_numpy(np.asarray(latent, dtype=np.float32)[codes >= 0])
    cells = _Cells(z, torch.from_numpy(codes[codes >= 0].astype(np.int64)))
    means = from_labels(cells.latent, cells.codes, beta)
    if cells.fidelity(means) >= min_fidelity:
        return Neuralized(means, None)
    held_out, kept = _split(cells.codes.numpy(), seed)
    if not len(held_out):  # no group has four cells: nothing to choose by
        return Neuralized(means, None)
    seen, unseen = cells[kept], cells[held_out]
    of_seen = from_labels(seen.latent, seen.codes, beta)
    tried = [_Trial(0, 0, seen.fidelity(of_seen), unseen.fidelity(of_seen))]
    for number in _PER_GROUP:
        tried.append(_try(number, seen, unseen, min_fidelity, seed))
        if tried[-1].unseen >= min_fidelity or _is_hopeless(tried, min_fidelity, len(held_out)):
            break
    both = cells[np.sort(np.concatenate([held_out, kept]))]
    for trial in _choose(tried, min_fidelity, len(held_out)):
        clustering = means if trial.number == 0 else _refit(trial, both, beta, min_fidelity, seed)
        if both.fidelity(clustering) >= min_fidelity:
            break
    return Neuralized(clustering, trial.unseen)


def _split(codes: NDArray[np.integer], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A quarter of each group's cells, and the rest, of a sample of bounded size; every group keeps a cell."""
    order = np.random.default_rng(seed).permutation(sample(codes, seed))
    held_out, kept = [], []
    for group in range(int(codes.max()) + 1):
        members = order[codes[order] == group]
        n_held_out = int(_HELD_OUT * len(members))
        held_out.append(members[:n_held_out])
        kept.append(members[n_held_out:])
    return np.concatenate(held_out), np.concatenate(kept)


def _try(number: int, seen: _Cells, unseen: _Cells, wanted: float, seed: int) -> _Trial:
    """Fit until the error on the cells held out rises, and the wanted share of the others have their label."""
    lowest = np.inf

    def enough(network: NeuralizedClustering, _steps: int) -> bool:
        nonlocal lowest
        error = unseen.error(network)
        rises, lowest = error >= lowest, min(error, lowest)
        return rises and seen.fidelity(network) >= wanted

    clustering, steps = _fit(seen, number, seed, enough)
    return _Trial(number, steps, seen.fidelity(clustering), unseen.fidelity(clustering))


def _is_hopeless(tried: list[_Trial], wanted: float, n_held_out: int) -> bool:
    """Whether, from two prototypes on, even the last rise and a standard error at each step left would not reach it."""
    *_, before, last = tried
    left = len(_PER_GROUP) - _PER_GROUP.index(last.number) - 1
    rise = max(last.unseen - before.unseen, 0.0) + _standard_error(last.unseen, n_held_out)
    return last.number > _PER_GROUP[0] and last.unseen + left * rise < wanted


def _standard_error(share: float, n: int) -> float:
    return float(np.sqrt(share * (1 - share) / max(n, 1)))


def _choose(tried: list[_Trial], wanted: float, n_held_out: int) -> list[_Trial]:
    """The number of prototypes to take, and those to try where it is not enough for all cells; see `neuralize`."""
    best = max(tried, key=lambda trial: trial.unseen)
    if best.unseen >= wanted:
        return [best]
    least = best.unseen - _standard_error(best.unseen, n_held_out)
    as_good = [trial for trial in tried if trial.unseen >= least]
    return [trial for trial in as_good if trial.seen >= wanted] or as_good[:1]


def _refit(trial: _Trial, cells: _Cells, beta: float | None, wanted: float, seed: int) -> NeuralizedClustering:
    """As many prototypes on all cells, for as many steps, and for more until the wanted share have their label."""

    def enough(network: NeuralizedClustering, steps: int) -> bool:
        return steps >= trial.steps and cells.fidelity(network) >= wanted

    found, _ = _fit(cells, trial.number, seed, enough)
    if beta is None:
        beta = 1.0 / _spread(cells, found.prototypes, found.groups)
    return NeuralizedClustering(found.prototypes, beta, found.groups, float(found.sharpness))


def _fit(
    cells: _Cells, number: int, seed: int, enough: Callable[[NeuralizedClustering, int], bool]
) -> tuple[NeuralizedClustering, int]:
    r"""So many prototypes per group moved down the cross-entropy by L-BFGS until it is `enough`, and the steps taken.

    :math:`\beta=\gamma` is learnt too.
    """
    start, owner = _start(cells, number, seed)
    typical = _spread(cells, start, owner)
    # From the mean, in units of the distance of a cell to its prototype: prototypes and sharpness are then of one size.
    origin, unit, n_groups = cells.latent.mean(dim=0), typical**0.5, int(owner[-1]) + 1
    latent, first = (((z - origin) / unit).double() for z in (cells.latent, start))

    def unpack(parameters: Tensor) -> tuple[Tensor, Tensor]:
        return parameters[:-1].view_as(first), parameters[-1].exp()

    def error(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        at = torch.from_numpy(parameters).requires_grad_()
        prototypes, sharpness = unpack(at)
        weight, bias = layer(prototypes, owner, sharpness)
        value = cross_entropy(pool(latent @ weight.T + bias, n_groups), cells.codes)
        return float(value.detach()), torch.autograd.grad(value, at)[0].numpy()

    def network(parameters: NDArray[np.float64]) -> NeuralizedClustering:
        prototypes, sharpness = unpack(torch.from_numpy(parameters))
        return NeuralizedClustering((prototypes * unit).float() + origin, float(sharpness) / typical, owner)

    def moved(parameters: NDArray[np.float64]) -> None:
        reached.append(network(parameters))
        if enough(reached[-1], len(reached) - 1):
            raise StopIteration

    begin = np.append(first.numpy(), 0.0)
    reached = [network(begin)]
    minimize(error, begin, jac=True, method="L-BFGS-B", callback=moved, options={"maxiter": _MOST_STEPS})
    return reached[-1], len(reached) - 1


def _spread(cells: _Cells, prototypes: Tensor, owner: Tensor) -> float:
    """Mean squared distance of cells to the nearest prototype of their group, positive."""
    apart = torch.cdist(cells.latent, prototypes).square().masked_fill(cells.codes[:, None] != owner, torch.inf)
    return max(float(apart.min(dim=1).values.mean()), torch.finfo(apart.dtype).eps)


def _start(cells: _Cells, number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres of k-means within each group, fewer for small groups, and the group of each; the mean itself for one."""
    centres, owners = [], []
    for group in range(int(cells.codes.max()) + 1):
        members = cells.latent[cells.codes == group].numpy()
        here = max(1, min(number, len(members) // _CELLS_PER_PROTOTYPE))
        kmeans = KMeans(here, n_init=1, random_state=seed % 2**32)
        centres.append(kmeans.fit(members).cluster_centers_ if here > 1 else members.mean(axis=0, keepdims=True))
        owners += [group] * here
    return torch.from_numpy(np.concatenate(centres)), torch.tensor(owners)
