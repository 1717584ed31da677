"""Prototypes for given labels: the group means, or several per group where groups are not round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch.nn.functional import cross_entropy

from ._prototypes import NeuralizedClustering, layer, pool
from ._training import from_labels, optimizer_step

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_PER_GROUP = (1, 2, 5, 10)
_CELLS_PER_PROTOTYPE = 10
_MOST_CELLS = 16_384
_HELD_OUT = 0.25
_STEPS = 200
_BATCH = 512
_RATE = 0.05  # of Adam, in units of the typical distance of a cell to its prototype
_SHARPNESS_RATE = 0.02


@dataclass(frozen=True)
class Neuralized:
    """Labels as a small network.

    Attributes
    ----------
    clustering
        The network.
    held_out
        Share of cells, of a quarter that the prototypes had not seen, that are assigned their label; NaN with the group
        means, which are not fitted to the assignment.
    """

    clustering: NeuralizedClustering
    held_out: float


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
    (equation 4; robust soft learning vector quantisation, Seo and Obermayer 2003). Their number is the smallest that
    reaches `min_fidelity` on cells held out; where none does, because the labels do not follow from the latent
    coordinates, the smallest that reaches it on the cells it was fitted to without being worse on the held-out ones
    than the best number by more than one standard error; or else that best number.

    Parameters
    ----------
    latent
        Shape ``(n_cells, n_latent)``.
    codes
        Group of each cell, from 0; cells with a negative code are left out.
    beta
        :math:`\beta`; None for one over the mean squared distance of cells to the nearest prototype of their group,
        which several prototypes take as a start and learn.
    min_fidelity
        Wanted share of cells whose assignment is their label; 0 for the group means whatever they give.
    seed
        Of the split, of k-means and of the minibatches.
    """
    z = torch.from_numpy(np.asarray(latent, dtype=np.float32)[codes >= 0])
    labels = torch.from_numpy(codes[codes >= 0].astype(np.int64))
    means = from_labels(z, labels, beta)
    if fidelity(means, z, labels) >= min_fidelity:
        return Neuralized(means, float("nan"))
    rng = np.random.default_rng(seed)
    held_out, kept = _split(labels.numpy(), rng)
    tried: list[tuple[int, float, float]] = []
    for number in _PER_GROUP:
        clustering = _fit(z[kept], labels[kept], number, beta, seed)
        tried.append(
            (number, fidelity(clustering, z[kept], labels[kept]), fidelity(clustering, z[held_out], labels[held_out]))
        )
        if tried[-1][2] >= min_fidelity:
            break
    number, _, unseen = _choose(tried, min_fidelity, len(held_out))
    sample = np.sort(np.concatenate([held_out, kept]))
    return Neuralized(_fit(z[sample], labels[sample], number, beta, seed), unseen)


def fidelity(clustering: NeuralizedClustering, latent: Tensor, codes: Tensor) -> float:
    """Share of cells that are assigned their label."""
    return float((clustering.assign(latent) == codes).double().mean())


def _split(codes: NDArray[np.integer], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """A quarter of each group's cells, and the rest, of a sample of bounded size; every group keeps a cell."""
    order = rng.permutation(len(codes))
    n_groups = int(codes.max()) + 1
    held_out, kept = [], []
    for group in range(n_groups):
        members = order[codes[order] == group]
        members = members[: max(_MOST_CELLS // n_groups, _MOST_CELLS * len(members) // len(codes))]
        n_held_out = int(_HELD_OUT * len(members))
        held_out.append(members[:n_held_out])
        kept.append(members[n_held_out:])
    return np.concatenate(held_out), np.concatenate(kept)


def _choose(tried: list[tuple[int, float, float]], wanted: float, n_held_out: int) -> tuple[int, float, float]:
    """Which number of prototypes to take; see `neuralize`."""
    best = max(tried, key=lambda t: t[2])
    if best[2] >= wanted:
        return best
    error = np.sqrt(best[2] * (1 - best[2]) / max(n_held_out, 1))
    enough = [t for t in tried if t[1] >= wanted and t[2] >= best[2] - error]
    return enough[0] if enough else best


def _fit(latent: Tensor, codes: Tensor, number: int, beta: float | None, seed: int) -> NeuralizedClustering:
    """So many prototypes per group, fewer for small groups, moved down the cross-entropy."""
    centres, groups = [], []
    for group in range(int(codes.max()) + 1):
        members = latent[codes == group].numpy()
        here = max(1, min(number, len(members) // _CELLS_PER_PROTOTYPE))
        centres.append(_centres(members, here, seed))
        groups += [group] * here
    owner = torch.tensor(groups)
    start = torch.from_numpy(np.concatenate(centres))
    origin = latent.mean(dim=0)
    apart = torch.cdist(latent, start).square().masked_fill(codes[:, None] != owner, torch.inf)
    typical = max(float(apart.min(dim=1).values.mean()), torch.finfo(latent.dtype).eps)
    moved = (start - origin).requires_grad_()
    sharpness = torch.tensor(-np.log(typical) if beta is None else np.log(beta), dtype=latent.dtype)
    parameters = [{"params": [moved], "lr": _RATE * typical**0.5}]
    if beta is None:
        parameters.append({"params": [sharpness.requires_grad_()], "lr": _SHARPNESS_RATE})
    optimizer = torch.optim.Adam(parameters)
    slowing = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / _STEPS)
    rng = np.random.default_rng(seed)
    for _ in range(_STEPS):
        cells = torch.from_numpy(rng.integers(len(latent), size=min(_BATCH, len(latent))))
        weight, bias = layer(moved, owner, sharpness.exp())
        each = (latent[cells] - origin) @ weight.T + bias
        optimizer_step(optimizer, cross_entropy(pool(each, groups[-1] + 1), codes[cells]))
        slowing.step()
    return NeuralizedClustering(moved.detach() + origin, float(sharpness.detach().exp()), owner)


def _centres(members: NDArray[np.float32], number: int, seed: int) -> NDArray[np.float32]:
    """Centres of k-means; the mean itself for one."""
    if number == 1:
        return members.mean(axis=0, keepdims=True)
    return KMeans(number, n_init=1, random_state=seed % 2**32).fit(members).cluster_centers_
