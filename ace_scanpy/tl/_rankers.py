"""The methods of `explain`, by name: what each needs, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scanpy as sc
from scanpy import logging as logg
from scipy import sparse
from sklearn.decomposition import PCA

from .. import _matrix, methods
from ..methods._cells import sample_cells
from ._diffusion import diffusion, diffusion_of
from ._layout import Found

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._labels import Labels
    from .._matrix import GeneMatrix, GroupSums
    from ..methods import Contrasts, GeneScores
    from ..models import Encoder, NeuralizedClustering
    from ._diffusion import Diffusion
    from ._request import Request

_TESTED_CELLS = 3000
_TESTED_COUNTS = 2**23
_PCA_VALUES = 2**24
_COMPONENTS = 50


@dataclass(frozen=True)
class Given:
    """What a method may read.

    `mean` and `scale` are those of the genes of `matrix`; the scale of a gene that does not vary is 0.
    """

    adata: AnnData
    request: Request
    matrix: GeneMatrix
    labels: Labels
    contrasts: Contrasts
    sums: GroupSums
    mean: NDArray[np.floating]
    scale: NDArray[np.floating]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean expression per group, shape ``(n_groups, n_genes)``."""
        return (self.sums.totals / self.sums.n_cells[:, None])[:, self.matrix.genes]


@dataclass(frozen=True)
class GivenNetwork(Given):
    """The same with the network, for methods that need an encoder; the genes are the encoder's.

    `cells` is what the encoder reads: `matrix`, or what it makes of other values of the same genes and cells.
    """

    encoder: Encoder
    clustering: NeuralizedClustering
    cells: GeneMatrix

    @property
    def means(self) -> NDArray[np.float64]:
        if self.cells is self.matrix:
            return super().means
        sums = _matrix.group_sums(self.cells.genes_alone, self.labels.codes, self.labels.n_groups)
        return sums.totals / sums.n_cells[:, None]


@dataclass(frozen=True)
class Method:
    """One method: how it ranks, the arguments of `explain` that only some methods have, and the package it needs."""

    rank: Callable[[Any], Found]
    options: frozenset[str] = frozenset()
    needs_encoder: bool = False
    package: str | None = None


def _ace(given: GivenNetwork) -> Found:
    request, means = given.request, given.means
    found = methods.explain(
        given.encoder,
        given.clustering,
        given.cells,
        given.labels.codes,
        np.divide(means - given.mean, given.scale, where=given.scale > 0, out=np.zeros_like(means)),
        given.contrasts,
        request.seed,
        weights=request.weights,
        alpha=request.alpha,
        lam=request.lam,
    )
    params = {
        "rest": request.rest,
        "weights": request.weights,
        "alpha": request.alpha,
        "lam": float(found.lam.max()),
        **_network_params(given),
    }
    return Found(
        found.scores,
        params,
        marginal=found.marginal,
        delta=found.delta,
        flip_rate=found.flip_rate,
        panel_size=found.panel_size,
        pairs=found.pairs,
    )


def _smoothgrad(given: GivenNetwork) -> Found:
    return _attribution(given, "smoothgrad")


def _shap(given: GivenNetwork) -> Found:
    return _attribution(given, "shap")


def _attribution(given: GivenNetwork, kind: methods.Attribution) -> Found:
    found = methods.attribute(
        given.encoder, given.clustering, given.cells, given.labels.codes, given.contrasts, given.request.seed, kind
    )
    return _found(found, _network_params(given))


def _jsd(given: Given) -> Found:
    if given.sums.has_negative:
        msg = (
            f"`{given.matrix.where}` has negative values, and method='jsd' needs expression of at least zero. Name a "
            "`layer` that is log-normalised and not scaled, or `use_raw=True`."
        )
        raise ValueError(msg)
    return _found(methods.jsd(given.means, given.contrasts), {})


def _deseq2(given: Given) -> Found:
    layer, matrix, codes = given.request.counts_layer, given.matrix, given.labels.codes
    counts = _matrix.choose(given.adata, layer=layer)
    counts = counts.with_genes(counts.var_names.get_indexer(matrix.gene_names))
    for wrong in counts.mapped(_not_a_count):
        if wrong is not None:
            msg = (
                f"`counts_layer`={layer!r} must hold counts, whole numbers of at least 0. Got {wrong:g}. "
                "Name the layer with the counts before any normalisation."
            )
            raise ValueError(msg)
    most = min(_TESTED_CELLS, max(_TESTED_COUNTS // matrix.n_genes, 1))
    cells = sample_cells(codes, most, given.request.seed)
    if len(cells) < (codes >= 0).sum():
        logg.info(f"    DESeq2 is fitted to a sample of {len(cells)} cells, the same number of each larger group")
    found = methods.deseq2(
        counts.dense(cells).astype(np.int64), codes[cells], given.contrasts, n_cpus=int(sc.settings.n_jobs)
    )
    params = {"counts_layer": layer, "n_cells": len(cells), "corr_method": "benjamini-hochberg"}
    return _found(found, params)


def _not_a_count(block: Any) -> float | None:
    """A value of the block that no count can have, where there is one."""
    stored = block.data if sparse.issparse(block) else block
    wrong = stored[~((stored >= 0) & (stored == np.rint(stored)) & np.isfinite(stored))]
    return float(wrong[0]) if len(wrong) else None


def _gce(given: Given) -> Found:
    varying = given.scale > 0
    matrix = given.matrix.with_genes(given.matrix.genes[varying])
    mean, scale = given.mean[varying], given.scale[varying]
    codes, seed = given.labels.codes, given.request.seed
    cells = sample_cells(codes, _PCA_VALUES // matrix.n_genes, seed)
    standardized = (matrix.dense(cells) - mean) / scale
    n_components = min(_COMPONENTS, min(standardized.shape) - 1)
    pca = PCA(n_components, svd_solver="arpack", random_state=seed % 2**32).fit(standardized)
    embedded = (standardized - pca.mean_) @ pca.components_.T
    latent = [embedded[codes[cells] == group] for group in range(given.labels.n_groups)]
    means = (given.means[:, varying] - mean) / scale
    found = methods.translate(means - pca.mean_, pca.components_.T, latent)
    logg.info(f"    chose lam={found.lam:.3g}, which brings {found.correctness:.0%} of the cells to their target")
    scores = np.zeros((len(given.contrasts.groups), len(varying)))
    scores[:, varying] = methods.gce(found, means, given.contrasts).scores
    params = {"lam": found.lam, "n_components": n_components, "rng": seed}
    return Found(scores, params)


def _grs(given: Given) -> Found:
    codes, contrasts = given.labels.codes, given.contrasts
    if contrasts.reference is None:
        found = diffusion(given.adata, given.matrix, given.request.seed)
        scores = _relevance(given, found, codes)[list(contrasts.groups)]
        return Found(scores, _diffusion_params(given, found), signed=False)
    rows = []
    for group in contrasts.groups:  # against a reference, the diffusion map of the two groups alone
        pair = np.isin(codes, [group, contrasts.reference])
        found = diffusion_of(given.matrix, np.flatnonzero(pair), given.request.seed)
        rows.append(_relevance(given, found, codes[pair])[group])
    return Found(np.stack(rows), _diffusion_params(given, found), signed=False)


def _relevance(given: Given, found: Diffusion, codes: NDArray[np.integer]) -> NDArray[np.float64]:
    return methods.relevance(
        given.matrix,
        found.cells,
        found.neighbors,
        found.coordinates,
        found.eigenvalues,
        codes,
        given.labels.n_groups,
    )


def _diffusion_params(given: Given, found: Diffusion) -> dict[str, Any]:
    n_neighbors, n_components = found.neighbors.shape[1], len(found.eigenvalues)
    return {"n_neighbors": n_neighbors, "n_components": n_components, "rng": given.request.seed}


def _network_params(given: GivenNetwork) -> dict[str, Any]:
    clustering = given.clustering
    return {
        "use_rep": given.request.use_rep,
        "beta": float(clustering.beta),
        "sharpness": float(clustering.sharpness),
        "rng": given.request.seed,
    }


def _found(scores: GeneScores, params: dict[str, Any]) -> Found:
    return Found(scores.scores, params, signed=scores.signed, pvals=scores.pvals, pvals_adj=scores.pvals_adj)


_NETWORK = frozenset({"use_rep", "encoder", "beta", "min_fidelity", "batch_key"})

METHODS: dict[str, Method] = {
    "ace": Method(_ace, _NETWORK | {"rest", "weights", "alpha", "lam", "contrasts", "by"}, needs_encoder=True),
    "deseq2": Method(_deseq2, frozenset({"counts_layer"}), package="pydeseq2"),
    "jsd": Method(_jsd),
    "gce": Method(_gce),
    "grs": Method(_grs),
    "smoothgrad": Method(_smoothgrad, _NETWORK, needs_encoder=True, package="captum"),
    "shap": Method(_shap, _NETWORK, needs_encoder=True, package="captum"),
}
