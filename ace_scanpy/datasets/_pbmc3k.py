"""PBMC3k, raw counts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

import anndata as ad
import scanpy as sc

if TYPE_CHECKING:
    from anndata import AnnData

_FILE = "pbmc3k_raw.h5ad"


def pbmc3k() -> AnnData:
    """3k peripheral blood cells from 10x Genomics, raw counts.

    Looks for `pbmc3k_raw.h5ad` in the folder that the environment variable `ACE_DATA_DIR` names, then for
    :func:`scanpy.datasets.pbmc3k`, with the cell types of :func:`scanpy.datasets.pbmc3k_processed`; both download
    once.

    Returns
    -------
    2,700 cells; counts in `X`; the published cell types in `obs['louvain']`, missing for 62 cells.

    Raises
    ------
    FileNotFoundError
        When the file is not there and cannot be downloaded; the message says what to do.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> adata = ace.datasets.pbmc3k()  # doctest: +SKIP
    """
    folder = os.environ.get("ACE_DATA_DIR")
    if folder and (Path(folder) / _FILE).is_file():
        return ad.read_h5ad(Path(folder) / _FILE)
    try:
        adata = sc.datasets.pbmc3k()
        adata.obs["louvain"] = sc.datasets.pbmc3k_processed().obs["louvain"]
    except (URLError, OSError) as error:
        msg = (
            f"PBMC3k is not on this machine and could not be downloaded ({error}). With a network run "
            f"`ace_scanpy.datasets.pbmc3k()` once; without one, set ACE_DATA_DIR to a folder that holds {_FILE}."
        )
        raise FileNotFoundError(msg) from error
    return adata
