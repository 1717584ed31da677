"""One ranking: the groups, what they are compared with, the method, and the entry that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg

from .. import _matrix, _neuralized, _records, methods
from . import _layout
from ._rankers import METHODS, Given, GivenNetwork

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._labels import Labels
    from .._matrix import GeneMatrix, GroupSums
    from ..models import Encoder
    from ._request import Part, Request

_LOW_FIDELITY = 0.9


@dataclass(frozen=True)
class Network:
    """The encoder that is explained, and the cells that it reads."""

    encoder: Encoder
    fingerprint: str
    cells: GeneMatrix


def rank(
    adata: AnnData,
    request: Request,
    part: Part,
    matrix: GeneMatrix,
    sums: GroupSums | None,
    scales: tuple[NDArray[np.floating], NDArray[np.floating]],
    network: Network | None,
) -> dict[str, Any]:
    """The entry of one part of the request; `sums` are those of its groups, None where they are not known yet.

    Prototypes, and what else depends on the groups, are of the cells of the part.
    """
    labels = part.labels
    if sums is None:
        everything = matrix.with_genes(np.arange(len(matrix.var_names)))
        sums = _matrix.group_sums(everything, labels.codes, labels.n_groups)
    params: dict[str, Any] = {"method": request.method, "reference": request.versus(labels)}
    if part.level is not None:
        params |= {"by": request.by, "level": part.level}
    contrasts = request.contrasts(labels)
    start = logg.info(
        f"explaining {len(contrasts.groups)} groups of obs[{labels.key!r}]{part.where} by {request.method!r}"
    )
    fidelity, network_fields = None, {}
    if network is None:
        given = Given(adata, request, matrix, labels, contrasts, sums, *scales)
    else:
        fit = _neuralized.fit(
            network.encoder,
            network.cells,
            labels,
            beta=request.beta,
            min_fidelity=request.min_fidelity,
            seed=request.seed,
        )
        clustering, fidelity = fit.clustering, fit.fidelity
        _report(labels, part.where, fit)
        params |= {
            "labels": _records.digest(labels.codes),
            "encoder": network.fingerprint,
            "min_fidelity": request.min_fidelity,
            "held_out_fidelity": fit.held_out,
        }
        network_fields = _neuralized.build(clustering, labels)
        contrasts = request.contrasts(labels, methods.distances(clustering))
        common = (adata, request, matrix, labels, contrasts, sums, *scales)
        given = GivenNetwork(*common, network.encoder, clustering.to(request.device), network.cells)
    found = METHODS[request.method].rank(given)
    entry = _layout.entry(
        adata,
        matrix,
        labels,
        contrasts,
        found,
        sums,
        fidelity,
        params,
        n_genes=request.n_genes,
        pts=request.pts,
    )
    logg.info("    finished", time=start, deep=f"added\n    {part.key!r} (adata.uns)")
    return entry | network_fields


def _report(labels: Labels, where: str, fit: _neuralized.Fit) -> None:
    """Log how well the neuralised clustering reproduces the labels."""
    fidelity, overall = fit.fidelity, fit.overall
    logg.info(f"    fidelity {overall:.3f}: share of cells whose neuralised assignment is their label")
    held_out, n_prototypes = fit.held_out, len(fit.clustering.prototypes)
    if held_out is not None:
        logg.info(f"    with {n_prototypes} prototypes of {labels.n_groups} groups; {held_out:.3f} of cells held out")
    if overall < _LOW_FIDELITY:
        worst = min(labels.display, key=lambda g: fidelity[g])
        logg.warning(
            f"Only {overall:.0%} of the cells are assigned to their own label in obs[{labels.key!r}]{where} "
            f"(lowest: {labels.names[worst]!r}, {fidelity[worst]:.0%}). The panels explain the assignment, not the "
            "labels."
        )
    elif held_out is not None and held_out < _LOW_FIDELITY:
        logg.warning(
            f"{overall:.0%} of the cells are assigned to their own label in obs[{labels.key!r}]{where}, but of cells "
            f"held out only {held_out:.0%}: the labels do not follow from the embedding, and the panels explain some "
            "that were learnt by heart. `min_fidelity=0` explains the means of the groups."
        )
