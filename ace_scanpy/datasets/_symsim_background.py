"""One run of SymSim's model, from arguments to arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _symsim_batches as batches
from . import _symsim_technology as technology
from . import _symsim_truth as truth

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """Arguments of a run, as :func:`ace_scanpy.datasets.symsim` documents them."""

    n_cells: int
    n_genes: int
    n_clusters: int
    smallest_cluster: int | None
    n_evf: int
    n_de_evf: int
    sigma: float
    capture: float
    depth: float
    n_batches: int
    batch_size: float


@dataclass(frozen=True)
class Background:
    """What a run gives; cells are sorted by cluster."""

    settings: Settings
    clusters: Counts
    batches: Counts
    factors: list[Array]
    kinetics: truth.Kinetics
    high: Counts
    differences: truth.Differences
    gene_lengths: Counts
    capture: Array
    depth: Array
    true_counts: Counts
    observed_counts: Counts
    observed_batch_counts: Counts


def simulate(settings: Settings, rng: np.random.Generator) -> Background:
    """A run; each stage has a stream of its own, so what comes later never changes what came before."""
    cells, genes, molecules, experiment, batch = rng.spawn(5)
    sizes = truth.cluster_sizes(settings.n_cells, settings.n_clusters, settings.smallest_cluster)
    clusters = np.repeat(np.arange(settings.n_clusters), sizes)
    factors = truth.factors(clusters, settings.n_evf, settings.n_de_evf, settings.sigma, cells)
    effects = truth.gene_effects(settings.n_genes, settings.n_evf, genes)
    kinetics = truth.kinetic_parameters(factors, effects, molecules)
    s, high = truth.raise_some(kinetics.s, molecules)
    kinetics = kinetics._replace(s=s)
    true_counts = truth.true_counts(kinetics, high, molecules)

    gene_lengths = np.rint(truth.draw("gene_len", settings.n_genes, experiment)).astype(np.int64)
    capture = technology.truncated(
        settings.capture, technology.CAPTURE_SPREAD, settings.n_cells, technology.LEAST_CAPTURE, 1.0, experiment
    )
    depth = technology.truncated(
        settings.depth, technology.DEPTH_SPREAD, settings.n_cells, technology.LEAST_DEPTH, np.inf, experiment
    )
    observed = technology.observe(true_counts, gene_lengths, capture, depth, experiment)
    batch_of = batch.integers(settings.n_batches, size=settings.n_cells)
    shifted = observed
    if settings.n_batches > 1:  # a single batch has nothing to differ from
        shifts = batches.batch_shifts(settings.n_batches, settings.n_genes, settings.batch_size, batch)
        shifted = batches.shift(observed, shifts, batch_of, batch)
    return Background(
        settings=settings,
        clusters=clusters,
        batches=batch_of,
        factors=factors,
        kinetics=kinetics,
        high=high,
        differences=truth.differences(kinetics, clusters, effects[-1][:, settings.n_evf - settings.n_de_evf :]),
        gene_lengths=gene_lengths,
        capture=capture,
        depth=depth,
        true_counts=true_counts,
        observed_counts=observed,
        observed_batch_counts=shifted,
    )
