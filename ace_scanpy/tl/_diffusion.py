"""The diffusion map that gene relevance is read from: the user's own, or one made beside the AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scanpy import logging as logg
from scipy import sparse

from .._tables import in_memory

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._matrix import GeneMatrix

_NEIGHBORS = 20  # as Angerer et al.
_COMPONENTS = 5  # they take 2, to be drawn; more tell more groups apart
_FEWEST_CELLS = 5


@dataclass(frozen=True)
class Diffusion:
    """Neighbours and diffusion components of some cells.

    Attributes
    ----------
    cells
        Numbers of the cells.
    neighbors
        Positions in `cells` of the nearest neighbours, shape ``(n_cells, n_neighbors)``, filled up with -1.
    coordinates, eigenvalues
        The first five components after the trivial one, shapes ``(n_cells, n_components)`` and ``(n_components,)``.
    """

    cells: NDArray[np.intp]
    neighbors: NDArray[np.intp]
    coordinates: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]


def diffusion(adata: AnnData, matrix: GeneMatrix, seed: int) -> Diffusion:
    """That of all cells: from `uns["neighbors"]` and `obsm["X_diffmap"]` where they are there; writes nothing."""
    cells = np.arange(adata.n_obs)
    graph = adata.uns.get("neighbors")
    if graph is None:
        return diffusion_of(matrix, cells, seed)
    distances, connectivities = (graph.get(f"{name}_key", name) for name in ("distances", "connectivities"))
    if "X_diffmap" in adata.obsm and "diffmap_evals" in adata.uns:
        logg.info("    with the neighbours and the diffusion map of `adata`")
        graph = in_memory(adata.obsp[distances])
        return _read(cells, graph, adata.obsm["X_diffmap"], adata.uns["diffmap_evals"])
    logg.info("    with the neighbours of `adata`")
    beside = ad.AnnData(obs=pd.DataFrame(index=adata.obs_names))
    beside.uns["neighbors"] = {**graph, "distances_key": "distances", "connectivities_key": "connectivities"}
    beside.obsp["distances"] = in_memory(adata.obsp[distances])
    beside.obsp["connectivities"] = in_memory(adata.obsp[connectivities])
    return _mapped(beside, cells, seed)


def diffusion_of(matrix: GeneMatrix, cells: NDArray[np.intp], seed: int) -> Diffusion:
    """That of some cells, by Scanpy's steps from principal components on; raises for fewer than five."""
    if len(cells) < _FEWEST_CELLS:
        msg = f"method='grs' needs at least {_FEWEST_CELLS} cells for a diffusion map. Got {len(cells)}."
        raise ValueError(msg)
    beside = ad.AnnData(matrix.rows(cells), obs=pd.DataFrame(index=[f"{cell}" for cell in cells]))
    sc.pp.pca(beside, n_comps=min(50, min(beside.shape) - 1), random_state=seed % 2**32)
    sc.pp.neighbors(beside, n_neighbors=min(_NEIGHBORS, len(cells) - 1), use_rep="X_pca", random_state=seed % 2**32)
    return _mapped(beside, cells, seed)


def _mapped(beside: AnnData, cells: NDArray[np.intp], seed: int) -> Diffusion:
    sc.tl.diffmap(beside, random_state=seed % 2**32)
    return _read(cells, beside.obsp["distances"], beside.obsm["X_diffmap"], beside.uns["diffmap_evals"])


def _read(cells: NDArray[np.intp], distances: Any, coordinates: Any, eigenvalues: Any) -> Diffusion:
    """Rows of the sparse matrix of distances as a table of neighbours."""
    graph = sparse.csr_matrix(distances)
    lengths = np.diff(graph.indptr)
    neighbors = np.full((len(cells), lengths.max()), -1, dtype=np.intp)
    neighbors[np.arange(neighbors.shape[1]) < lengths[:, None]] = graph.indices
    return Diffusion(
        cells,
        neighbors,
        np.asarray(coordinates, dtype=np.float64)[:, 1 : _COMPONENTS + 1],
        np.asarray(eigenvalues, dtype=np.float64)[1 : _COMPONENTS + 1],
    )
