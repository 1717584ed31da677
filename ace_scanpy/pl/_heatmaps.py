"""Heatmaps of signed scores, rows by genes: colours centred at 0, signs that do not rest on them, and their scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import FuncNorm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

CELL = 0.19  # inches
LETTER = 0.08  # inches, of the names of rows and genes
_MARGINS = (1.9, 1.1)  # inches, for what stands at the right and the bar of colours
_SIGNED, _UNSIGNED = "RdBu_r", "Blues"  # both safe for any colour vision
_GAP = 0.5  # inches, for the words at the ends of the scale
_DARK = 0.65  # share of the range beyond which white ink reads better than black


def figure(rows: Sequence[str], genes: Sequence[str], *, beside: float | None) -> tuple[Axes, Axes | None]:
    """Axes for the heatmap and, of this width in inches, for what stands at its right."""
    inside = max(CELL * len(genes), 1.5)
    size = (
        _MARGINS[0] + inside + LETTER * max(map(len, rows)),
        _MARGINS[1] + CELL * len(rows) + LETTER * max(map(len, genes)),
    )
    drawn = plt.figure(figsize=size, layout="constrained")
    drawn.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    if beside is None:
        return drawn.add_subplot(), None
    return tuple(drawn.subplots(1, 2, width_ratios=[inside, beside]))


def label(ax: Axes, rows: Sequence[str], genes: Sequence[str]) -> None:
    """Names of rows and columns, without ticks or frame."""
    ax.set_xticks(range(len(genes)), genes, rotation=90, fontsize="small")
    ax.set_yticks(range(len(rows)), rows, fontsize="small")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def heatmap(ax: Axes, scores: pd.DataFrame, *, signed: bool, color_map: str | None) -> AxesImage:
    """The image, its colours centred at 0."""
    reach = float(np.nanmax(np.abs(scores.to_numpy()))) or 1.0
    cmap = colormaps[color_map or (_SIGNED if signed else _UNSIGNED)].copy()
    cmap.set_bad("0.85")
    norm = FuncNorm((_root, _square), vmin=-reach if signed else 0.0, vmax=reach)
    return ax.imshow(scores.to_numpy(dtype=float), cmap=cmap, norm=norm, aspect="auto", interpolation="nearest")


def _root(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Square root with the sign kept: scores are shares, most of them small."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.sign(values) * np.square(values)


def signs(ax: Axes, image: AxesImage, scores: pd.DataFrame, tops: Mapping[str, Iterable[str]]) -> None:
    """A sign on each group's own top genes, so that the direction does not rest on colour."""
    strength = np.abs(2 * np.asarray(image.norm(scores.to_numpy())) - 1)
    for row, (group, names) in enumerate(tops.items()):
        for column in map(list(scores.columns).index, names):
            score = scores.loc[group].iloc[column]
            if score != 0:
                ax.text(
                    column,
                    row,
                    "+" if score > 0 else "−",
                    color="white" if strength[row, column] > _DARK else "black",
                    ha="center",
                    va="center_baseline",
                    fontsize="small",
                )


def color_bar(beside: list[Axes], image: AxesImage, n_rows: int, *, signed: bool) -> None:
    """The scale, with words at its ends."""
    parent = beside[0].figure
    shrink = min(1.0, 1.5 / (CELL * n_rows))
    pad = _GAP * parent.dpi / parent.bbox.width
    bar = parent.colorbar(image, ax=beside, shrink=shrink, aspect=12, pad=pad)
    step = float(f"{image.get_clim()[1] / 1.5:.0g}")
    ticks = [-step, -step / 10, 0.0, step / 10, step] if signed else [0.0, step / 10, step]
    bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "−") for tick in ticks], fontsize="small")
    bar.ax.set_title("enriched\n+" if signed else "score", fontsize="small")
    if signed:
        bar.ax.set_xlabel("−\ndepleted", fontsize="small")
        bar.set_label("score", fontsize="small")
