"""How many genes are enough: share of cells moved against the length of the ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import PercentFormatter

from .. import _contrasts, _keys, _rgg, _validate
from .._docs import document
from .._explained import Explained
from ..methods._perturbation import WANTED
from . import _figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_LINES = 8  # more cannot be told apart
_EVERY = 30  # genes up to which every size is drawn
_POINTS = 30  # sizes beyond, evenly spaced on a logarithm
_AXES_SIZE = (3.3, 2.6)  # inches
_ALONE = 4.8  # inches, the width of a single axes
_ROW = 0.2  # inches of a line of the legend
_PAD = 0.12  # inches above and below an axes with its legend
_MARKERS = "osD^vPX*"


@document
def flip_curve(
    adata: AnnData,
    *,
    groups: Sequence[str] | None = None,
    n_genes: int | None = None,
    key: str = _keys.RANKING,
    show: bool | None = None,
    ax: Axes | None = None,
) -> list[Axes] | None:
    """Draw how many genes of each ranking are enough: share of cells moved against the number of genes.

    For each number of genes the stored perturbations are cut to the first ones and not refitted, and applied to the
    group's sampled cells; what is drawn is the contrast that moves the fewest. A marker is where 95 % are moved in
    every contrast, the `panel_size` of the ranking; groups without a marker get there with no number of genes. Groups
    are in the order of that size, up to eight to an axes.

    The network is rebuilt from its record and nothing is trained or solved, but the cells have to be those that were
    explained.

    Parameters
    ----------
    %(adata)s
    groups
        Groups to draw; None for all.
    n_genes
        Most genes; None for as many as show every marker.
    %(key)s
    %(show_ax)s
    ax
        Axes to draw all groups on.

    Returns
    -------
    The axes; None when shown.

    Raises
    ------
    KeyError
        When there is no such ranking, or its encoder is gone.
    ValueError
        For an unknown group, a ranking without contrasts, or cells and labels other than those that were explained.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B", "Dendritic"])
    >>> axes = ace.pl.flip_curve(adata, show=False)
    >>> axes[0].get_xlabel()
    'genes'
    """
    entry = _rgg.read(adata, key)
    _contrasts.require(entry)
    chosen = _figures.chosen(groups, _rgg.group_names(entry))
    most = None if n_genes is None else _validate.whole_number("n_genes", n_genes)
    enough = {group: int(_rgg.per_group(entry, "panel_size", group)) for group in chosen}
    chosen.sort(key=lambda group: enough[group] or np.inf)
    explained = Explained.load(adata, entry)
    prefixes = {group: explained.prefixes(group) for group in chosen}
    reach = most or _reach(list(enough.values()), [prefix.n_moved for prefix in prefixes.values()])
    parts = [chosen] if ax is not None else [chosen[i : i + _LINES] for i in range(0, len(chosen), _LINES)]
    axes = _axes(parts) if ax is None else [ax]
    for one, part in zip(axes, parts, strict=True):
        for number, group in enumerate(part):
            sizes = _sizes(reach, enough[group])
            rates = prefixes[group].worst(torch.from_numpy(sizes)).numpy()
            _line(one, group, sizes, rates, enough[group], number)
        _finish(one, reach)
    axes[0].set_ylabel("cells moved")
    return _figures.finish(axes, show=show, ax=ax)


def _reach(enough: Sequence[int], moved: Sequence[int]) -> int:
    """Genes that show every marker with some room, or all that move a cell where there is none."""
    return int(1.15 * max(enough)) + 2 if max(enough) else max(*moved, 1)


def _sizes(reach: int, enough: int) -> NDArray[np.int64]:
    """Numbers of genes to draw: none, every small one, some of the larger ones, and where enough is reached."""
    if reach <= _EVERY + _POINTS:
        return np.arange(reach + 1)
    sparse = np.geomspace(_EVERY, reach, _POINTS).round().astype(int)
    at = [size for size in (enough - 1, enough) if 0 < size <= reach]
    return np.unique(np.concatenate([np.arange(_EVERY), sparse, at]))


def _axes(parts: Sequence[Sequence[str]]) -> list[Axes]:
    """One axes per part, with room for its legend."""
    n_columns = min(len(parts), _figures.COLUMNS)
    n_rows = -(-len(parts) // n_columns)
    height = _AXES_SIZE[1] + _ROW * (len(parts[0]) + 1)
    size = (_ALONE if len(parts) == 1 else _AXES_SIZE[0] * n_columns + 0.4, height * n_rows)
    figure, grid = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(h_pad=_PAD)
    for unused in grid.flat[len(parts) :]:
        unused.remove()
    return list(grid.flat[: len(parts)])


def _line(
    ax: Axes, group: str, sizes: NDArray[np.int64], rates: NDArray[np.floating], enough: int, number: int
) -> None:
    """One group, marked where it has genes enough."""
    color = _figures.ink(_figures.OKABE_ITO[number % len(_figures.OKABE_ITO)])
    marker = _MARKERS[number % len(_MARKERS)]
    label = f"{group} ({enough or 'never'})"
    at = np.flatnonzero(sizes == enough).tolist() if enough else []
    ax.plot(sizes, rates, color=color, linewidth=1.3, marker=marker, markersize=7, markevery=at, label=label)


def _finish(ax: Axes, reach: int) -> None:
    """The line at 95 %, and everything around the curves."""
    ax.axhline(WANTED, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xlim(0, reach)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlabel("genes")
    ax.spines[["right", "top"]].set_visible(False)
    ax.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        frameon=False,
        fontsize="small",
        title="group (genes enough for 95 %)",
        title_fontsize="small",
    )
