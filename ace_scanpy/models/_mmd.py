"""Maximum mean discrepancy between batches (paper, the term Omega of equation 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_FEWEST_CELLS = 2


def mmd(latent: Tensor, batch: Tensor, reference: int = 0) -> Tensor:
    r"""Mean squared MMD of every batch to the reference batch.

    .. math:: \mathrm{MMD}^2(A, B) = \overline{k(A, A)} + \overline{k(B, B)} - 2\,\overline{k(A, B)}

    with the mean of Gaussian kernels of several widths around the mean squared distance
    between cells (held fixed in the gradient, so that the penalty cannot be lowered by
    shrinking the space). Each kernel lies in (0, 1], so the value lies in [0, 2].

    Parameters
    ----------
    latent
        Cells, shape ``(n, n_latent)``.
    batch
        Batch of each cell, whole numbers, shape ``(n,)``.
    reference
        The batch the others are compared with. When fewer than two of its cells are present,
        the largest batch present takes its place.

    Returns
    -------
    A scalar; zero, with zero gradient, when fewer than two batches have two cells or more.

    Examples
    --------
    >>> import torch
    >>> from ace_scanpy.models import mmd
    >>> cells = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    >>> mmd(cells, torch.tensor([0, 0, 1, 1]))
    tensor(0.)
    """
    present, sizes = batch.unique(return_counts=True)
    enough = sizes >= _FEWEST_CELLS
    present, sizes = present[enough], sizes[enough]
    if len(present) < 2:
        return (latent * 0.0).sum()
    if reference not in present:
        reference = int(present[sizes.argmax()])
    distances = torch.cdist(latent, latent, compute_mode="donot_use_mm_for_euclid_dist").square()
    width = distances.detach().mean().clamp_min(torch.finfo(latent.dtype).tiny)
    kernel = torch.stack([torch.exp(-distances / (h * width)) for h in _BANDWIDTHS]).mean(dim=0)
    indicator = (batch[:, None] == present).to(latent.dtype)
    weights = indicator / indicator.sum(dim=0)
    means = weights.T @ kernel @ weights
    own = means.diagonal()
    r = int((present == reference).nonzero())
    others = torch.arange(len(present), device=latent.device) != r
    return (own + own[r] - 2 * means[r])[others].mean()
