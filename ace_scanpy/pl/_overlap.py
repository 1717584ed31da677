"""Which top genes several rankings share, as an UpSet plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import rc_context

from .. import _rgg, _validate
from .._docs import document
from .._extras import require
from ..metrics import membership
from . import _figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

_CELL = 0.32  # inches
_BARS = 1.4  # inches


@document
def overlap(
    adata: AnnData, group: str, *, keys: Sequence[str], n_genes: int = 18, show: bool | None = None
) -> dict[str, Axes] | None:
    """Draw how many of their top genes for one group several rankings share: an UpSet plot (Lex et al. 2014).

    Each column is a combination of rankings (filled dots) and the number of genes that exactly these have among their
    top ones; each row is a ranking. Rankings may be those of :func:`ace_scanpy.tl.explain`, by any method, and of
    :func:`scanpy.tl.rank_genes_groups`. :func:`ace_scanpy.metrics.membership` gives the genes behind the numbers.

    Parameters
    ----------
    %(adata)s
    group
        The group.
    keys
        Entries of `adata.uns` with rankings, two or more.
    n_genes
        How many of the top genes to compare; figure 3D of the paper has 18.
    %(show)s

    Returns
    -------
    The axes by what they hold: `"sizes"` (bars of the combinations), `"combinations"` (dots) and `"names"`; None when
    shown. Combinations are in order of size.

    Raises
    ------
    KeyError
        When a key has no ranking.
    ValueError
        For fewer than two keys or a repeated one, a group that a ranking lacks, or a ranking of fewer genes.
    ImportError
        When Marsilea, of the extra `plots`, is not installed.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> for method in ("t-test", "wilcoxon"):
    ...     sc.tl.rank_genes_groups(adata, "bulk_labels", method=method, key_added=method)
    >>> axes = ace.pl.overlap(adata, "Dendritic", keys=["t-test", "wilcoxon"], show=False)
    >>> list(axes)
    ['sizes', 'combinations', 'names']
    """
    if isinstance(keys, str) or len(set(keys)) < max(2, len(keys)):
        msg = f"`keys` must be a list of two or more different keys of `adata.uns`. Got {keys!r}."
        raise ValueError(msg)
    with rc_context():  # Marsilea changes matplotlib's legends for the whole session when it is imported
        require("marsilea", "`ace.pl.overlap`", "plots")
    rankings = {}
    for key in keys:
        entry = _rgg.read(adata, key)
        name = _validate.member("group", group, _rgg.group_names(entry))
        rankings[key] = _rgg.table(entry, name)["names"].tolist()
    table = membership(rankings, n_genes)
    return _figures.finish(_draw(table, f"{name}: top {n_genes} genes of {len(keys)} rankings"), show=show)


def _draw(table: pd.DataFrame, title: str) -> dict[str, Axes]:
    """Render; rankings from top to bottom as given, combinations from the largest down."""
    with rc_context():
        from marsilea.plotter import Labels, Numbers
        from marsilea.upset import Upset, UpsetData

    board = Upset(
        UpsetData(table.astype(int)),
        sets_order=list(table.columns),
        sort_subsets="-cardinality",
        size_scale=_CELL,
        color="black",
        shading=0.12,
        grid_background=0.05,
        add_intersections=False,
        add_sets_size=False,
        add_labels=False,
    )
    sizes = board.get_data().cardinality()
    board.add_top(Numbers(sizes, color="black"), size=_BARS, pad=0.1, name="sizes")
    board.add_left(Labels(list(table.columns)), pad=0.1, name="names")
    board.add_title(top=title, fontsize=10, pad=0.1)
    board.add_pad("right", 0.2)
    board.render()
    bars = board.get_ax("sizes")
    bars.set_yticks([])  # the numbers are on the bars
    bars.set_ylabel("genes")
    bars.spines["left"].set_visible(False)
    return {"sizes": bars, "combinations": board.get_main_ax(), "names": board.get_ax("names")}
