"""A network that reproduces an embedding which has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import mse_loss

from ._autoencoder import drop
from ._sampling import as_tensor
from ._training import half_precision, sample_to_start, seeded, split, until_flat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ._autoencoder import NetworkEncoder
    from ._sampling import CellSource
    from ._training import Schedule

_DROPOUT = 0.3


def distill(
    encoder: NetworkEncoder,
    source: CellSource,
    coordinates: NDArray[np.float32],
    schedule: Schedule,
    rng: np.random.Generator,
) -> tuple[dict[str, NDArray[np.float64]], float]:
    r"""Train an encoder to give each cell its coordinates.

    It starts as a PCA, drops out a share .3 of the genes as the autoencoder does, for the same reason, and stops when
    the loss of held-out cells is flat. Errors are in units of the coordinates' overall variance.

    Parameters
    ----------
    encoder
        Changed in place; its latent space is that of `coordinates`.
    source
        Cells by genes.
    coordinates
        Shape ``(n_cells, n_latent)``.
    schedule
        How long and how fast to train.
    rng
        For the split and the minibatches.

    Returns
    -------
    Loss history, and the :math:`R^2` of the held-out cells: one minus their
    squared errors over their squared distances to the mean. It is that of all cells where there are fewer
    than 10.
    """
    centre = coordinates.mean(axis=0)
    unit = max(float(np.sqrt(coordinates.var(axis=0).mean())), float(np.finfo(np.float32).tiny))
    wanted = torch.from_numpy((coordinates - centre) / unit)
    with seeded(rng):
        held_out, seen = split(source, rng)
        sample, judged = sample_to_start(source, seen), np.sort(held_out if len(held_out) else seen)
        start = encoder.standardize(as_tensor(source.dense(sample)))
        encoder.start_from_principal_components(start)
        encoder.start_from_regression(start, wanted[sample])
        encoder.to(schedule.device)
        wanted = wanted.to(schedule.device)
        unseen = encoder.standardize(as_tensor(source.dense(judged)).to(schedule.device))

        def error(cells: NDArray[np.intp], x: Tensor) -> tuple[Tensor, float]:
            standardized = drop(encoder.standardize(x.to(schedule.device)), _DROPOUT)
            with half_precision(schedule.device):
                latent = encoder.tail(encoder.from_standardized(standardized))
            return mse_loss(latent.float(), wanted[cells]), 0.0

        def judge() -> float:
            return float(mse_loss(encoder.tail(encoder.from_standardized(unseen)), wanted[judged]))

        loss = until_flat(encoder, source, seen, schedule, rng, error, judge)
    spread = float(wanted[judged].var(dim=0, correction=0).mean())
    r2 = 1.0 - loss["held_out"][-1] / spread if spread > 0 else np.nan
    encoder.to("cpu").rescale(torch.tensor(unit), torch.from_numpy(centre))
    return loss, float(r2)
