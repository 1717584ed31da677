"""SymSim's cells before the experiment: factors, gene effects, kinetic parameters, molecules (Zhang et al. 2019)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

PARAMETERS = ("kon", "koff", "s")
EFFECT_PROBABILITY = 0.25
FACTOR_CENTRE = 1.0
HIGH_SHARE = 0.015
HIGH_LOG2 = 5.0
LEAST_EFFECT = 0.001
LEAST_LOG2FC = 0.8


class Kinetics(NamedTuple):
    """Rates of promoter opening and closing and of synthesis, in units of the decay rate, ``(n_cells, n_genes)``."""

    kon: Array
    koff: Array
    s: Array


class Differences(NamedTuple):
    """What truly differs between clusters; the pairs are in the order of :func:`itertools.combinations`."""

    n_factors: Counts
    log2fc: Array
    is_de: NDArray[np.bool_]


@cache
def quantiles(column: str) -> Array:
    """201 equally spaced quantiles of SymSim's ``log10_kon``, ``log10_koff``, ``log10_s`` or ``gene_len``."""
    with (files(__package__) / "symsim_param_quantiles.csv").open(encoding="utf-8") as table:
        names = [name.strip('"') for name in table.readline().strip().split(",")]
        return np.loadtxt(table, delimiter=",", usecols=names.index(column))


def draw(column: str, size: int, rng: np.random.Generator) -> Array:
    """``size`` values of a stored marginal, by linear interpolation of its inverse distribution function."""
    table = quantiles(column)
    return np.interp(rng.random(size), np.linspace(0, 1, len(table)), table)


def cluster_sizes(n_cells: int, n_clusters: int, smallest: int | None) -> list[int]:
    """Cells per cluster: equal, or the last one ``smallest`` and the rest equal; the first ones take what is left."""
    if smallest is None:
        return [len(part) for part in np.array_split(np.arange(n_cells), n_clusters)]
    return [*cluster_sizes(n_cells - smallest, n_clusters - 1, None), smallest]


def factors(codes: Counts, n_evf: int, n_de_evf: int, sigma: float, rng: np.random.Generator) -> list[Array]:
    """Extrinsic variation factors of each cell, for kon, koff and s.

    All are normal with standard deviation ``sigma`` around 1, but the last ``n_de_evf`` of s are around a mean that
    each cluster draws from N(1, 1): SymSim's discrete populations on a star-shaped tree, whose tips are independent.

    Returns
    -------
    Three arrays of shape ``(n_cells, n_evf)``.
    """
    centres = [np.full((len(codes), n_evf), FACTOR_CENTRE) for _ in PARAMETERS]
    means = rng.normal(FACTOR_CENTRE, 1.0, size=(codes.max() + 1, n_de_evf))
    centres[-1][:, n_evf - n_de_evf :] = means[codes]
    return [rng.normal(centre, sigma) for centre in centres]


def gene_effects(n_genes: int, n_evf: int, rng: np.random.Generator) -> list[Array]:
    """How each gene answers to each factor, for kon, koff and s: N(0, 1) with probability 1/4, else 0."""
    shape = (n_genes, n_evf)
    return [np.where(rng.random(shape) < EFFECT_PROBABILITY, rng.normal(size=shape), 0.0) for _ in PARAMETERS]


def match_ranks(values: Array, sample: Array) -> Array:
    """``values`` replaced by the entry of ``sample`` with the same rank, over the whole matrix at once.

    Equal values take their average rank, rounded down, so that they stay equal.
    """
    ranks = rankdata(values, method="average", axis=None).astype(np.int64) - 1
    return np.sort(sample)[ranks].reshape(values.shape)


def kinetic_parameters(cells: list[Array], genes: list[Array], rng: np.random.Generator) -> Kinetics:
    """Kinetic parameters: factors times effects, given the marginal distributions seen in real cells."""
    matched = []
    for name, cell, gene in zip(PARAMETERS, cells, genes, strict=True):
        linear = cell @ gene.T
        matched.append(10 ** match_ranks(linear, draw(f"log10_{name}", linear.size, rng)))
    return Kinetics(*matched)


def raise_some(s: Array, rng: np.random.Generator) -> tuple[Array, Counts]:
    """Make 1.5 % of the genes highly expressed: their s is multiplied by 2^(4 + rank/n), ranked by its sum.

    Returns
    -------
    The new s, and the indices of those genes; their promoters are always open.
    """
    n_high = int(np.ceil(HIGH_SHARE * s.shape[1]))
    high = np.sort(rng.choice(s.shape[1], n_high, replace=False))
    rank = rankdata(s[:, high].sum(axis=0))
    raised = s.copy()
    raised[:, high] *= 2 ** (HIGH_LOG2 - (1 - rank / n_high))
    return raised, high


def beta_poisson(kinetics: Kinetics, rng: np.random.Generator) -> Counts:
    """Molecules of the two-state promoter at its steady state: y ~ Beta(kon, koff), x ~ Poisson(s y)."""
    return rng.poisson(kinetics.s * rng.beta(kinetics.kon, kinetics.koff))


def true_counts(kinetics: Kinetics, high: Counts, rng: np.random.Generator) -> Counts:
    """Beta-Poisson molecules, and Poisson(s) for the genes ``high``."""
    counts = beta_poisson(kinetics, rng)
    counts[:, high] = rng.poisson(kinetics.s[:, high])
    return counts


def differences(kinetics: Kinetics, codes: Counts, de_effects: Array) -> Differences:
    """SymSim's truth on differential expression.

    A gene is differential between two clusters when at least one differential factor acts on it and the means of
    s kon / (kon + koff) differ by more than 0.8 in log2.

    Parameters
    ----------
    kinetics
        Parameters of every cell and gene.
    codes
        Cluster of each cell, from 0.
    de_effects
        Effects of the differential factors on s, shape ``(n_genes, n_de_evf)``.

    Returns
    -------
    Differential factors per gene; log2 of first over second cluster and the verdict, ``(n_genes, n_pairs)``.
    """
    expected = kinetics.s * kinetics.kon / (kinetics.kon + kinetics.koff)
    log_means = np.log2([expected[codes == c].mean(axis=0) for c in range(codes.max() + 1)])
    log2fc = np.column_stack([log_means[a] - log_means[b] for a, b in combinations(range(len(log_means)), 2)])
    n_factors = (np.abs(de_effects) > LEAST_EFFECT).sum(axis=1)
    return Differences(n_factors, log2fc, (n_factors[:, None] > 0) & (np.abs(log2fc) > LEAST_LOG2FC))
