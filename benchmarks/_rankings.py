"""Gene rankings by name, each through its own package: ACE, the paper's six, Scanpy's five and newer rivals.

The data to rank: `X` is what is ranked and judged, `layers["counts"]` are whole numbers for DESeq2, and
`layers["nonnegative"]`, where it is there, stands in for an `X` with negative values in JSD, which takes none.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import scanpy as sc
from sklearn.exceptions import ConvergenceWarning

import ace_scanpy as ace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from anndata import AnnData

Ranking = dict[str, list[str]]
"""Genes of each group, from most to least important."""

DE_RANKINGS = {
    "t-test": {"method": "t-test"},
    "t-test |score|": {"method": "t-test", "rankby_abs": True},
    "wilcoxon": {"method": "wilcoxon"},
    "wilcoxon |score|": {"method": "wilcoxon", "rankby_abs": True},
    "logreg": {"method": "logreg"},
}
PAPER = {
    "ACE": "ace",
    "DESeq2": "deseq2",
    "JSD": "jsd",
    "GCE": "gce",
    "GRS": "grs",
    "SmoothGrad": "smoothgrad",
    "SHAP": "shap",
}
WITH_ENCODER = ("ACE", "SmoothGrad", "SHAP")
_KEY = "benchmark"
_MOST_OF_NSFOREST = 15


def listed(names: np.recarray) -> Ranking:
    """The field `names` of `rank_genes_groups` as lists."""
    return {group: [str(gene) for gene in names[group]] for group in names.dtype.names}


def _explain(adata: AnnData, groupby: str, seed: int, *, method: str) -> Ranking:
    layer = "nonnegative" if method == "jsd" and "nonnegative" in adata.layers else None
    options = {"counts_layer": "counts"} if method == "deseq2" else {}
    ace.tl.explain(adata, groupby, method=method, mask_var=None, layer=layer, key_added=_KEY, rng=seed, **options)
    return listed(adata.uns.pop(_KEY)["names"])


def _scanpy(adata: AnnData, groupby: str, _seed: int, **arguments: object) -> Ranking:
    with warnings.catch_warnings():
        # fold changes of genes with negative means, which no ranking here reads
        warnings.filterwarnings("ignore", "invalid value encountered in log2", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)  # logreg with Scanpy's own number of iterations
        sc.tl.rank_genes_groups(adata, groupby, use_raw=False, key_added=_KEY, **arguments)
    return listed(adata.uns.pop(_KEY)["names"])


def _cosg(adata: AnnData, groupby: str, _seed: int) -> Ranking:
    from cosg import cosg

    cosg(adata, groupby=groupby, n_genes_user=adata.n_vars, key_added=_KEY)
    return listed(adata.uns.pop(_KEY)["names"])


def _illico(adata: AnnData, groupby: str, _seed: int) -> Ranking:
    from illico import asymptotic_wilcoxon
    from loguru import logger

    logger.disable("illico")
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():  # progress bars
        warnings.filterwarnings("ignore", "(invalid value|divide by zero) encountered", RuntimeWarning)
        found = asymptotic_wilcoxon(adata, is_log1p=True, group_keys=groupby, return_as_scanpy=True)
    return listed(found["names"])


def _nsforest(adata: AnnData, groupby: str, _seed: int) -> Ranking:
    """Its combination of markers, then the other genes it weighed for the group by their binary score.

    It names no more than 15 genes of a group, as many as go into its decision trees. Preselection by binary score, its
    default, leaves groups of SymSim without a gene and stops it, so that it chooses among all genes with a positive
    median.
    """
    from nsforest import preprocessing
    from nsforest.nsforesting import NSForest

    prepared = adata.copy()
    prepared.raw = None
    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # it relies on what pandas and scikit-learn deprecate
        prepared = preprocessing.prep_medians(prepared, groupby)
        prepared = preprocessing.prep_binary_scores(prepared, groupby)
        found = NSForest(
            prepared,
            groupby,
            gene_selection=None,
            n_jobs=1,
            n_top_genes=_MOST_OF_NSFOREST,
            n_binary_genes=_MOST_OF_NSFOREST,
            output_folder=f"{folder}/",
        )
    lists = {
        str(row.clusterName): list(dict.fromkeys([*row.NSForest_markers, *row.binary_genes]))
        for row in found.itertuples()
    }
    return {str(group): lists.get(str(group), []) for group in adata.obs[groupby].cat.categories}


RANKINGS: dict[str, Callable[[AnnData, str, int], Ranking]] = {
    **{name: partial(_explain, method=method) for name, method in PAPER.items()},
    **{name: partial(_scanpy, **arguments) for name, arguments in DE_RANKINGS.items()},
    "COSG": _cosg,
    "NS-Forest": _nsforest,
    "illico": _illico,
}


@dataclass
class Ranked:
    """Rankings by name, the seconds each took, and why one is missing."""

    rankings: dict[str, Ranking] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def rank(adata: AnnData, groupby: str, names: Iterable[str], seed: int = 0) -> Ranked:
    """Rank the genes of every group; methods with an encoder share the one in `adata`.

    A ranking whose package is not installed is listed in `missing`, not left out in silence.
    """
    found = Ranked()
    for name in names:
        start = time.perf_counter()
        try:
            found.rankings[name] = RANKINGS[name](adata, groupby, seed)
        except ImportError as error:
            found.missing[name] = f"not installed ({error})"
            continue
        found.seconds[name] = time.perf_counter() - start
    return found


def top(ranking: Ranking, size: int) -> dict[str, list[str]] | None:
    """The first `size` genes of every group, or all of a shorter list; None if none is that long, or one is empty."""
    lengths = [len(genes) for genes in ranking.values()]
    if min(lengths) == 0 or max(lengths) < size:
        return None
    return {group: genes[:size] for group, genes in ranking.items()}
