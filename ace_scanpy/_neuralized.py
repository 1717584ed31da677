"""The neuralised clustering that a ranking was made with: stored with it, and read again without a fit.

Like all that belongs to a group it is kept in recarrays with a field per group, which survive files, renamed
categories and any letters. They have all groups there are, whichever were explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import _keys, _records, _rgg, _validate
from .models import NeuralizedClustering, encode, neuralize
from .models._communities import sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._labels import Labels
    from .models import Encoder
    from .models._sampling import CellSource

PROTOTYPES, NUMBER = "prototypes", "n_prototypes"
"""Coordinates of each group's prototypes, one after the other (NaN fills groups of fewer up), and their number."""


def build(clustering: NeuralizedClustering, labels: Labels) -> dict[str, np.recarray]:
    """The fields to add to an entry."""
    owner, prototypes = clustering.groups.cpu().numpy(), clustering.prototypes.cpu().numpy()
    own = [prototypes[owner == group].ravel() for group in labels.display]
    longest = max(map(len, own))
    filled = [np.pad(values, (0, longest - len(values)), constant_values=np.nan) for values in own]
    names = [labels.names[group] for group in labels.display]
    number = np.array([len(values) for values in own])[:, None] // prototypes.shape[1]
    return {PROTOTYPES: _rgg.recarray(filled, names, "<f4"), NUMBER: _rgg.recarray(number, names, "<i8")}


def load(adata: AnnData, entry: Mapping[str, Any], labels: Labels, part: Labels) -> NeuralizedClustering:
    """The clustering of an entry made for a `part` of the labels; raises where groups or encoder are others by now."""
    use_rep = str(entry["params"]["use_rep"])
    if str(entry["params"]["encoder"]) != _records.explained_fingerprint(_records.require(adata, use_rep), labels):
        msg = (
            f"The encoder {use_rep!r} is no longer the one that the ranking was made with. Run `ace.tl.explain` again."
        )
        raise ValueError(msg)
    return _read(entry, part)


def _read(entry: Mapping[str, Any], labels: Labels) -> NeuralizedClustering:
    """The clustering of an entry, its groups numbered as those of the labels; raises where they are others."""
    stored = entry[PROTOTYPES].dtype.names
    if set(stored) != set(labels.names):
        msg = (
            f"The ranking was made for the groups {_validate.listed(stored)}, but obs[{labels.key!r}] has "
            f"{_validate.listed(labels.names)}. Run `ace.tl.explain` again."
        )
        raise ValueError(msg)
    number = [int(entry[NUMBER][name][0]) for name in labels.names]
    n_latent = len(entry[PROTOTYPES]) // max(number)
    own = [
        np.asarray(entry[PROTOTYPES][name])[: n * n_latent].reshape(n, n_latent)
        for name, n in zip(labels.names, number, strict=True)
    ]
    groups = torch.arange(len(own)).repeat_interleave(torch.tensor(number))
    beta, sharpness = (float(entry["params"][name]) for name in ("beta", "sharpness"))
    return NeuralizedClustering(torch.tensor(np.concatenate(own)), beta, groups, sharpness)


@dataclass(frozen=True)
class Fit:
    """A neuralised clustering for labels, and how well it reproduces them.

    Attributes
    ----------
    clustering
        The network.
    fidelity
        Share of each group's cells, of those it was fitted to and judged by, that are assigned their label.
    overall
        The same of all cells, each group with the weight that its cells have.
    held_out
        As of :class:`ace_scanpy.models.Neuralized`.
    """

    clustering: NeuralizedClustering
    fidelity: NDArray[np.float64]
    overall: float
    held_out: float | None


def fit(
    encoder: Encoder,
    matrix: CellSource,
    labels: Labels,
    *,
    beta: float | None = None,
    min_fidelity: float = 0.98,
    seed: int = 0,
) -> Fit:
    """Prototypes for labels, from their cells or, where there are more than 16,384, from a sample of them."""
    cells = sample(labels.codes, seed)
    latent, codes = encode(encoder, matrix, cells), labels.codes[cells]
    found = neuralize(latent, codes, beta=beta, min_fidelity=min_fidelity, seed=seed)
    right = found.clustering.assign(torch.from_numpy(latent)).numpy() == codes
    fidelity = np.array([right[codes == group].mean() for group in range(labels.n_groups)])
    n_cells = np.bincount(labels.codes[labels.codes >= 0], minlength=labels.n_groups)
    return Fit(found.clustering, fidelity, float(np.average(fidelity, weights=n_cells)), found.held_out)


def of_labels(
    adata: AnnData, use_rep: str, labels: Labels, encoder: Encoder, matrix: CellSource
) -> NeuralizedClustering:
    """What explains labels of all cells: that of their ranking or, where they have none, as `explain` makes it."""
    wanted = {
        "groupby": labels.key,
        "use_rep": use_rep,
        "labels": _records.digest(labels.codes),
        "encoder": _records.explained_fingerprint(_records.require(adata, use_rep), labels),
    }
    for entry in (adata.uns.get(_keys.RANKING), *adata.uns.values()):
        if isinstance(entry, dict) and PROTOTYPES in entry and "by" not in entry["params"]:
            params, names = entry["params"], entry[PROTOTYPES].dtype.names
            if {name: str(params[name]) for name in wanted} == wanted and set(names) == set(labels.names):
                return _read(entry, labels)
    return fit(encoder, matrix, labels).clustering
