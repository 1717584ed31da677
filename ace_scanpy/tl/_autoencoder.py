"""Training the autoencoder on an AnnData, and its copies fitted to labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from .. import _labels, _record_kinds, _records, _tables, _validate
from .._progress import bars
from .._record_kinds import AutoencoderRecord
from ..models import Autoencoder, FeatureGates, Schedule, encode, fit_labels, seeded, train
from ..pp._standardize import compute as standardize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._commit import Results
    from .._matrix import GeneMatrix

N_LATENT = 10
N_HIDDEN = (128, 64)
SETTINGS = ("n_latent", "n_hidden", "n_selected", "n_epochs", "batch_size", "learning_rate")
"""Arguments of `embed` that concern the network."""


@dataclass(frozen=True)
class Settings:
    """The arguments of `embed` that concern the network, checked."""

    n_latent: int = N_LATENT
    n_hidden: tuple[int, ...] = N_HIDDEN
    n_selected: int | None = None
    n_epochs: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3

    def fitting(self, n_genes: int) -> Settings:
        """These settings for a matrix; raises where they ask for more than its genes."""
        for name in ("n_latent", "n_selected"):
            value = getattr(self, name)
            if value is not None and value > n_genes:
                msg = f"`{name}`={value} is more than the {n_genes} genes that vary within the mask."
                raise ValueError(msg)
        return self


def check_settings(
    n_latent: int,
    n_hidden: Sequence[int],
    n_selected: int | None,
    n_epochs: int | None,
    batch_size: int,
    learning_rate: float,
) -> Settings:
    """The settings of the network; raises for values that make no sense whatever the data."""
    widths = tuple(_validate.whole_number("n_hidden", width, minimum=2) for width in np.atleast_1d(n_hidden).tolist())
    if not widths:
        msg = "`n_hidden` must name at least one hidden layer. Got none."
        raise ValueError(msg)
    return Settings(
        n_latent=_validate.whole_number("n_latent", n_latent),
        n_hidden=widths,
        n_selected=None if n_selected is None else _validate.whole_number("n_selected", n_selected),
        n_epochs=None if n_epochs is None else _validate.whole_number("n_epochs", n_epochs),
        batch_size=_validate.whole_number("batch_size", batch_size, minimum=2),
        learning_rate=_validate.positive("learning_rate", learning_rate),
    )


def batches(adata: AnnData, batch_key: str | None) -> NDArray[np.intp] | None:
    """Batch of each cell, or None; raises where a cell has none."""
    if batch_key is None:
        return None
    key = _validate.obs_key(adata, "batch_key", batch_key)
    column = _labels.as_categorical(_tables.column(adata.obs, key))
    if (column.codes < 0).any():
        msg = f"`batch_key`={batch_key!r} is missing for {(column.codes < 0).sum()} cells. Fill it in or remove them."
        raise ValueError(msg)
    return np.unique(column.codes, return_inverse=True)[1]


def compute(
    adata: AnnData,
    matrix: GeneMatrix,
    settings: Settings,
    batch_key: str | None,
    batch: NDArray[np.intp] | None,
    labels: _labels.Labels | None,
    device: torch.device,
    seed: int,
    key_added: str,
) -> tuple[Results, AutoencoderRecord]:
    """Train on a checked matrix; the fields to write and the encoder's record."""
    results, mean, scale = standardize(adata, matrix)
    varying = scale > 0
    matrix = matrix.with_genes(matrix.genes[varying])
    settings = settings.fitting(matrix.n_genes)
    start = logg.info(f"embedding {matrix.n_cells} cells by {matrix.n_genes} genes of {matrix.where} ({matrix.mask})")
    rng = np.random.default_rng(seed)
    with seeded(rng):
        model = Autoencoder(
            torch.tensor(mean[varying], dtype=torch.float32),
            torch.tensor(scale[varying], dtype=torch.float32),
            n_latent=settings.n_latent,
            n_hidden=settings.n_hidden,
        )
        gates = None if settings.n_selected is None else FeatureGates(matrix.n_genes, settings.n_selected)
    with bars() as advance:
        schedule = Schedule(settings.n_epochs, settings.batch_size, settings.learning_rate, device, advance)
        loss = train(model, matrix, schedule, rng, batch=batch, gates=gates)
        if labels is not None:
            fit_labels(model, matrix, labels.codes, schedule, rng, batch=batch)
    model.to("cpu")
    record = AutoencoderRecord(
        genes=matrix.gene_names.to_numpy(dtype=object),
        weights=_record_kinds.weights_of(model),
        n_hidden=settings.n_hidden,
        n_latent=settings.n_latent,
        layer=matrix.layer,
        use_raw=matrix.use_raw,
        mask=matrix.mask,
        batch_key=batch_key,
        groupby=None if labels is None else labels.key,
        labels="" if labels is None else _records.digest(labels.codes),
        n_selected=settings.n_selected,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=seed,
        loss=loss,
    )
    results.add("obsm", key_added, encode(model.encoder, matrix))
    results.records[key_added] = record.stored()
    logg.info("    finished", time=start, deep=f"added\n    {key_added!r} (adata.obsm)")
    return results, record


def fit(
    adata: AnnData, matrix: GeneMatrix, record: AutoencoderRecord, labels: _labels.Labels, device: torch.device
) -> Autoencoder:
    """The encoder's copy fitted to labels.

    The fit follows from the record and the labels alone, so that it is the same whenever and wherever it is made.
    """
    start = logg.info(f"fitting a copy of the encoder to obs[{labels.key!r}]")
    model = record.model()
    rng = np.random.default_rng([record.seed, 1])
    with bars() as advance:
        schedule = Schedule(
            batch_size=record.batch_size, learning_rate=record.learning_rate, device=device, progress=advance
        )
        fit_labels(model, matrix, labels.codes, schedule, rng, batch=batches(adata, record.batch_key))
    logg.info("    finished", time=start)
    return model.to("cpu")
