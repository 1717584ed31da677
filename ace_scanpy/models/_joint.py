"""Embedding and clustering learnt together (paper, figure 1: the combined objective)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy, mse_loss

from ._prototypes import NeuralizedClustering
from ._sampling import encode
from ._training import BatchPenalty, endless, forward, optimizer_step, seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ._autoencoder import Autoencoder
    from ._sampling import CellSource
    from ._training import Schedule

_MOST_ROUNDS = 30
_STEPS_PER_ROUND = 20
_SETTLED = 1e-3
_WEIGHT = 1.0


def learn_jointly(
    model: Autoencoder,
    source: CellSource,
    centres: NDArray[np.floating],
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    batch: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    r"""Go on training with reconstruction plus the clustering loss, re-estimating the centres (figure 1).

    In each round the clustering loss of a cell is :math:`-\log p_c(z)` (equation 3) of the cluster :math:`c` it had
    at the start of the round, with :math:`\beta` one over the mean squared distance to the centres. It asks
    for cells to be nearer to their own centre than to the others; the distance to their own alone, the loss of
    k-means, shrinks what separates the clusters as well. Rounds go on until fewer than one cell in a thousand changes
    its cluster.

    Returns
    -------
    Latent coordinates, centres and assignments of all cells.
    """
    penalty = BatchPenalty(batch, schedule.device)
    model.to(schedule.device)
    kept = (model.encoder.weight != 0).any(dim=0).float()
    with seeded(rng):
        optimizer = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate)
        stream = endless(source, np.arange(source.n_cells), schedule.batch_size, rng)
        latent = encode(model.encoder, source)
        codes, _ = _assign(latent, centres)
        for _ in range(_MOST_ROUNDS):
            centres = _means(latent, codes, centres)
            codes, distance = _assign(latent, centres)
            beta = 1.0 / max(float(distance.mean()), float(np.finfo(np.float32).eps))
            anchors = torch.tensor(centres, dtype=torch.float32, device=schedule.device)
            clustering = NeuralizedClustering(anchors, beta)
            wanted = torch.from_numpy(codes).to(schedule.device)
            model.train()
            for cells, x in islice(stream, _STEPS_PER_ROUND):
                standardized = model.encoder.standardize(x.to(schedule.device))
                hidden, output = forward(model, standardized, kept)
                clustered = cross_entropy(clustering.scores(hidden), wanted[cells])
                loss = mse_loss(output, standardized) + penalty(hidden, cells) + _WEIGHT * clustered
                optimizer_step(optimizer, loss)
                schedule.progress("learning clusters", _MOST_ROUNDS * _STEPS_PER_ROUND)
            model.eval()
            latent = encode(model.encoder, source)
            before, (codes, _) = codes, _assign(latent, _means(latent, codes, centres))
            if (before != codes).mean() < _SETTLED:
                break
        with torch.no_grad():
            model.encoder.first.weight *= kept
    centres = _means(latent, codes, centres)
    codes, _ = _assign(latent, centres)
    return latent, centres.astype(np.float32), codes


def _assign(
    latent: NDArray[np.floating], centres: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Nearest centre of each cell and the squared distance to it."""
    distances: Tensor = torch.cdist(torch.from_numpy(latent), torch.tensor(centres, dtype=torch.float32)).square()
    nearest = distances.min(dim=1)
    return nearest.indices.numpy(), nearest.values.numpy()


def _means(
    latent: NDArray[np.floating], codes: NDArray[np.intp], centres: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Mean of each cluster; a cluster without cells keeps its centre."""
    moved = np.array(centres, dtype=np.float64)
    for c in np.unique(codes):
        moved[c] = latent[codes == c].mean(axis=0)
    return moved
