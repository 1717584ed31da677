"""Embedding and clustering learnt together (paper, figure 1: the combined objective)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import mse_loss

from ._sampling import encode
from ._training import BatchPenalty, endless, optimizer_step, seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ._autoencoder import Autoencoder
    from ._sampling import CellSource
    from ._training import Schedule

_MOST_ROUNDS = 30
_STEPS_PER_ROUND = 20
_SETTLED = 1e-3
_WEIGHT = 0.1


def learn_jointly(
    model: Autoencoder,
    source: CellSource,
    centres: NDArray[np.floating],
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    batch: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.intp]]:
    r"""Go on training with reconstruction plus the k-means loss (equations 1 to 3), re-estimating the centres.

    In each round the k-means loss is :math:`\beta\,o_c(z)`, with :math:`\beta` one over the mean squared distance to
    the centres at its start, so that its weight does not depend on the scale of the latent space. Rounds go on
    until fewer than one cell in a thousand changes its cluster.

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
            model.train()
            for cells, x in islice(stream, _STEPS_PER_ROUND):
                standardized = model.encoder.standardize(x.to(schedule.device))
                hidden, output = model(standardized, kept)
                spread = (hidden - anchors[codes[cells]]).square().sum(dim=1).mean()
                loss = mse_loss(output, standardized) + penalty(hidden, cells) + _WEIGHT * beta * spread
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
