"""The explained network as a judge of other rankings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import _matrix, _records, metrics
from ..models import encode, from_labels
from ..models._sampling import preactivations

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._labels import Labels
    from ..models import Encoder, NeuralizedClustering


@dataclass(frozen=True)
class FlipNetwork:
    """The encoder fitted to some labels, the neuralised clustering on it, and cells to be moved.

    The encoder's first layer is linear, so a change of genes is applied behind it: `weight` is that layer's, per unit
    of expression, and `preactivation` what it gives for the cells of each group.
    """

    encoder: Encoder
    clustering: NeuralizedClustering
    genes: pd.Index
    weight: NDArray[np.float64]
    means: NDArray[np.float64]
    preactivation: tuple[NDArray[np.float32], ...]

    @classmethod
    def load(cls, adata: AnnData, use_rep: str, labels: Labels, cells: NDArray[np.intp]) -> FlipNetwork:
        """From the stored record, on the matrix the encoder was trained on; raises where there is no fit."""
        try:
            model, matrix = _records.fitted(adata, use_rep, labels)
        except (KeyError, ValueError) as error:
            msg = f"{error.args[0]} Or pass `use_rep=None` to leave out the flips."
            raise type(error)(msg) from error
        sums = _matrix.group_sums(matrix, labels.codes, labels.n_groups)
        encoder = model.encoder
        weight, _ = encoder.folded()
        codes = labels.codes[cells]
        return cls(
            encoder,
            from_labels(torch.from_numpy(encode(encoder, matrix)), torch.tensor(labels.codes)),
            matrix.gene_names,
            weight.detach().double().numpy(),
            sums.totals / sums.n_cells[:, None],
            tuple(
                preactivations(encoder, matrix.rows(np.sort(cells[codes == g]))).numpy() for g in range(labels.n_groups)
            ),
        )

    @torch.no_grad()
    def assign(self, preactivation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Group that the network assigns to each cell."""
        return self.clustering.assign(self.encoder.tail(torch.from_numpy(preactivation))).numpy()

    def flip_rate(self, group: int, names: pd.Index) -> float:
        """Share of the group's cells that go to another group when some genes go from its mean to that group's."""
        read = self.genes.get_indexer(names)
        read = read[read >= 0]
        targets = np.delete(np.arange(len(self.means)), group)
        difference = (self.means[targets] - self.means[group])[:, read]
        shifts = (difference @ self.weight[read]).astype(np.float32)
        return metrics.flip_rate(self.preactivation[group], shifts, self.assign, targets)
