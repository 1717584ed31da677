"""Cells in the latent space, by neuralised assignment and by confidence."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData
from matplotlib import rcParams
from scanpy import logging as logg

from .. import _keys, _labels, _neuralized, _records, _rgg, _validate
from .._docs import document
from ..models._sampling import encode
from . import _figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from numpy.typing import NDArray

_UMAP = "X_umap"
_SURE = "confidence"
_COLORS = 8  # more than these cannot be told apart with every colour vision
_SHORT = 4  # letters that a name on the cells may have
_LETTER = 0.085  # inches
_ROUNDS = 40


@document
def embedding(
    adata: AnnData,
    groupby: str | None = None,
    *,
    basis: str | None = None,
    use_rep: str = _keys.REP,
    show: bool | None = None,
    return_fig: bool = False,
    **kwargs: Any,
) -> list[Axes] | Figure | None:
    r"""Draw cells by the group that the neuralised clustering assigns them to, and by how sure it is.

    Where a label and the assignment differ, the panel of the group explains the assignment; cells of low confidence
    lie between groups.

    Parameters
    ----------
    %(adata)s
    groupby
        Column of `adata.obs`: clusters of :func:`ace_scanpy.tl.cluster`, or labels that
        :func:`ace_scanpy.tl.explain` was run on, whose assignment is that of the encoder's copy fitted to them, or of
        an encoder that is explained as it is. The prototypes are those of `uns['rank_genes_groups']` or of the first
        other ranking of these labels; without one, those that :func:`ace_scanpy.tl.explain` makes by default.
        None for `obs['ace_cluster']` or, where that is missing, the groups of `uns['rank_genes_groups']`.
    basis
        Entry of `adata.obsm` to draw, with or without `X_`. None computes a UMAP of the latent coordinates,
        and does not store it: to keep one, call `sc.pp.neighbors(adata, use_rep='X_ace')` and `sc.tl.umap(adata)`, and
        give `basis='umap'`.
    use_rep
        Embedding with an encoder, from :func:`ace_scanpy.tl.embed`.
    %(show)s
    return_fig
        Return the figure, and do not show it.
    kwargs
        For :func:`scanpy.pl.embedding`: `size`, `ncols`, `legend_loc`, `title` and others.

    Returns
    -------
    The axes: assignment, confidence (difference of the two largest soft assignments, from 0 to 1) and the bar of its
    colours; None when shown.

    Raises
    ------
    KeyError
        For a column, basis or encoder that does not exist.
    ValueError
        For labels that were not explained.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B", "Dendritic"])
    >>> axes = ace.pl.embedding(adata, "bulk_labels", basis="umap", show=False)
    >>> [ax.get_title() for ax in axes[:2]]
    ['bulk_labels, as assigned', 'confidence']
    """
    name = _validate.obs_key(adata, "groupby", _default(adata) if groupby is None else groupby)
    where = _UMAP if basis is None else _basis(adata, basis)
    assigned, sure = _assignment(adata, name, use_rep)
    drawn = AnnData(obs=pd.DataFrame({name: assigned, _SURE: sure}, index=adata.obs_names))
    categories = [str(c) for c in assigned.categories]
    drawn.uns[_keys.colors(name)] = list(_figures.palette(adata, name, categories).values())
    if basis is None:
        drawn.obsm[where] = _umap(_records.latent(adata, use_rep), use_rep)
    else:
        drawn.obsm[where] = np.asarray(adata.obsm[where])
    options = {
        "title": [f"{name}, as assigned", _SURE],
        "color_map": "cividis",
        "vmin": 0.0,
        "vmax": 1.0,
        "frameon": False,
        **_legend(categories),
        **kwargs,
    }
    axes: list[Axes] = _figures.scanpys().embedding(drawn, where, color=[name, _SURE], show=False, **options)
    _spread(list(axes[0].texts))
    if return_fig:
        return cast("Figure", axes[0].figure)
    return _figures.finish([*axes, axes[-1].figure.axes[-1]], show=show)


def _legend(names: Sequence[str]) -> dict[str, Any]:
    """Beside the cells, with room for the longest name; on the cells when too many colours for the eye are numbers."""
    longest = max(map(len, names))
    if len(names) > _COLORS and longest <= _SHORT:
        return {"legend_loc": "on data", "legend_fontsize": "small", "legend_fontoutline": 2, "wspace": 0.05}
    n_columns = 1 + (len(names) > 14) + (len(names) > 30)  # as Scanpy has it
    return {"wspace": 0.05 + n_columns * (0.4 + _LETTER * longest) / rcParams["figure.figsize"][0]}


def _spread(texts: Sequence[Text]) -> None:
    """Move names that cover each other apart, up and down, until none do or a number of rounds is over."""
    for _ in range(_ROUNDS if texts else 0):
        boxes = [text.get_window_extent().padded(1) for text in texts]
        pairs = [(a, b) for a, b in combinations(range(len(texts)), 2) if boxes[a].overlaps(boxes[b])]
        if not pairs:
            return
        for a, b in pairs:
            high, low = (a, b) if boxes[a].y0 >= boxes[b].y0 else (b, a)
            step = (boxes[low].y1 - boxes[high].y0) / 2 + 0.5
            for which, shift in ((high, step), (low, -step)):
                transform = texts[which].get_transform()
                x, y = transform.transform(texts[which].get_position())
                texts[which].set_position(tuple(transform.inverted().transform((x, y + shift))))


def _default(adata: AnnData) -> str:
    """The clusters, or the groups of the ranking where there are none."""
    if _keys.CLUSTER in adata.obs or _keys.RANKING not in adata.uns:
        return _keys.CLUSTER
    return str(_rgg.read(adata, _keys.RANKING)["params"]["groupby"])


def _basis(adata: AnnData, basis: str) -> str:
    """Key of `adata.obsm` that `basis` names."""
    for key in (basis, f"X_{basis}"):
        if key in adata.obsm:
            return key
    msg = f"`basis`={basis!r} not found in `adata.obsm`. Available keys: {_validate.listed(adata.obsm)}."
    raise KeyError(msg)


def _assignment(adata: AnnData, groupby: str, use_rep: str) -> tuple[pd.Categorical, NDArray[np.floating]]:
    """Neuralised assignment and its confidence, stored ones for clusters and anew for labels."""
    if groupby in adata.uns.get(_keys.RECORDS, {}) and _keys.confidence(groupby) in adata.obs:
        return _labels.as_categorical(adata.obs[groupby]), adata.obs[_keys.confidence(groupby)].to_numpy()
    labels = _labels.read(adata, groupby)
    encoder, matrix = _records.explained(adata, use_rep, labels)
    latent = torch.from_numpy(encode(encoder, matrix))
    clustering = _neuralized.of_labels(adata, use_rep, labels, encoder, matrix)
    groups = clustering.assign(latent).tolist()
    ordered = pd.Index([labels.categories[g] for g in labels.display])
    assigned = pd.Categorical([labels.categories[g] for g in groups], categories=ordered)
    return assigned, clustering.confidence(latent).numpy()


def _umap(latent: NDArray[np.floating], use_rep: str) -> NDArray[np.floating]:
    """A UMAP of the latent coordinates, by Scanpy."""
    start = logg.info(
        f"computing a UMAP of obsm[{use_rep!r}], which is not stored (to keep one: "
        f"`sc.pp.neighbors(adata, use_rep={use_rep!r}); sc.tl.umap(adata)`, then `basis='umap'`)"
    )
    cells = AnnData(latent)
    sc.pp.neighbors(cells, use_rep="X")
    sc.tl.umap(cells, key_added=_UMAP)
    logg.info("    finished", time=start)
    return np.asarray(cells.obsm[_UMAP])
