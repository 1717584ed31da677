"""A ranking written by hand, so that pictures of it are known in advance and the same on every machine."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ace_scanpy import _contrasts, _rgg

GROUPS = ["a", "b", "c", "d"]
GENES = [f"g{i}" for i in range(12)]
# a and c share g0, g1 and g4; b and d share g5, g6 and g9
SCORES = np.array(
    [
        [0.5, 0.2, 0, 0, -0.3, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0.6, 0.2, 0.1, 0, -0.1, 0, 0],
        [0.4, 0.1, 0.2, 0, -0.3, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0.3, 0.5, 0, 0.05, -0.15, 0, 0],
    ]
)
PAIRS = [(s, t) for s in range(4) for t in range(4) if s != t]
DISTANCE = np.array([[0, 3, 1, 4], [3, 0, 4, 1], [1, 4, 0, 3], [4, 1, 3, 0]])


@pytest.fixture
def ranked():
    """40 cells of 4 groups and 12 genes; X, `layers["double"]` and raw differ; genes 10, 11 and others score 0.

    What leads from one group to another takes away twice the scores of the first and adds those of the second.
    """
    rng = np.random.default_rng(0)
    codes = np.arange(40) % 4
    values = (rng.random((40, 12)) + (SCORES[codes] > 0) * 2).astype(np.float32)
    adata = ad.AnnData(
        values,
        obs=pd.DataFrame({"group": pd.Categorical(np.array(GROUPS)[codes])}, index=[f"cell{i}" for i in range(40)]),
        var=pd.DataFrame({"symbol": [f"SYM{i}" for i in range(12)]}, index=GENES),
        layers={"double": 2 * values},
    )
    adata.raw = ad.AnnData(10 * values, obs=adata.obs, var=adata.var)
    signs = np.where(SCORES != 0, SCORES, np.where(np.arange(12) % 2, -1, 1))
    ranking = _rgg.Ranking(
        order=np.argsort(-np.abs(SCORES), axis=1, kind="stable"),
        scores=SCORES,
        enriched=signs > 0,
        delta=-SCORES,
        fidelity=np.array([1.0, 0.9, 0.8, 0.7]),
        flip_rate=np.array([1.0, 0.99, 0.5, 0.98]),
        panel_size=np.array([2, 3, 0, 4]),
        n_cells=np.full(4, 10),
        pvals=np.full(SCORES.shape, np.nan),
        pvals_adj=np.full(SCORES.shape, np.nan),
    )
    order = ranking.order
    delta = np.stack([SCORES[t] - 2 * SCORES[s] for s, t in PAIRS])
    source, target = np.array(PAIRS).T
    contrasts = _contrasts.build(
        GROUPS, GROUPS, range(4), source, target, sparse.csr_matrix(delta), np.full(12, 0.97), DISTANCE, order, None
    )
    params = {"groupby": "group", "reference": "rest", "use_raw": False, "layer": None, "method": "ace"}
    adata.uns["rank_genes_groups"] = _rgg.build(
        ranking,
        groups=GROUPS,
        var_names=adata.var_names,
        logfoldchanges=3 * np.sign(signs) * np.abs(SCORES),
        params=params,
        n_genes=None,
    )
    adata.uns["rank_genes_groups"] |= contrasts
    return adata


@pytest.fixture
def unsigned(ranked):
    """The same, by a method whose scores have no direction."""
    entry = ranked.uns["rank_genes_groups"]
    del entry["enriched"]
    for group in GROUPS:
        entry["scores"][group] = np.abs(entry["scores"][group])
    entry["params"]["method"] = "grs"
    return ranked


@pytest.fixture
def names_inside():
    """Raise unless every visible text of a figure is inside it."""

    def check(figure):
        figure.canvas.draw()
        boxes = [text.get_window_extent() for ax in figure.axes for text in ax.texts if text.get_text()]
        boxes += [ax.get_tightbbox() for ax in figure.axes if ax.axison]
        for box in boxes:
            assert figure.bbox.x0 - 1 <= box.x0
            assert box.x1 <= figure.bbox.x1 + 1
            assert figure.bbox.y0 - 1 <= box.y0
            assert box.y1 <= figure.bbox.y1 + 1

    return check
