"""The encoder, rebuilt from its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _keys, _records
from .._docs import document

if TYPE_CHECKING:
    from anndata import AnnData

    from ..models import Encoder


@document
def encoder(adata: AnnData, use_rep: str = _keys.REP) -> Encoder:
    r"""The encoder of an embedding as a torch module, in evaluation mode.

    It takes expression as it stands in the matrix it was made for, not standardised: a float32 tensor of shape
    `(n_cells, n_genes)`, genes in the order of `adata.uns['ace'][use_rep]['genes']`. That of an scvi-tools model takes
    :math:`\log(1+\mathrm{counts})`, and behind the genes, where it reads the batch, one indicator for each of
    `adata.uns['ace'][use_rep]['batches']`.

    Parameters
    ----------
    %(adata)s
    use_rep
        Name of the embedding.

    Returns
    -------
    The module; calling it gives latent coordinates, shape `(n_cells, n_latent)`.

    Raises
    ------
    KeyError
        When no encoder is stored under that name.
    ValueError
        When it is a module of your own that has not been passed since `adata` was read.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.embed(adata, n_epochs=5)
    >>> ace.get.encoder(adata).n_genes == len(adata.uns["ace"]["X_ace"]["genes"])
    True
    """
    return _records.require(adata, use_rep).encoder()
