"""One look for all curves: ACE in thick black, families apart, colours that readers with any colour vision can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FAMILIES = {
    "the paper's methods": ("DESeq2", "JSD", "GCE", "GRS", "SmoothGrad", "SHAP"),
    "Scanpy's and newer ones": (
        "t-test",
        "t-test |score|",
        "wilcoxon",
        "wilcoxon |score|",
        "logreg",
        "COSG",
        "NS-Forest",
        "illico",
    ),
}
# Okabe and Ito's palette without black, which is ACE's; markers tell the curves apart without colour.
_COLORS = ("#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D00", "#666666")
_MARKERS = "os^DvPX*"


def style(name: str) -> dict[str, Any]:
    """Colour, marker and width of a ranking's curve."""
    if name.startswith("ACE"):
        dashes = "-" if name == "ACE" else (0, (1, 1))
        return {"color": "black", "linewidth": 2.6, "marker": "o", "markersize": 4.5, "zorder": 5, "linestyle": dashes}
    number = next(family.index(name) for family in FAMILIES.values() if name in family)
    return {
        "color": _COLORS[number],
        "marker": _MARKERS[number],
        "linewidth": 1.3,
        "markersize": 4.5,
        "linestyle": "--" if "|score|" in name else "-",
    }


def curves(ax: Axes, table: pd.DataFrame, names: list[str], x: str) -> None:
    """Columns `mean` and `sem` against `x`, one line per ranking."""
    for name in names:
        found = table[table["ranking"] == name].sort_values(x)
        if len(found):
            ax.errorbar(
                found[x],
                found["mean"],
                yerr=found["sem"].fillna(0.0),
                label=name,
                elinewidth=0.7,
                capsize=0,
                **style(name),
            )
    ax.spines[["right", "top"]].set_visible(False)
    ax.grid(axis="y", color="0.92", linewidth=0.8)
    ax.set_axisbelow(True)
