"""Scanpy's plots with an axes per group: scores against rank, and violins, of the matrix that was ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from .. import _contrasts, _genes, _keys, _rgg
from .._docs import document
from . import _figures
from ._scanpy_grids import select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from .._genes import Direction

_RANKING_GENES = 20  # as in Scanpy
_BELOW = 0.05  # share of the height
_VIOLIN_WIDTH, _VIOLIN_HEIGHT = 0.28, 3.2  # inches per gene, per row


@document
def rank_genes_groups(
    adata: AnnData,
    groups: Sequence[str] | None = None,
    *,
    n_genes: int = _RANKING_GENES,
    direction: Direction = "both",
    gene_symbols: str | None = None,
    key: str = _keys.RANKING,
    show: bool | None = None,
    **kwargs: Any,
) -> list[Axes] | None:
    """Draw scores against rank, one axes per group, as :func:`scanpy.pl.rank_genes_groups`.

    Depleted genes are below the line at 0. Groups with fewer genes of the direction than `n_genes` show fewer.

    Parameters
    ----------
    %(adata)s
    %(groups)s
    n_genes
        Genes per group.
    %(direction)s
    %(gene_symbols)s
    %(key)s
    %(show)s
    kwargs
        For Scanpy's plot: `ncols`, `fontsize`, `sharey`, `ax`.

    Returns
    -------
    The axes, one per group; None when shown.

    Raises
    ------
    KeyError
        When there is no such ranking or no such column of symbols.
    ValueError
        For an unknown group or direction, or a direction of a method that has none.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["Dendritic"])
    >>> axes = ace.pl.rank_genes_groups(adata, ["Dendritic"], n_genes=5, direction="depleted", show=False)
    >>> axes[0].get_title()
    'Dendritic vs. rest'
    """
    entry, tables = select(adata, groups, n_genes, direction, key)
    symbols = _genes.labels(adata, entry, gene_symbols)
    names, scores = {}, {}
    length = max(map(len, tables.values()))
    for group, table in tables.items():
        missing = length - len(table)  # recarrays have one length; an empty name is drawn as nothing
        names[group] = np.array([*_genes.relabel(table["names"], symbols), *[""] * missing], dtype=object)
        scores[group] = np.pad(table["scores"].to_numpy(), (0, missing), mode="edge" if len(table) else "constant")
    narrowed = {
        "params": {**entry["params"], "use_raw": False},
        "names": np.rec.fromarrays(list(names.values()), dtype=[(group, "O") for group in names]),
        "scores": np.rec.fromarrays(list(scores.values()), dtype=[(group, "f4") for group in scores]),
    }
    stand_in = AnnData(var=pd.DataFrame(index=[]), uns={key: narrowed})
    draw = _figures.scanpys().rank_genes_groups
    axes: list[Axes] = draw(stand_in, list(tables), n_genes=length, key=key, show=False, **kwargs)
    limits = [one.get_ylim() for one in axes]
    for one, group, (low, high) in zip(axes, tables, limits, strict=True):
        one.set_title(_contrasts.versus(entry, group))
        one.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
        one.set_ylim(low - _BELOW * (high - low), high)  # Scanpy's start at the lowest score, which cuts its name off
    return _figures.finish(axes, show=show)


@document
def rank_genes_groups_violin(
    adata: AnnData,
    groups: Sequence[str] | None = None,
    *,
    n_genes: int = _RANKING_GENES,
    direction: Direction = "both",
    gene_symbols: str | None = None,
    key: str = _keys.RANKING,
    show: bool | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> list[Axes] | None:
    """Draw the distributions of each group's top genes, in the group and in the rest or the reference.

    As :func:`scanpy.pl.rank_genes_groups_violin`, but of the matrix that was ranked, a layer too, and with an axes of
    its own for each group.

    Parameters
    ----------
    %(adata)s
    %(groups)s
    n_genes
        Genes per group.
    %(direction)s
    %(gene_symbols)s
    %(key)s
    %(show_ax)s
    ax
        Axes to draw on, for a single group.
    kwargs
        For Scanpy's plot: `split`, `strip`, `density_norm`, `jitter`, `size`.

    Returns
    -------
    The axes, one per group; None when shown. In each, the group is at the left of a violin and the others at the right,
    as the legend says.

    Raises
    ------
    KeyError
        When there is no such ranking or no such column of symbols.
    ValueError
        For an unknown group or direction, a direction of a method that has none, or `ax` with several groups.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["Dendritic"])
    >>> axes = ace.pl.rank_genes_groups_violin(adata, ["Dendritic"], n_genes=3, show=False)
    >>> len(axes[0].get_xticklabels())
    3
    """
    entry, tables = select(adata, groups, n_genes, direction, key)
    symbols = _genes.labels(adata, entry, gene_symbols)
    axes = _figures.axes_for(list(tables), ax, max(2.9, _VIOLIN_WIDTH * n_genes), _VIOLIN_HEIGHT)
    for one, (group, table) in zip(axes, tables.items(), strict=True):
        stand_in = _stand_in(adata, entry, group, table, symbols, key)
        _figures.scanpys().rank_genes_groups_violin(
            stand_in, [group], n_genes=n_genes, use_raw=False, key=key, ax=one, show=False, **kwargs
        )
        one.set_title(_contrasts.versus(entry, group), fontsize="medium")
        one.set_xlabel("")
    _sides(axes[0], alone=ax is not None)
    return _figures.finish(axes, show=show, ax=ax)


def _sides(ax: Axes, *, alone: bool) -> None:
    """Say which half of a violin is whose, on this axes or below all of them."""
    halves = [body for body in ax.collections if isinstance(body, PolyCollection)][:2]
    names = ("left: the group", "right: the others")
    handles = [
        Patch(facecolor=half.get_facecolor()[0], edgecolor="0.3", label=name)
        for half, name in zip(halves, names, strict=False)
    ]
    options: dict[str, Any] = {"handles": handles, "frameon": False, "fontsize": "small"}
    if alone:
        ax.legend(**options)
    else:
        ax.figure.legend(loc="outside lower center", ncols=2, **options)


def _stand_in(
    adata: AnnData, entry: Mapping[str, Any], group: str, table: pd.DataFrame, symbols: pd.Series | None, key: str
) -> AnnData:
    """The drawn genes alone, from the matrix that was ranked, with their names and a ranking of one group.

    Where the group is compared with groups of its own, these are all the others that there are.
    """
    names = table["names"].tolist()
    raw = _genes.uses_raw(entry)
    params = dict(entry["params"])
    shown = _genes.relabel(table["names"], symbols)
    groupby = str(params["groupby"])
    obs = adata.obs[[groupby]].copy()
    kept = np.ones(adata.n_obs, dtype=bool)
    if str(params["reference"]) in _rgg.SEVERAL_REFERENCES:
        source = _contrasts.source(entry, group)
        compared = [source, *_contrasts.per_target(entry, group).index]
        kept = obs[groupby].astype(str).isin(compared).to_numpy()
        obs[groupby] = pd.Categorical(obs[groupby].astype(str).replace({source: group}))
        params["reference"] = "rest"
    return AnnData(
        sc.get.obs_df(adata, names, layer=params.get("layer"), use_raw=raw).to_numpy()[kept],
        obs=obs[kept],
        var=pd.DataFrame(index=shown),
        uns={key: {"params": params, "names": np.rec.fromarrays([shown], dtype=[(group, "O")])}},
    )
