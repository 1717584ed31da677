"""What the plots share: how they end, and the colours of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.colors import to_hex, to_rgb

from .. import _keys, _validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    T = TypeVar("T")

OKABE_ITO = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
"""Okabe and Ito's palette, which readers with any colour vision can tell apart; black first, yellow last."""

_BRIGHTEST = 0.75  # of lines, from 0 to 1
COLUMNS = 4
"""Most axes side by side in a figure with one axes per group."""


def finish(drawn: T, *, show: bool | None, ax: Axes | None = None) -> T | None:
    """Show the figure and return None, or return `drawn`; None does as Scanpy's settings say, not on a given `ax`."""
    if show or (show is None and ax is None and sc.settings.autoshow):
        plt.show()
        return None
    return drawn


def chosen(groups: object, available: Sequence[str]) -> list[str]:
    """The groups to draw: all, or those named, each once."""
    return list(available) if groups is None else list(dict.fromkeys(_validate.members("groups", groups, available)))


def axes_for(groups: Sequence[str], ax: Axes | None, width: float, height: float) -> list[Axes]:
    """One axes per group, of this size in inches and four to a row; or `ax`, for a single group."""
    if ax is not None and len(groups) != 1:
        msg = f"`ax` takes one group, but {len(groups)} are asked for. Give `groups` with a single group."
        raise ValueError(msg)
    if ax is not None:
        return [ax]
    n_axes = len(groups)
    n_columns = min(n_axes, COLUMNS)
    n_rows = -(-n_axes // n_columns)
    size = (width * n_columns, height * n_rows)
    axes = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")[1]
    for unused in axes.flat[n_axes:]:
        unused.remove()
    return list(axes.flat[:n_axes])


def scanpys() -> Any:
    """Scanpy's plots; where the next ones are switched on, these moved to a namespace of their own."""
    return getattr(sc.pl, "legacy", sc.pl)


def palette(adata: AnnData, groupby: str, groups: Sequence[str]) -> dict[str, str]:
    """Scanpy's stored colours, by group; where it has stored none, colours for any vision if there are enough."""
    stored = adata.uns.get(_keys.colors(groupby))
    if groupby in adata.obs and isinstance(adata.obs[groupby].dtype, pd.CategoricalDtype):
        categories = [str(c) for c in adata.obs[groupby].cat.categories]
    else:
        categories = list(groups)
    if stored is None or len(stored) < len(categories):
        stored = _default_colors(len(categories))
    colors = dict(zip(categories, map(str, stored), strict=False))
    return {group: colors.get(group, "tab:blue") for group in groups}


def ink(color: str) -> str:
    """`color`, darkened where lines of it would be hard to see on white."""
    red, green, blue = to_rgb(color)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    return to_hex(np.array([red, green, blue]) * min(1.0, _BRIGHTEST / max(brightness, _BRIGHTEST)))


def _default_colors(n: int) -> list[str]:
    """Colours for any vision as far as they go, then the palettes of `scanpy.pl.embedding`."""
    palettes = scanpys().palettes
    for colors in (OKABE_ITO[1:] + OKABE_ITO[:1], palettes.default_20, palettes.default_28, palettes.default_102):
        if len(colors) >= n:
            return list(colors[:n])
    return ["grey"] * n
