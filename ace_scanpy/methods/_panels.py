"""How many genes of a ranking are enough to move a group of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..models import is_flipped

if TYPE_CHECKING:
    from torch import Tensor

    from ..models import Encoder, NeuralizedClustering, Objective

_BLOCK = 16


@torch.no_grad()
def panel_size(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    cells: Tensor,
    deltas: Tensor,
    order: Tensor,
    source: int,
    targets: Tensor,
    objective: Objective,
    wanted: float,
) -> int:
    """Length of the shortest prefix of the ranking whose perturbation, cut to it and not refitted, is enough.

    Enough is: in every contrast at least the wanted share of the cells flips.

    Parameters
    ----------
    encoder, clustering
        The explained network.
    cells
        Pre-activations of the group's cells, shape ``(n_cells, width)``.
    deltas
        One perturbation per contrast, shape ``(n_targets, n_genes)``.
    order
        Genes from most to least important.
    source, targets
        The group, and the target of each contrast.
    objective
        What counts as flipped, as in :func:`ace_scanpy.models.perturb`.
    wanted
        Share of cells in (0, 1].

    Returns
    -------
    The number of genes, or 0 when no prefix is enough.
    """
    moved_at = (deltas[:, order] != 0).any(dim=0).nonzero()
    if not len(moved_at):
        return 0
    n_moved = int(moved_at[-1]) + 1  # longer prefixes move nothing more
    used = order[:n_moved]
    place = torch.full_like(order, n_moved)
    place[used] = torch.arange(n_moved, device=order.device)
    everywhere = torch.full_like(targets, source)

    def rates(contrast: int, prefixes: Tensor) -> Tensor:
        cut = deltas[contrast] * (place <= prefixes.unsqueeze(1))
        moved = encoder.tail(cells + encoder.shift(cut).unsqueeze(1))
        one = slice(contrast, contrast + 1)
        flips = is_flipped(clustering.scores(moved).flatten(0, 1)[None], everywhere[one], targets[one], objective)
        return flips.view(len(prefixes), len(cells)).float().mean(dim=1)

    final = torch.tensor([n_moved - 1], device=cells.device)
    hardest_first = sorted(range(len(targets)), key=lambda t: float(rates(t, final)))
    for first in range(0, n_moved, _BLOCK):
        enough = torch.arange(first, min(first + _BLOCK, n_moved), device=cells.device)
        for contrast in hardest_first:
            enough = enough[rates(contrast, enough) >= wanted]
            if not len(enough):
                break
        if len(enough):
            return int(enough[0]) + 1
    return 0
