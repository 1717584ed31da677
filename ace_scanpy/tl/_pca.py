"""Scanpy's principal components as an encoder: exact, and without training."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg

from .. import _matrix, _validate
from .._record_kinds import PcaRecord
from ..pp._standardize import compute as standardize

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._commit import Results
    from .._matrix import GeneMatrix

REP = "X_pca"
_SAME = 1e-3  # largest difference, in standard deviations of the first component; rounding makes it about 1e-5
_TRIED_CELLS = 500


def has_loadings(adata: AnnData, use_rep: str) -> bool:
    """Whether `use_rep` is an embedding of `scanpy.pp.pca`, with its loadings."""
    return use_rep in adata.obsm and _loadings_key(use_rep) in adata.varm


def compute(
    adata: AnnData, use_rep: str, *, layer: str | None = None, use_raw: bool = False
) -> tuple[Results, PcaRecord]:
    """The encoder of a PCA that Scanpy made; the fields to write and its record.

    Scanpy does not keep the means that it subtracted, and subtracts none with ``zero_center=False``. The embedding
    itself says what they add: the constant by which it differs from the projected cells, which has to be the same
    for all cells.
    """
    coordinates, loadings, params = _read(adata, use_rep)
    if layer is None and not use_raw:
        layer = params.get("layer")
    matrix = _on_loadings(adata, _matrix.choose(adata, layer=layer, use_raw=use_raw), loadings)
    if matrix is None:
        msg = f"`adata.raw` lacks genes that `adata.varm[{_loadings_key(use_rep)!r}]` has loadings of."
        raise ValueError(msg)
    start = logg.info(f"reading the PCA {use_rep!r} of {matrix.n_genes} genes of {matrix.where} as an encoder")
    results, mean, scale = standardize(adata, matrix)
    weight = loadings[_read_genes(loadings)]
    projected = np.concatenate(list(matrix.mapped(partial(_projected, weight=weight))))
    offset, worst = _offset(projected, coordinates)
    if worst > _SAME:
        raise ValueError(_refusal(adata, use_rep, matrix, loadings, coordinates, worst))
    record = PcaRecord(
        genes=matrix.gene_names.to_numpy(dtype=object),
        n_latent=loadings.shape[1],
        weights={
            name: np.asarray(values, dtype=np.float32)
            for name, values in {"mean": mean, "scale": scale, "weight": weight, "bias": offset}.items()
        },
        layer=matrix.layer,
        use_raw=matrix.use_raw,
        mask=_mask_name(params, matrix, loadings),
    )
    results.records[use_rep] = record.stored()
    logg.info("    finished", time=start)
    return results, record


def _loadings_key(use_rep: str) -> str:
    """Where `scanpy.pp.pca` keeps the loadings of an embedding."""
    return "PCs" if use_rep == REP else use_rep


def _read(adata: AnnData, use_rep: str) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]:
    """Coordinates, loadings (0 for genes outside its mask) and parameters of a PCA; raises where there is none."""
    if not has_loadings(adata, use_rep):
        msg = (
            f"encoder='pca' reads `adata.obsm[{use_rep!r}]` and `adata.varm[{_loadings_key(use_rep)!r}]`, which "
            f"`sc.pp.pca(adata)` makes. Available: obsm {_validate.listed(adata.obsm)}, "
            f"varm {_validate.listed(adata.varm)}."
        )
        raise KeyError(msg)
    coordinates = np.asarray(adata.obsm[use_rep], dtype=np.float64)
    loadings = np.array(adata.varm[_loadings_key(use_rep)], dtype=np.float64)
    loadings[np.isnan(loadings).all(axis=1)] = 0.0  # what older versions of Scanpy left for genes outside the mask
    if coordinates.shape[1] != loadings.shape[1]:
        msg = (
            f"`adata.obsm[{use_rep!r}]` has {coordinates.shape[1]} components, but "
            f"`adata.varm[{_loadings_key(use_rep)!r}]` has {loadings.shape[1]}. Run `sc.pp.pca(adata)` again."
        )
        raise ValueError(msg)
    entry = adata.uns.get("pca" if use_rep == REP else use_rep, {})
    return coordinates, loadings, dict(entry.get("params", {}))


def _read_genes(loadings: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows of the genes that the PCA was made of."""
    return np.flatnonzero((loadings != 0).any(axis=1))


def _on_loadings(adata: AnnData, matrix: GeneMatrix, loadings: NDArray[np.float64]) -> GeneMatrix | None:
    """The matrix on the genes with loadings, or None where it lacks some."""
    positions = matrix.var_names.get_indexer(adata.var_names[_read_genes(loadings)])
    return None if (positions < 0).any() else matrix.with_genes(positions)


def _projected(rows: Any, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows @ weight)


def _offset(projected: NDArray[np.float64], coordinates: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """What the PCA adds to projected cells, and how far the worst is from that, in units of the first component."""
    difference = coordinates - projected
    offset = difference.mean(axis=0)
    unit = float(coordinates.std(axis=0).max())
    return offset, float(np.abs(difference - offset).max()) / (unit if unit > 0 else 1.0)


def _refusal(
    adata: AnnData,
    use_rep: str,
    asked: GeneMatrix,
    loadings: NDArray[np.float64],
    coordinates: NDArray[np.float64],
    worst: float,
) -> str:
    """Why the embedding is not the PCA of the matrix, and of which one it is."""
    weight = loadings[_read_genes(loadings)]
    others: dict[str, dict[str, Any]] = {"layer=None": {}}
    others |= {f"layer={name!r}": {"layer": name} for name in adata.layers if name is not None}
    others |= {} if adata.raw is None else {"use_raw=True": {"use_raw": True}}
    cells = np.linspace(0, adata.n_obs - 1, min(adata.n_obs, _TRIED_CELLS)).astype(np.intp)
    fitting = []
    for name, arguments in others.items():
        matrix = _on_loadings(adata, _matrix.choose(adata, **arguments), loadings)
        if matrix is None or matrix.where == asked.where:
            continue
        if _offset(_projected(matrix.rows(cells), weight), coordinates[cells])[1] < _SAME:
            fitting.append(name)
    found = (
        f"It is that of another matrix: pass {' or '.join(fitting)}."
        if fitting
        else "Nor is it that of any other matrix in `adata`. Run `sc.pp.pca(adata)` again, with its default solver "
        "where another was used that only approximates."
    )
    return (
        f"`adata.obsm[{use_rep!r}]` is not what `adata.varm[{_loadings_key(use_rep)!r}]` makes of `{asked.where}`: "
        f"cells are up to {worst:.2g} standard deviations of the first component away. {found}"
    )


def _mask_name(params: dict[str, Any], matrix: GeneMatrix, loadings: NDArray[np.float64]) -> str:
    """What to call the genes of the PCA."""
    if matrix.n_genes == len(loadings):
        return "all genes"
    mask = params.get("mask_var")
    return f"var[{mask!r}]" if isinstance(mask, str) else "an array"
