"""The explained network as a judge of other rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import _matrix, _neuralized, _records, metrics
from ..models._sampling import preactivations

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from .._labels import Labels
    from ..models import Encoder, NeuralizedClustering


@dataclass(frozen=True)
class FlipNetwork:
    """The encoder that is explained for some labels, the neuralised clustering on it, and cells to be moved.

    The encoder's first step is affine, so a change of genes is applied behind it: `preactivation` is what it gives for
    the cells of each group. `means` are those of the groups, standardised.
    """

    encoder: Encoder
    clustering: NeuralizedClustering
    genes: pd.Index
    means: Tensor
    preactivation: tuple[NDArray[np.float32], ...]

    @classmethod
    def load(cls, adata: AnnData, use_rep: str, labels: Labels, cells: NDArray[np.intp]) -> FlipNetwork:
        """From the stored record, on the matrix that the encoder reads; raises where a fit is missing."""
        try:
            encoder, matrix = _records.explained(adata, use_rep, labels)
        except (KeyError, ValueError) as error:
            msg = f"{error.args[0]} Or pass `use_rep=None` to leave out the flips."
            raise type(error)(msg) from error
        sums = _matrix.group_sums(matrix.genes_alone, labels.codes, labels.n_groups)
        means = torch.from_numpy(sums.totals / sums.n_cells[:, None]).to(encoder.mean)
        codes = labels.codes[cells]
        return cls(
            encoder,
            _neuralized.of_labels(adata, use_rep, labels, encoder, matrix),
            matrix.gene_names,
            encoder.standardize(means),
            tuple(
                preactivations(encoder, matrix.rows(np.sort(cells[codes == g]))).numpy() for g in range(labels.n_groups)
            ),
        )

    @torch.no_grad()
    def assign(self, preactivation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Group that the network assigns to each cell."""
        return self.clustering.assign(self.encoder.tail(torch.from_numpy(preactivation))).numpy()

    @torch.no_grad()
    def flip_rate(self, group: int, names: pd.Index) -> float:
        """Share of the group's cells that go to another group when some genes go from its mean to that group's."""
        read = self.genes.get_indexer(names)
        read = read[read >= 0]
        targets = np.delete(np.arange(len(self.means)), group)
        delta = torch.zeros(len(targets), len(self.genes))
        delta[:, read] = (self.means[targets] - self.means[group])[:, read]
        return metrics.flip_rate(self.preactivation[group], self.encoder.shift(delta).numpy(), self.assign, targets)
