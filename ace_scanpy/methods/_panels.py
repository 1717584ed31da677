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

_BLOCK = 64  # prefixes at a time


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
        """Share of the cells that prefixes of these sizes, ascending, flip in one contrast."""
        places = self._place[self.deltas[contrast].nonzero().squeeze(1)].sort().values
        moved, which = torch.bucketize(sizes - 1, places, right=True).unique_consecutive(return_inverse=True)
        # prefixes that end at the same moved gene, or before the next one, are the same perturbation
        last = torch.where(moved > 0, places[moved - 1], -1) if len(places) else moved - 1
        parts = [
            self._flipped(self.deltas[contrast] * (self._place <= end[:, None]), contrast) for end in last.split(_BLOCK)
        ]
        return torch.cat(parts)[which]

    @torch.no_grad()
    def at(self, size: int) -> Tensor:
        """Share of the cells that the prefix of this size flips in each contrast."""
        cut = self.deltas * (self._place < size)
        parts = torch.arange(len(cut), device=cut.device).split(_BLOCK)
        return torch.cat([self._flipped(cut[part], part) for part in parts])

    def _flipped(self, delta: Tensor, contrast: int | Tensor) -> Tensor:
        """Share of the cells that each row of `delta` flips, its contrast given, or one for all."""
        moved = self.encoder.tail(self.cells + self.encoder.shift(delta).unsqueeze(1))
        targets = self.targets[contrast].expand(len(delta))
        flips = is_flipped(
            self.clustering.scores(moved), torch.full_like(targets, self.source), targets, self.objective
        )
        return flips.float().mean(dim=1)

    def worst(self, sizes: Tensor) -> Tensor:
        """As `rates`, in whichever contrast is the smallest."""
        return torch.stack([self.rates(contrast, sizes) for contrast in range(len(self.targets))]).amin(dim=0)


def panel_size(prefixes: Prefixes, wanted: float) -> int:
    """Length of the shortest prefix that flips at least the wanted share, in (0, 1], of the cells in every contrast.

    The shortest that is left is tried in all contrasts; of the one where it fails most, all prefixes that are left are
    tried, and those that fail are dropped.

    Returns
    -------
    The number of genes, or 0 when no prefix is enough.
    """
    enough = torch.arange(1, prefixes.n_moved + 1, device=prefixes.cells.device)
    if not len(enough):
        return 0
    found = prefixes.at(prefixes.n_moved)  # a contrast in which all genes are not enough is likely to refuse the most
    while len(enough):
        hardest = int(found.argmin())
        enough = enough[prefixes.rates(hardest, enough) >= wanted]
        if len(enough) and (found := prefixes.at(int(enough[0]))).amin() >= wanted:
            return int(enough[0])
    return 0
