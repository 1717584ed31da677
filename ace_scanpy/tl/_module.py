"""A user's own network as an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from scanpy import logging as logg

from .._record_kinds import ModuleRecord
from ..models import ModuleEncoder, encode
from ..pp._standardize import compute as standardize

if TYPE_CHECKING:
    from anndata import AnnData

    from .._commit import Results
    from .._matrix import GeneMatrix

_DESCRIBED = 2000  # letters


def is_module(encoder: object) -> bool:
    """Whether an `encoder` is a map of the user's own."""
    return callable(encoder) and not isinstance(encoder, type)


def compute(adata: AnnData, function: Any, matrix: GeneMatrix, key_added: str) -> tuple[Results, ModuleRecord]:
    """Embed cells by a module; the fields to write and its record, which knows the module for this process."""
    if not is_module(function):
        msg = (
            "`encoder` must be a torch module or a callable, or a trained SCVI or SCANVI model. "
            f"Got {function!r} of type {type(function).__name__}."
        )
        raise TypeError(msg)
    results, mean, scale = standardize(adata, matrix)
    encoder = ModuleEncoder(function, torch.tensor(mean, dtype=torch.float32), torch.tensor(scale, dtype=torch.float32))
    description = describe(function)
    start = logg.info(f"embedding {matrix.n_cells} cells by {description.splitlines()[0]}")
    with torch.no_grad():
        probe = encoder(encoder.probes())
    record = ModuleRecord(
        genes=matrix.gene_names.to_numpy(dtype=object),
        n_latent=probe.shape[1],
        weights={"mean": encoder.mean.numpy(), "scale": encoder.scale.numpy(), "probe": probe.numpy()},
        layer=matrix.layer,
        use_raw=matrix.use_raw,
        mask=matrix.mask,
        use_rep=key_added,
        description=description,
    )
    record.accept(function)
    results.add("obsm", key_added, encode(encoder, matrix))
    results.records[key_added] = record.stored()
    logg.info("    finished", time=start, deep=f"added\n    {key_added!r} (adata.obsm)")
    return results, record


def describe(function: Any) -> str:
    """What to call a module: its layers; a function: where it is from."""
    if isinstance(function, torch.nn.Module):
        return repr(function)[:_DESCRIBED]
    owner = function if hasattr(function, "__qualname__") else type(function)
    return f"{owner.__module__}.{owner.__qualname__}"
