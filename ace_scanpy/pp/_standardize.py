"""Mean and scale per gene, without touching the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from .. import _keys, _matrix, _validate
from .._commit import Results, record
from .._docs import document

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._matrix import GeneMatrix, GeneMoments

_MAX_VALUE = 10.0


@document
def standardize(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: object = _matrix.DEFAULT_MASK,
    max_value: float = _MAX_VALUE,
    copy: bool = False,
) -> AnnData | None:
    r"""Mean and scale of every gene, so that a unit of change is the same for each (paper, section 3.4).

    The matrix is read by blocks and stays as it is, sparse and unscaled: :math:`z=(x-\mu)/\sigma` is folded
    into the first layer of the encoder. A clip at ``max_value``, as in :func:`scanpy.pp.scale`, could not be; instead
    :math:`\sigma` is raised where needed so that no :math:`|z|` exceeds it. Data with
    negative values (already scaled) are standardised too.

    Parameters
    ----------
    %(adata)s
    %(layer)s
    %(use_raw)s
    %(mask_var)s
    max_value
        Largest :math:`|z|`. The default, 10, is the usual clip of :func:`scanpy.pp.scale`: beyond it a
        single cell would dominate a gene.
    %(copy)s

    Returns
    -------
    None, or the copy. Sets these fields:

    `adata.var['ace_mean']` : float64
        Mean of the gene; NaN outside the mask.
    `adata.var['ace_std']` : float64
        Its scale, in the units of the matrix; 0 for a constant gene, NaN outside the mask.
    `adata.uns['ace']['standardize']` : dict
        Which matrix they belong to.

    With ``use_raw=True`` genes of `adata` that `raw` lacks are NaN.

    Raises
    ------
    ValueError
        For NaN or infinite values, raw counts, repeated gene names, a mask of fewer than two genes.
    KeyError
        For a layer or mask that does not exist.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.pp.standardize(adata)
    >>> bool((adata.var["ace_std"][adata.var["highly_variable"]] > 0).all())
    True
    """
    _validate.writable(adata, copy=copy)
    max_value = _validate.positive("max_value", max_value)
    matrix = _matrix.choose(adata, layer=layer, use_raw=use_raw, mask_var=mask_var)
    start = logg.info(f"standardizing {matrix.n_genes} genes of {matrix.where} ({matrix.mask})")
    adata = adata.copy() if copy else adata
    results, _, _ = compute(adata, matrix, max_value)
    results.write(adata)
    logg.info("    finished", time=start, deep="added\n    'ace_mean', 'ace_std' (adata.var)")
    return adata if copy else None


def compute(
    adata: AnnData, matrix: GeneMatrix, max_value: float | None = None
) -> tuple[Results, NDArray[np.float64], NDArray[np.float64]]:
    """The fields to write, and mean and scale of the genes of `matrix`.

    Without `max_value` it is the one that `standardize` was last called with for this matrix, or its default.
    """
    if max_value is None:
        stored = record(adata, _keys.STANDARDIZE) or {}
        same = stored == {**_params(matrix, 0.0), "max_value": stored.get("max_value")}
        max_value = float(stored["max_value"]) if same else _MAX_VALUE
    moments = _matrix.moments(matrix)
    scale = scales(moments, max_value)
    where = matrix.gene_names.get_indexer(adata.var_names)
    results = Results()
    for key, values in ((_keys.MEAN, moments.mean), (_keys.STD, scale)):
        results.add("var", key, np.where(where >= 0, values[where], np.nan))
    results.records[_keys.STANDARDIZE] = _params(matrix, max_value)
    return results, moments.mean, scale


def scales(moments: GeneMoments, max_value: float = _MAX_VALUE) -> NDArray[np.float64]:
    """Standard deviations, raised where a value is farther than `max_value` of them from the mean."""
    farthest = np.maximum(moments.maximum - moments.mean, moments.mean - moments.minimum)
    return np.where(moments.std > 0, np.maximum(moments.std, farthest / max_value), 0.0)


def _params(matrix: GeneMatrix, max_value: float) -> dict[str, object]:
    return {"layer": matrix.layer, "use_raw": matrix.use_raw, "mask": matrix.mask, "max_value": max_value}
