"""The autoencoder on an AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from .. import _devices, _keys, _labels, _matrix, _records, _validate
from .._docs import document
from .._progress import bars
from .._records import Record
from ..models import Autoencoder, FeatureGates, Schedule, encode, fit_labels, seeded, train
from ..pp._standardize import compute as standardize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._commit import Results
    from .._matrix import GeneMatrix

_N_LATENT = 10


@dataclass(frozen=True)
class Settings:
    """The arguments of `embed` that concern the network, checked."""

    n_latent: int = _N_LATENT
    n_hidden: tuple[int, ...] = (128, 64)
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


@document
def embed(
    adata: AnnData,
    *,
    n_latent: int = _N_LATENT,
    n_hidden: Sequence[int] = (128, 64),
    batch_key: str | None = None,
    groupby: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: object = _matrix.DEFAULT_MASK,
    n_selected: int | None = None,
    n_epochs: int | None = None,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    device: str = "auto",
    rng: int | np.random.Generator = 0,
    key_added: str = _keys.REP,
    copy: bool = False,
) -> AnnData | None:
    r"""Embed cells with an autoencoder whose encoder can be differentiated.

    A SAUCIE-like network (Amodio et al. 2019) reconstructs standardised expression,
    :math:`\min\sum_i\lVert z_i-g(f(z_i))\rVert^2+\Omega` (equations 1 and 2). It starts as a PCA, so that runs with
    different seeds agree, and stops when the loss of held-out cells is flat.

    Parameters
    ----------
    %(adata)s
    n_latent
        Width of the embedding. The paper uses 10.
    n_hidden
        Widths of the hidden layers; the decoder mirrors them. A modest width, with input dropout, keeps the
        smallest perturbations on the data.
    %(batch_key)s
    groupby
        Column of `adata.obs` with labels that the last part of the training also fits: the embedding is
        then supervised. :func:`ace_scanpy.tl.explain` does this on a copy; it is seldom needed here.
    %(layer)s
    %(use_raw)s
    %(mask_var)s
    n_selected
        Learn which genes, exactly this many, carry the embedding (the paper's feature-selection layer);
        None for all.
    n_epochs
        Most passes over the cells. None for as many as fit into 2,000 minibatches.
    batch_size
        Cells per minibatch.
    learning_rate
        Of the Adam optimiser.
    %(device)s
    %(rng)s
    key_added
        Name of the embedding.
    %(copy)s

    Returns
    -------
    None, or the copy. Sets these fields:

    `adata.obsm[key_added]` : float32, shape `(n_obs, n_latent)`
        The embedding.
    `adata.uns['ace'][key_added]` : dict
        The encoder as plain arrays, its genes, matrix, mask, batches, seed and loss history;
        :func:`ace_scanpy.get.encoder` rebuilds it.
    `adata.var['ace_mean']`, `adata.var['ace_std']`
        As :func:`ace_scanpy.pp.standardize` does.

    Raises
    ------
    ValueError
        For NaN or infinite values, raw counts, a bad mask, a width above the number of genes, a reserved key.
    KeyError
        For a column, layer or mask that does not exist.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.embed(adata, n_epochs=5)
    >>> adata.obsm["X_ace"].shape
    (700, 10)
    """
    settings = check_settings(n_latent, n_hidden, n_selected, n_epochs, batch_size, learning_rate)
    key_added = _validate.uns_key("key_added", key_added, _keys.RESERVED_RECORDS)
    seed = _validate.seed(rng)
    found = _devices.choose(device)
    matrix = _matrix.choose(adata, layer=layer, use_raw=use_raw, mask_var=mask_var)
    batch = batches(adata, batch_key)
    labels = None if groupby is None else _labels.read(adata, groupby)
    adata = adata.copy() if copy else adata
    results, _ = compute(adata, matrix, settings, batch_key, batch, labels, found, seed, key_added)
    results.write(adata)
    return adata if copy else None


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
    column = _labels.as_categorical(adata.obs[_validate.obs_key(adata, "batch_key", batch_key)])
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
) -> tuple[Results, Record]:
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
    record = Record(
        genes=matrix.gene_names.to_numpy(dtype=object),
        weights=_records.weights_of(model),
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


def fitted_copy(
    adata: AnnData, matrix: GeneMatrix, record: Record, labels: _labels.Labels, device: torch.device
) -> tuple[Autoencoder, bool]:
    """The encoder fitted to labels, and whether that is new.

    The fit follows from the record and the labels alone, so that it is the same whenever and wherever it is made.
    """
    digest = _records.digest(labels.codes)
    stored = record.fit(labels.key, digest)
    if stored is not None:
        return stored, False
    start = logg.info(f"fitting a copy of the encoder to obs[{labels.key!r}]")
    model = record.model()
    rng = np.random.default_rng([record.seed, 1])
    with bars() as advance:
        schedule = Schedule(
            batch_size=record.batch_size, learning_rate=record.learning_rate, device=device, progress=advance
        )
        fit_labels(model, matrix, labels.codes, schedule, rng, batch=batches(adata, record.batch_key))
    logg.info("    finished", time=start)
    return model.to("cpu"), True
