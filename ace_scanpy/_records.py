"""Encoders as plain arrays in `uns["ace"]`, from which any process rebuilds them: no pickle."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from . import _commit, _keys, _matrix, _validate
from ._record_kinds import KINDS, AutoencoderRecord, ModuleRecord, Record, fingerprint

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ._labels import Labels
    from ._matrix import GeneMatrix
    from .models import Encoder


def digest(codes: NDArray[np.integer]) -> str:
    """A fingerprint of a grouping; the same for the same partition, whatever its categories are called."""
    return hashlib.sha256(np.ascontiguousarray(codes, dtype="<i8").tobytes()).hexdigest()[:16]


def load(adata: AnnData, use_rep: str) -> Record | None:
    """The record of `use_rep`, or None where no encoder is stored under that name."""
    entry = _commit.record(adata, use_rep)
    if entry is None or use_rep in _keys.RESERVED_RECORDS or "kind" not in entry:
        return None
    kind = str(entry["kind"])
    if kind not in KINDS:
        msg = f"The encoder {use_rep!r} is of the kind {kind!r}. This version knows {_validate.listed(KINDS)}."
        raise ValueError(msg)
    return KINDS[kind].from_stored(entry)


def require(adata: AnnData, use_rep: str) -> Record:
    """The record of `use_rep`; raises, saying how to get one, when there is none."""
    found = load(adata, use_rep)
    if found is None:
        raise KeyError(missing(adata, use_rep))
    return found


def require_autoencoder(adata: AnnData, use_rep: str, asked: str) -> AutoencoderRecord:
    """The record of `use_rep`; raises where it is not of a network that can be trained on, as `asked` needs."""
    record = require(adata, use_rep)
    if not isinstance(record, AutoencoderRecord):
        msg = (
            f"{asked} trains the encoder on, which only an autoencoder allows. {use_rep!r} is of the kind "
            f"{record.kind!r}, and explained as it is."
        )
        raise ValueError(msg)
    return record


def pass_again(adata: AnnData, use_rep: str, module: object) -> None:
    """Take a user's module for the record of `use_rep`; raises where it is not the one, or none is needed."""
    record = require(adata, use_rep)
    if not isinstance(record, ModuleRecord):
        msg = (
            f"`encoder` is for a module of your own, but the encoder {use_rep!r} is of the kind {record.kind!r} and "
            "stored whole. Leave it out, or give another `use_rep`."
        )
        raise ValueError(msg)
    record.accept(module)


def latent(adata: AnnData, use_rep: str) -> NDArray[np.float32]:
    """The embedding that belongs to a record; raises when it was removed."""
    if use_rep not in adata.obsm:
        msg = (
            f"`use_rep`={use_rep!r} has an encoder in `adata.uns['ace']`, but its embedding is no longer in "
            f"`adata.obsm`. Run `{require(adata, use_rep).again(use_rep)}`. Available: {_validate.listed(adata.obsm)}."
        )
        raise KeyError(msg)
    return np.asarray(adata.obsm[use_rep], dtype=np.float32)


def explained(adata: AnnData, use_rep: str, labels: Labels) -> tuple[Encoder, GeneMatrix]:
    """The encoder that is explained for these labels, and the cells it reads; raises where a fit is missing."""
    record = require(adata, use_rep)
    encoder = record.explained(labels.key, digest(labels.codes))
    if encoder is None:
        msg = (
            f"The encoder {use_rep!r} has not been fitted to obs[{labels.key!r}] with these cells and labels. "
            f"Run `ace.tl.explain(adata, {labels.key!r})` first."
        )
        raise ValueError(msg)
    matrix = matrix_for(adata, record, use_rep, layer=record.layer, use_raw=record.use_raw)
    return encoder, record.cells(adata, matrix)


def explained_fingerprint(record: Record, labels: Labels) -> str:
    """What tells the encoder that is explained for these labels from any other; empty where a fit is missing."""
    weights = record.explained_weights(labels.key, digest(labels.codes))
    return "" if weights is None else fingerprint(weights)[:16]


def missing(adata: AnnData, use_rep: str) -> str:
    """Why no gradient can be taken through `use_rep`, and what to do."""
    stored = [name for name in adata.uns.get(_keys.RECORDS, {}) if load(adata, name) is not None]
    known = f"Encoders stored in `adata.uns['ace']`: {_validate.listed(stored)}."
    if use_rep in adata.obsm:
        return (
            f"`use_rep`={use_rep!r} is in `adata.obsm` but has no differentiable encoder, which ACE needs to lead a "
            f"change of the embedding back to genes. Train one with `ace.tl.embed(adata)` and use `use_rep='X_ace'`, "
            f"or a network that reproduces this embedding with `ace.tl.embed(adata, encoder='distill', "
            f"use_rep={use_rep!r})`. {known}"
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
    anew = f"`{record.again(use_rep)}` makes a new one."
    asked = _matrix.choose(adata, layer=layer, use_raw=use_raw, mask_var=mask_var)
    if (record.layer, record.use_raw) != (layer, bool(use_raw)):
        reads = "use_raw=True" if record.use_raw else f"layer={record.layer!r}"
        now = "use_raw=True" if use_raw else f"layer={layer!r}"
        msg = f"The encoder {use_rep!r} reads {reads}, but {now} is asked for. Pass {reads}, or {anew}"
        raise ValueError(msg)
    if batch_key is not None and batch_key != record.batch_key:
        msg = (
            f"The encoder {use_rep!r} was trained with batch_key={record.batch_key!r}, but batch_key={batch_key!r} "
            f"is asked for. Leave out `batch_key`, or {anew}"
        )
        raise ValueError(msg)
    positions = asked.var_names.get_indexer(pd.Index(record.genes))
    if (positions < 0).any():
        lost = record.genes[positions < 0]
        msg = (
            f"{len(lost)} of the {len(record.genes)} genes that the encoder {use_rep!r} reads are not in "
            f"`{asked.where}`: {_validate.listed(lost)}. Bring them back, or {anew}"
        )
        raise ValueError(msg)
    if not isinstance(mask_var, _matrix._Default):
        outside = np.setdiff1d(positions, asked.genes)
        if len(outside) or asked.n_genes < len(positions):
            msg = (
                f"The encoder {use_rep!r} reads the mask {record.mask}, which is not the `mask_var` asked "
                f"for. Leave out `mask_var`, or {anew}"
            )
            raise ValueError(msg)
        unread = np.setdiff1d(asked.genes, positions)
        if len(unread) and np.any(_matrix.moments(asked.with_genes(unread)).std > 0):
            msg = (
                f"The encoder {use_rep!r} reads the mask {record.mask} ({len(positions)} genes), but the "
                f"`mask_var` asked for has {asked.n_genes}. Leave out `mask_var`, or {anew}"
            )
            raise ValueError(msg)
    return asked.with_genes(positions)
