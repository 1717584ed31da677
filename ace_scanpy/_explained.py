"""The network behind a stored ranking, rebuilt from its record: nothing is trained or solved again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from . import _contrasts, _labels, _neuralized, _records, _rgg, _tables
from .methods._panels import Prefixes
from .methods._perturbation import sample
from .models._sampling import preactivations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from ._labels import Labels
    from ._matrix import GeneMatrix
    from .models import Encoder, NeuralizedClustering


@dataclass(frozen=True)
class Explained:
    """What :func:`ace_scanpy.tl.explain` solved the contrasts of an entry on."""

    entry: Mapping[str, Any]
    labels: Labels
    encoder: Encoder
    clustering: NeuralizedClustering
    matrix: GeneMatrix

    @classmethod
    def load(cls, adata: AnnData, entry: Mapping[str, Any]) -> Explained:
        """From the stored record and the labels of the cells; raises where they are no longer those."""
        params = entry["params"]
        labels = _labels.read(adata, str(params["groupby"]))
        encoder, matrix = _records.explained(adata, str(params["use_rep"]), labels)
        part = within_level(adata, entry, labels)
        return cls(entry, part, encoder, _neuralized.load(adata, entry, labels, part), matrix)

    def prefixes(self, field: str) -> Prefixes:
        """The prefixes of a ranking, on the same cells as its `panel_size`."""
        listed = self.matrix.gene_names.get_indexer(pd.Index(_rgg.table(self.entry, field)["names"]))
        read = listed[listed >= 0]
        order = np.concatenate([read, np.setdiff1d(np.arange(self.matrix.n_genes), read)])
        group = self.labels.group("group", _contrasts.source(self.entry, field))
        targets, numbers = _contrasts.per_target(self.entry, field).index, pd.Index(_contrasts.groups(self.entry))
        changes = _contrasts.changes(self.entry, field)
        deltas = np.zeros((len(targets), self.matrix.n_genes), dtype=np.float32)
        deltas[targets.get_indexer(numbers[changes["target"]]), listed[changes["rank"]]] = changes["delta"]
        cells = sample(self.matrix, self.labels.codes, group, int(self.entry["params"]["rng"]))
        return Prefixes(
            self.encoder,
            self.clustering,
            preactivations(self.encoder, cells),
            torch.from_numpy(deltas),
            torch.from_numpy(order),
            group,
            torch.tensor([self.labels.group("target", target) for target in targets]),
            "targeted",
        )


def within_level(adata: AnnData, entry: Mapping[str, Any], labels: Labels) -> Labels:
    """The groups of the cells that the ranking is of: those of one level, where it was made within one."""
    by = entry["params"].get("by")
    if by is None:
        return labels
    within = _tables.column(adata.obs, str(by)).astype(str) == str(entry["params"]["level"])
    return labels.within(within.to_numpy())
