"""How many genes of a ranking are enough to move a group of cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from ..models import is_flipped

if TYPE_CHECKING:
    from torch import Tensor

    from ..models import Encoder, NeuralizedClustering, Objective

_BLOCK = 16


@dataclass(frozen=True)
class Prefixes:
    """The perturbations of one group, cut to the first genes of a ranking and not refitted.

    Attributes
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
    """

    encoder: Encoder
    clustering: NeuralizedClustering
    cells: Tensor
    deltas: Tensor
    order: Tensor
    source: int
    targets: Tensor
    objective: Objective

    @property
    def n_moved(self) -> int:
        """Length of the longest prefix that differs from the one before: later genes move nothing."""
        moved_at = (self.deltas[:, self.order] != 0).any(dim=0).nonzero()
        return int(moved_at[-1]) + 1 if len(moved_at) else 0

    @cached_property
    def _place(self) -> Tensor:
        """Place of each gene in the order."""
        return self.order.argsort()

    @torch.no_grad()
    def rates(self, contrast: int, sizes: Tensor) -> Tensor:
        """Share of the cells that prefixes of these sizes flip in one contrast."""
        cut = self.deltas[contrast] * (self._place < sizes.unsqueeze(1))
        moved = self.encoder.tail(self.cells + self.encoder.shift(cut).unsqueeze(1))
        scores = self.clustering.scores(moved).flatten(0, 1)[None]
        source = torch.full_like(self.targets[:1], self.source)
        flips = is_flipped(scores, source, self.targets[contrast : contrast + 1], self.objective)
        return flips.view(len(sizes), len(self.cells)).float().mean(dim=1)

    def worst(self, sizes: Tensor) -> Tensor:
        """The same in whichever contrast is the smallest."""
        return torch.stack([self.rates(contrast, sizes) for contrast in range(len(self.targets))]).amin(dim=0)


def panel_size(prefixes: Prefixes, wanted: float) -> int:
    """Length of the shortest prefix that flips at least the wanted share, in (0, 1], of the cells in every contrast.

    Returns
    -------
    The number of genes, or 0 when no prefix is enough.
    """
    n_moved, device = prefixes.n_moved, prefixes.cells.device
    if not n_moved:
        return 0
    final = torch.tensor([n_moved], device=device)
    hardest_first = sorted(range(len(prefixes.targets)), key=lambda t: float(prefixes.rates(t, final)))
    for first in range(1, n_moved + 1, _BLOCK):
        enough = torch.arange(first, min(first + _BLOCK, n_moved + 1), device=device)
        for contrast in hardest_first:
            enough = enough[prefixes.rates(contrast, enough) >= wanted]
            if not len(enough):
                break
        if len(enough):
            return int(enough[0])
    return 0
