"""The neuralised clustering that a ranking was made with: stored with it, and read again without a fit.

Like all that belongs to a group it is kept in recarrays with a field per group, which survive files, renamed
categories and any letters. They have all groups there are, whichever were explained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import _keys, _records, _rgg, _validate
from .models import NeuralizedClustering, neuralize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from torch import Tensor

    from ._labels import Labels

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


def of_labels(adata: AnnData, use_rep: str, labels: Labels, latent: Tensor) -> NeuralizedClustering:
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
    return neuralize(latent.numpy(), labels.codes).clustering
