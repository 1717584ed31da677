"""SymSim's experiment with unique molecular identifiers: capture, amplification, fragments, sequencing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import truncnorm

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

LEAST_CAPTURE = 0.0005
LEAST_DEPTH = 200
# Standard deviations over means of the sets behind the defaults: 0.02 / 0.05 and 3,000 / 50,000.
CAPTURE_SPREAD = 0.4
DEPTH_SPREAD = 0.06

PCR_RATE = 0.8
N_PCR_FIRST = 16
N_PCR_SECOND = 10
N_PCR_SECOND_RANDOM = 2
N_LENGTH_BINS = 20
LENGTH_SLOPE = 0.02
LARGEST_BIAS = 0.2
LONG_GENE = 1000
FRAGMENT_LONG = 0.70
FRAGMENT_SHORT = 0.78


def truncated(mean: float, spread: float, size: int, lower: float, upper: float, rng: np.random.Generator) -> Array:
    """Normal values with standard deviation ``spread * mean``, truncated to ``[lower, upper]``."""
    sd = spread * mean
    bounds = (lower - mean) / sd, (upper - mean) / sd
    return truncnorm.rvs(*bounds, loc=mean, scale=sd, size=size, random_state=rng)


def amplification_bias(gene_lengths: Counts, rng: np.random.Generator) -> Array:
    """What a gene adds to the rate of the polymerase, between -0.2 and 0.2.

    Genes are put into 20 bins by length, and each bin loses 0.02 on the one before; the rest of the range is
    clipped normal noise.
    """
    n_genes = len(gene_lengths)
    rank = np.empty(n_genes, dtype=np.int64)
    rank[np.argsort(gene_lengths, kind="stable")] = np.arange(n_genes)
    steps = (N_LENGTH_BINS - 1) / 2 - np.arange(N_LENGTH_BINS)
    largest = LARGEST_BIAS - LENGTH_SLOPE * steps.max()
    noise = np.clip(rng.normal(0, largest, n_genes), -largest, largest)
    return LENGTH_SLOPE * steps[rank * N_LENGTH_BINS // n_genes] + noise


def amplify(rate: Array, rng: np.random.Generator) -> Counts:
    """Copies of each molecule after 16 cycles of PCR.

    The first cycle copies with probability ``rate``. In each later one a random share, uniform between 0 and ``rate``,
    of a molecule's copies doubles; the number that does so is rounded up or down at random, without bias.
    """
    copies = 1.0 + (rng.random(len(rate)) < rate)
    for _ in range(N_PCR_FIRST - 1):
        share = rng.random(len(rate)) * rate
        copies += np.floor(copies * share + rng.random(len(rate)))
    return copies.astype(np.int64)


def fragments(copies: Counts, gene_lengths: Counts, rng: np.random.Generator) -> Array:
    """Fragments that the sequencer can read, of each molecule's copies.

    A copy gives one with probability 0.70, or 0.78 for genes shorter than 1,000 bases. They are amplified by ten more
    cycles of rate 0.8, of which only the first two are random: later there are many and their number grows evenly.
    """
    found = rng.binomial(copies, np.where(gene_lengths >= LONG_GENE, FRAGMENT_LONG, FRAGMENT_SHORT))
    for _ in range(N_PCR_SECOND_RANDOM):
        found += rng.binomial(found, PCR_RATE)
    # As SymSim has it: nine cycles follow the two, though there are ten in all.
    return np.rint(found * (1 + PCR_RATE) ** (N_PCR_SECOND - 1))


def observe(
    true_counts: Counts, gene_lengths: Counts, capture: Array, depth: Array, rng: np.random.Generator
) -> Counts:
    """Unique molecules of each gene that the experiment sees in each cell.

    Each molecule is captured with its cell's probability, amplified, broken into fragments, and each fragment is
    sequenced with probability depth / fragments of the cell. A molecule counts when at least one of its fragments
    is read; that has the probability 1 - (1 - p)^fragments, so single reads need not be drawn.

    Parameters
    ----------
    true_counts
        Molecules, shape ``(n_cells, n_genes)``.
    gene_lengths
        In bases, shape ``(n_genes,)``.
    capture
        Probability of each cell's molecules to be captured, shape ``(n_cells,)``.
    depth
        Reads of each cell, shape ``(n_cells,)``.
    rng
        Random numbers.

    Returns
    -------
    Counts, of the shape of ``true_counts`` and nowhere larger.
    """
    n_genes = len(gene_lengths)
    rate = PCR_RATE + amplification_bias(gene_lengths, rng)
    seen = np.zeros(true_counts.shape, dtype=np.int64)
    for cell, molecules in enumerate(true_counts):
        gene = np.repeat(np.arange(n_genes), rng.binomial(molecules, capture[cell]))
        if len(gene) == 0:
            continue
        found = fragments(amplify(rate[gene], rng), gene_lengths[gene], rng)
        p_read = min(1.0, depth[cell] / max(found.sum(), 1.0))
        read = rng.random(len(gene)) < 1 - (1 - p_read) ** found
        seen[cell] = np.bincount(gene[read], minlength=n_genes)
    return seen
