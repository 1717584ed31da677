"""DESeq2's test of differential expression (Love et al. 2014), by PyDESeq2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._extras import require
from ._scores import GeneScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ._contrasts import Contrasts

_MIN_MU = 1e-6


def deseq2(
    counts: NDArray[np.integer], codes: NDArray[np.integer], contrasts: Contrasts, *, n_cpus: int = 1
) -> GeneScores:
    r"""Signed Wald statistics of a negative binomial model with one mean per group.

    One fit serves all groups: the model has a coefficient :math:`\beta_c` per group (the design ``~ 0 + group``, which
    is ``~ group`` without singling out a group), and the tested contrast is :math:`\beta_s` minus the mean of the
    others, or minus that of the reference. Settings are those advised for single cells: size factors from positive
    counts (`poscounts`), no replacement or filtering by Cook's distance, no independent filtering, and fitted means
    not raised to 0.5, which most counts of single cells lie below. A gene that one of the others lacks altogether has
    a wide confidence interval there, as in any Wald test, and so a moderate statistic.

    Parameters
    ----------
    counts
        Whole numbers, dense, shape ``(n_cells, n_genes)``.
    codes
        Group of each cell, not negative.
    contrasts
        What to explain against what.
    n_cpus
        Processes.

    Returns
    -------
    Wald statistics as scores, with their p-values. A gene without a count has score 0 and NaN.

    Raises
    ------
    ImportError
        Without PyDESeq2.
    ValueError
        When no gene has a count above 1, so that there are no size factors.
    """
    modules = ("dds", "ds", "default_inference")
    dds, ds, inference = (require(f"pydeseq2.{name}", "`method`='deseq2'", "methods") for name in modules)
    sizing = counts.max(axis=0, initial=0) > 1  # the genes that `poscounts` takes size factors from
    cells = (counts[:, sizing] > 0).any(axis=1)
    lost = np.setdiff1d(codes, codes[cells])
    if len(lost):
        msg = f"{len(lost)} group(s) have no cell with a count of a gene that is counted more than once anywhere."
        raise ValueError(msg)
    counts, codes = counts[cells], codes[cells]
    expressed = (counts > 0).any(axis=0)
    names = [f"cell{i}" for i in range(len(codes))]
    columns = [f"group{g}" for g in range(contrasts.n_groups)]
    design = pd.DataFrame(np.eye(contrasts.n_groups)[codes], index=names, columns=columns)
    genes = [f"gene{i}" for i in np.flatnonzero(expressed)]
    settings = {"inference": inference.DefaultInference(n_cpus=n_cpus), "quiet": True}
    fit = dds.DeseqDataSet(
        counts=pd.DataFrame(counts[:, expressed], index=names, columns=genes),
        metadata=pd.DataFrame({"group": codes.astype(str)}, index=names),
        design=design,
        size_factors_fit_type="poscounts",
        refit_cooks=False,
        min_mu=_MIN_MU,
        **settings,
    )
    fit.deseq2()
    scores = np.zeros((len(contrasts.groups), counts.shape[1]))
    pvals, pvals_adj = np.full(scores.shape, np.nan), np.full(scores.shape, np.nan)
    for row, group in enumerate(contrasts.groups):
        vector = _contrast(group, contrasts.others(row), contrasts.n_groups)
        test = ds.DeseqStats(fit, vector, cooks_filter=False, independent_filter=False, **settings)
        test.summary()
        table = test.results_df
        scores[row, expressed] = np.nan_to_num(table["stat"].to_numpy())
        pvals[row, expressed], pvals_adj[row, expressed] = table["pvalue"], table["padj"]
    return GeneScores(scores, signed=True, pvals=pvals, pvals_adj=pvals_adj)


def _contrast(group: int, others: Sequence[int], n_groups: int) -> NDArray[np.float64]:
    vector = np.zeros(n_groups)
    vector[list(others)] = -1 / len(others)
    vector[group] = 1.0
    return vector
