"""Encoders as plain arrays in `uns["ace"]`, from which any process rebuilds them: no pickle."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from . import _commit, _keys, _matrix, _validate
from .models import Autoencoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._labels import Labels
    from ._matrix import GeneMatrix

KIND = "autoencoder"


@dataclass(frozen=True)
class Record:
    """A trained autoencoder and what it was trained on; the fields are those of `uns["ace"][use_rep]`."""

    genes: NDArray[Any]
    weights: Mapping[str, NDArray[np.float32]]
    n_hidden: tuple[int, ...]
    n_latent: int
    layer: str | None
    use_raw: bool
    mask: str
    batch_key: str | None
    groupby: str | None
    labels: str
    n_selected: int | None
    batch_size: int
    learning_rate: float
    seed: int
    loss: Mapping[str, NDArray[np.float64]]
    fits: Mapping[str, Any] = field(default_factory=dict)
    kind: str = KIND

    def stored(self) -> dict[str, Any]:
        """As a dictionary that h5ad and zarr files can hold."""
        entry = asdict(self)
        entry["n_hidden"] = np.asarray(self.n_hidden)
        return entry

    def model(self, weights: Mapping[str, NDArray[np.float32]] | None = None) -> Autoencoder:
        """The network, in evaluation mode; with other `weights`, such as those of a fit, in place of its own."""
        state = {name: torch.tensor(np.asarray(value)) for name, value in (weights or self.weights).items()}
        mean, scale = state["encoder.mean"], state["encoder.scale"]
        model = Autoencoder(mean, scale, n_latent=self.n_latent, n_hidden=self.n_hidden)
        model.load_state_dict(state)
        return model.eval()

    def fit(self, groupby: str, digest: str) -> Autoencoder | None:
        """The copy fitted to these labels, if there is one."""
        if self.groupby == groupby and self.labels == digest:
            return self.model()
        fit = self.fits.get(_keys.stored_name(groupby))
        if fit is None or str(fit["labels"]) != digest:
            return None
        return self.model(fit["weights"])

    def with_fit(self, groupby: str, digest: str, model: Autoencoder) -> dict[str, Any]:
        """The stored form with one more fitted copy."""
        fit = {"groupby": groupby, "labels": digest, "weights": weights_of(model)}
        entry = self.stored()
        entry["fits"] = {**self.fits, _keys.stored_name(groupby): fit}
        return entry


def weights_of(model: Autoencoder) -> dict[str, NDArray[np.float32]]:
    """All parameters and buffers as arrays."""
    return {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}


def digest(codes: NDArray[np.integer]) -> str:
    """A fingerprint of a grouping; the same for the same partition, whatever its categories are called."""
    return hashlib.sha256(np.ascontiguousarray(codes, dtype="<i8").tobytes()).hexdigest()[:16]


def load(adata: AnnData, use_rep: str) -> Record | None:
    """The record of `use_rep`, or None where no encoder is stored under that name."""
    entry = _commit.record(adata, use_rep)
    if entry is None or use_rep in _keys.RESERVED_RECORDS or "weights" not in entry:
        return None
    plain = dict(entry)
    plain["genes"] = np.array([str(gene) for gene in entry["genes"]], dtype=object)
    plain["n_hidden"] = tuple(int(n) for n in np.atleast_1d(entry["n_hidden"]))
    for name in ("n_latent", "batch_size", "seed"):
        plain[name] = int(entry[name])
    plain["n_selected"] = None if entry["n_selected"] is None else int(entry["n_selected"])
    plain["learning_rate"] = float(entry["learning_rate"])
    plain["use_raw"] = bool(entry["use_raw"])
    return Record(**plain)


def require(adata: AnnData, use_rep: str) -> Record:
    """The record of `use_rep`; raises, saying how to get one, when there is none."""
    found = load(adata, use_rep)
    if found is None:
        raise KeyError(missing(adata, use_rep))
    return found


def latent(adata: AnnData, use_rep: str) -> NDArray[np.float32]:
    """The embedding that belongs to a record; raises when it was removed."""
    if use_rep not in adata.obsm:
        msg = (
            f"`use_rep`={use_rep!r} has an encoder in `adata.uns['ace']`, but its embedding is no longer in "
            f"`adata.obsm`. Run `ace.tl.embed(adata, key_added={use_rep!r})`. "
            f"Available: {_validate.listed(adata.obsm)}."
        )
        raise KeyError(msg)
    return np.asarray(adata.obsm[use_rep])


def fitted(adata: AnnData, use_rep: str, labels: Labels) -> tuple[Autoencoder, GeneMatrix]:
    """The encoder's copy fitted to these labels, and the matrix that it reads; raises where there is none."""
    record = require(adata, use_rep)
    model = record.fit(labels.key, digest(labels.codes))
    if model is None:
        msg = (
            f"The encoder {use_rep!r} has not been fitted to obs[{labels.key!r}] with these cells and labels. "
            f"Run `ace.tl.explain(adata, {labels.key!r})` first."
        )
        raise ValueError(msg)
    return model, matrix_for(adata, record, use_rep, layer=record.layer, use_raw=record.use_raw)


def missing(adata: AnnData, use_rep: str) -> str:
    """Why no gradient can be taken through `use_rep`, and what to do."""
    stored = [name for name in adata.uns.get(_keys.RECORDS, {}) if load(adata, name) is not None]
    known = f"Encoders stored in `adata.uns['ace']`: {_validate.listed(stored)}."
    if use_rep in adata.obsm:
        return (
            f"`use_rep`={use_rep!r} is in `adata.obsm` but has no differentiable encoder, which ACE needs to lead a "
            f"change of the embedding back to genes. Train one with `ace.tl.embed(adata)` and use "
            f"`use_rep='X_ace'`. {known}"
        )
    return f"`use_rep`={use_rep!r} not found. Run `ace.tl.embed(adata, key_added={use_rep!r})` first. {known}"


def matrix_for(
    adata: AnnData,
    record: Record,
    use_rep: str,
    *,
    layer: str | None,
    use_raw: bool,
    mask_var: object = _matrix.DEFAULT_MASK,
    batch_key: object = None,
) -> GeneMatrix:
    """The matrix an encoder reads, its genes in the encoder's order; raises where the record does not fit."""
    retrain = f"`ace.tl.embed(adata, key_added={use_rep!r}, ...)` trains a new one."
    asked = _matrix.choose(adata, layer=layer, use_raw=use_raw, mask_var=mask_var)
    if (record.layer, record.use_raw) != (layer, bool(use_raw)):
        trained_on = "use_raw=True" if record.use_raw else f"layer={record.layer!r}"
        now = "use_raw=True" if use_raw else f"layer={layer!r}"
        msg = (
            f"The encoder {use_rep!r} was trained with {trained_on}, but {now} is asked for. "
            f"Pass {trained_on}, or {retrain}"
        )
        raise ValueError(msg)
    if batch_key is not None and batch_key != record.batch_key:
        msg = (
            f"The encoder {use_rep!r} was trained with batch_key={record.batch_key!r}, but batch_key={batch_key!r} "
            f"is asked for. Leave out `batch_key`, or {retrain}"
        )
        raise ValueError(msg)
    positions = asked.var_names.get_indexer(pd.Index(record.genes))
    if (positions < 0).any():
        lost = record.genes[positions < 0]
        msg = (
            f"{len(lost)} of the {len(record.genes)} genes that the encoder {use_rep!r} reads are not in "
            f"`{asked.where}`: {_validate.listed(lost)}. Bring them back, or {retrain}"
        )
        raise ValueError(msg)
    if not isinstance(mask_var, _matrix._Default):
        outside = np.setdiff1d(positions, asked.genes)
        if len(outside) or asked.n_genes < len(positions):
            msg = (
                f"The encoder {use_rep!r} was trained with the mask {record.mask}, which is not the `mask_var` asked "
                f"for. Leave out `mask_var`, or {retrain}"
            )
            raise ValueError(msg)
        unread = np.setdiff1d(asked.genes, positions)
        if len(unread) and np.any(_matrix.moments(asked.with_genes(unread)).std > 0):
            msg = (
                f"The encoder {use_rep!r} was trained with the mask {record.mask} ({len(positions)} genes), but the "
                f"`mask_var` asked for has {asked.n_genes}. Leave out `mask_var`, or {retrain}"
            )
            raise ValueError(msg)
    return asked.with_genes(positions)
