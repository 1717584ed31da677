"""Loss curves of an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from .. import _keys, _records
from .._docs import document
from . import _figures

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

_SIZE = (4.6, 3.2)  # inches
_CURVES = {"train": ("minibatches, inputs dropped out", "o", "--"), "held_out": ("held-out cells", "s", "-")}


@document
def training(
    adata: AnnData, use_rep: str = _keys.REP, *, show: bool | None = None, ax: Axes | None = None
) -> Axes | None:
    """Draw how the encoder of an embedding was trained: reconstruction error against minibatches seen.

    The error is the mean square over cells and genes, in units of the genes' variance: 1 is what reconstructing every
    gene by its mean gives. Training stops when the curve of the held-out cells, which decides, is flat; the other
    is of cells whose inputs are partly dropped out, and may lie above or below it. The first point is near the last
    when a PCA, from which the network starts, is hard to improve on.

    Parameters
    ----------
    %(adata)s
    use_rep
        Name of the embedding.
    %(show_ax)s
    ax
        Axes to draw on.

    Returns
    -------
    The axes; None when shown.

    Raises
    ------
    KeyError
        When no encoder is stored under that name.
    ValueError
        When it was not trained by :func:`ace_scanpy.tl.embed`.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.embed(adata, n_epochs=30)
    >>> ace.pl.training(adata, show=False).get_xlabel()
    'minibatches'
    """
    record = _records.require(adata, use_rep)
    loss = record.loss
    if not loss:
        msg = (
            f"The encoder {use_rep!r} is of the kind {record.kind!r}: it was not trained here, and has no loss history."
        )
        raise ValueError(msg)
    drawn = plt.subplots(figsize=_SIZE, layout="constrained")[1] if ax is None else ax
    steps = np.asarray(loss["minibatches"])
    for color, (name, (label, marker, style)) in zip(_figures.OKABE_ITO[1:], _CURVES.items(), strict=False):
        drawn.plot(steps, loss[name], color=color, marker=marker, markersize=4, linestyle=style, label=label)
    drawn.set_xlabel("minibatches")
    drawn.set_ylabel("mean squared error")
    drawn.set_title(f"Training of {use_rep}", fontsize="medium")
    drawn.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawn.ticklabel_format(axis="y", useOffset=False)
    drawn.spines[["right", "top"]].set_visible(False)
    drawn.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize="small")
    return _figures.finish(drawn, show=show, ax=ax)
