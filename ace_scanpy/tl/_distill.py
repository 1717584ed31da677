"""Any embedding in `obsm` as an encoder: a network trained to reproduce it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg
from scipy import sparse

from .. import _validate
from .._progress import bars
from .._record_kinds import DistilledRecord, weights_of
from ..models import NetworkEncoder, Schedule, distill, encode, seeded
from ..pp._standardize import compute as standardize

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._commit import Results
    from .._matrix import GeneMatrix
    from ._autoencoder import Settings

SETTINGS = ("n_hidden", "n_epochs", "batch_size", "learning_rate")
"""Arguments of `embed` that concern the network."""

_LOW_R2 = 0.8


def default_key(use_rep: str) -> str:
    """Name of the network's embedding."""
    return f"{use_rep}_distilled"


def coordinates(adata: AnnData, use_rep: object) -> NDArray[np.float32]:
    """The embedding to reproduce, checked."""
    if not isinstance(use_rep, str) or use_rep not in adata.obsm:
        msg = (
            f"encoder='distill' reproduces an embedding: name it with `use_rep`. Got {use_rep!r}. "
            f"Available in `adata.obsm`: {_validate.listed(adata.obsm)}."
        )
        raise KeyError(msg)
    stored = adata.obsm[use_rep]
    values = stored.toarray() if sparse.issparse(stored) else stored
    found = np.asarray(values, dtype=np.float32, order="C")  # the order of a table's sums would change the last bits
    if found.ndim != 2 or not np.isfinite(found).all():
        msg = f"`adata.obsm[{use_rep!r}]` must be a table of finite numbers. Got shape {found.shape}"
        raise ValueError(msg + (", with NaN or infinite values." if found.ndim == 2 else "."))
    return found


def compute(
    adata: AnnData,
    matrix: GeneMatrix,
    use_rep: str,
    wanted: NDArray[np.float32],
    settings: Settings,
    device: torch.device,
    seed: int,
    key_added: str,
) -> tuple[Results, DistilledRecord]:
    """Train a network on checked input; the fields to write and its record."""
    results, mean, scale = standardize(adata, matrix)
    varying = scale > 0
    matrix = matrix.with_genes(matrix.genes[varying])
    start = logg.info(
        f"distilling {use_rep!r} into a network on {matrix.n_genes} genes of {matrix.where} ({matrix.mask})"
    )
    rng = np.random.default_rng(seed)
    with seeded(rng):
        encoder = NetworkEncoder(
            torch.tensor(mean[varying], dtype=torch.float32),
            torch.tensor(scale[varying], dtype=torch.float32),
            n_hidden=settings.n_hidden,
            n_latent=wanted.shape[1],
        )
    with bars() as advance:
        schedule = Schedule(settings.n_epochs, settings.batch_size, settings.learning_rate, device, advance)
        loss, r2 = distill(encoder, matrix, wanted, schedule, rng)
    logg.info(f"    R2 {r2:.3f} for cells that were held out")
    if not r2 >= _LOW_R2:
        logg.warning(
            f"The network explains {r2:.0%} of the variance of obsm[{use_rep!r}] for cells that it was not trained on. "
            f"Explanations are of the network's own embedding, obsm[{key_added!r}], and say less of the original."
        )
    record = DistilledRecord(
        genes=matrix.gene_names.to_numpy(dtype=object),
        weights=weights_of(encoder),
        n_hidden=settings.n_hidden,
        n_latent=wanted.shape[1],
        layer=matrix.layer,
        use_raw=matrix.use_raw,
        mask=matrix.mask,
        distilled=use_rep,
        r2=r2,
        seed=seed,
        loss=loss,
    )
    results.add("obsm", key_added, encode(encoder, matrix))
    results.records[key_added] = record.stored()
    logg.info("    finished", time=start, deep=f"added\n    {key_added!r} (adata.obsm)")
    return results, record
