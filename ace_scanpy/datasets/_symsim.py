"""SymSim: simulated cells whose explanatory genes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from .. import _validate
from . import _symsim_technology as technology
from ._symsim_background import Settings, simulate
from ._symsim_layout import background, panel, record

if TYPE_CHECKING:
    from anndata import AnnData

Kind = Literal["clean", "complex", "background"]


def symsim(
    kind: Kind = "clean",
    *,
    n_cells: int = 500,
    n_genes: int = 2000,
    n_clusters: int = 5,
    smallest_cluster: int | None = None,
    n_evf: int = 15,
    n_de_evf: int = 9,
    sigma: float = 0.2,
    capture: float = 0.05,
    depth: float = 50_000,
    n_batches: int = 2,
    batch_size: float = 1.0,
    rng: int | np.random.Generator = 0,
) -> AnnData:
    r"""Simulated cells in clusters, with the genes that truly make them, by the model of SymSim (Zhang et al. 2019).

    Each cell has extrinsic variation factors (EVFs), each gene answers to some of them, and together they set the rates
    at which the gene's promoter opens (kon), closes (koff) and makes molecules (s); molecules follow the
    Beta-Poisson law. Clusters differ in some of the factors of s. A droplet experiment with molecular identifiers
    (UMIs) then captures, amplifies and sequences the molecules, in batches that shift each gene.

    The first two kinds are the sets of the ACE paper (section 5.1), 220 genes out of such a background of `n_genes`:
    20 *causal* genes, which differ most between clusters; 100 *dependent* genes, each a weighted sum of 1 to 10 random
    causal genes with weights U(0.01, 0.8), plus N(0, 1); and 100 *noise* genes, on which no differential factor acts.

    Parameters
    ----------
    kind
        `"clean"`: the set with the true molecules. `"complex"`: the same genes and weights after the experiment, with
        dropout and batches. `"background"`: all `n_genes`, no dependent ones. The same arguments and `rng` give
        the three kinds of one and the same simulation.
    n_cells
        Cells, sorted by cluster.
    n_genes
        Genes that are simulated. The two sets need about 2,000 of them for 100 noise genes to be found.
    n_clusters
        Clusters; equally unlike each other (their mean factors are independent: SymSim's tree is a star).
    smallest_cluster
        Cells of the last cluster, when it is to be smaller; the others are equal, as all are by default.
    n_evf
        Factors of each of kon, koff and s.
    n_de_evf
        How many of the factors of s differ between clusters.
    sigma
        Standard deviation of a factor within a cluster; between the means of clusters it is 1. Larger is harder.
    capture
        Mean probability of a molecule to be captured, between 0.0005 and 1; over cells its standard deviation is
        0.4 times this.
    depth
        Mean reads per cell, at least 200; over cells the standard deviation is 0.06 times this.
    n_batches
        Batches; cells are in one at random. With one batch there is no batch effect.
    batch_size
        A gene's shifts in two batches differ by at most twice this, in log2.
    rng
        Seed, or a numpy Generator that one is drawn from. The same seed gives the same data.

    Returns
    -------
    For `"clean"` and `"complex"`, dense and with 220 genes:

    `X` : float32
        log1p of the counts, over `size_factor` in the complex set; dependent genes are made in this space.
    `layers["counts"]` : float32
        Counts; here dependent genes are made of counts, rounded, and at least 0.
    `layers["log1p_countspace"]` : float32
        log1p of those counts (before rounding) over `size_factor`.
    `obs["cluster"]`, `obs["size_factor"]`, `obs["background_total"]`
        Cluster from "1"; factor (1 in the clean set: true molecules have none); counts over all `n_genes`.
    `obs["batch"]`, `obs["capture_alpha"]`, `obs["depth"]`
        Complex set only: batch from "1", capture probability, reads.
    `var["kind"]` : category
        `"causal"`, `"dependent"` or `"noise"`; causal genes come first, the strongest at the top.
    `var["symsim_gene"]`, `var["nDiffEVF"]`, `var["n_de_pairs"]`, `var["mean_abs_log2fc"]`, `var["n_parents"]`
        Number of the gene in the background, from 1 (0: dependent); differential factors that act on it and pairs of
        clusters in which it is differential (-1: dependent); mean of \|log2 fold change\| over those pairs;
        causal genes that a dependent one is made of.
    `varm["weights"]` : float64, 220 × 20
        Weights of the causal genes (`uns["causal_names"]`) in each dependent gene; 0 elsewhere.
    `varm["log2fc"]` : float64
        True log2 fold change in each pair of clusters (`uns["log2fc_pairs"]`); NaN for dependent genes.

    For `"background"`, sparse: `X` and `layers["true_counts"]` with the molecules, `layers["observed_counts"]` after
    the experiment, `layers["observed_batch_counts"]` after the batches too; the columns of `obs` above; in `var`
    those of the table of differences, `de_any`, `gene_len`, the means of kon, koff and s, and `highly_expressed`;
    `varm["log2fc"]`, `varm["is_de"]`; and `obsm["evf"]` with all factors (`uns["evf_names"]`).

    All: `uns["simulation"]`, the arguments and constants under the names that SymSim gives them.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range; when too few genes differ, or too few do not, for a set of 220; when a
        cell is left without counts.

    Notes
    -----
    The model is that of the R package, whose summary figures of the distributions of log10 kon, koff, s and of gene
    lengths are used (see NOTICE); its random numbers are not. Defaults are those of the sets that this package's
    benchmarks use. About 4 seconds for 500 cells and 2,000 genes.

    X. Zhang, C. Xu, N. Yosef (2019). Simulating multiple faceted variability in single cell RNA sequencing.
    Nature Communications 10, 2611.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> adata = ace.datasets.symsim("background", n_cells=60, n_genes=100, n_clusters=3, rng=1)
    >>> adata.shape, list(adata.obs["cluster"].cat.categories)
    ((60, 100), ['1', '2', '3'])
    >>> clean = ace.datasets.symsim()  # doctest: +SKIP
    >>> clean.var["kind"].value_counts().to_dict()  # doctest: +SKIP
    {'dependent': 100, 'noise': 100, 'causal': 20}
    """
    _validate.one_of("kind", kind, get_args(Kind))
    settings = _checked(
        Settings(
            n_cells=n_cells,
            n_genes=n_genes,
            n_clusters=n_clusters,
            smallest_cluster=smallest_cluster,
            n_evf=n_evf,
            n_de_evf=n_de_evf,
            sigma=sigma,
            capture=capture,
            depth=depth,
            n_batches=n_batches,
            batch_size=batch_size,
        )
    )
    seed = _validate.seed(rng)
    # The complex set has errors of its own: one simulation, seen twice.
    run_rng, choice_rng, clean_rng, complex_rng = np.random.default_rng(seed).spawn(4)
    run = simulate(settings, run_rng)
    if kind == "background":
        adata = background(run)
    else:
        adata = panel(run, choice_rng, clean_rng if kind == "clean" else complex_rng, observed=kind == "complex")
    adata.uns["simulation"] = record(kind, settings, seed)
    return adata


def _checked(given: Settings) -> Settings:
    """Raise unless every argument is in its range."""
    _validate.whole_number("n_genes", given.n_genes, minimum=technology.N_LENGTH_BINS)
    _validate.whole_number("n_clusters", given.n_clusters, minimum=2)
    _validate.whole_number("n_cells", given.n_cells, minimum=given.n_clusters)
    if given.smallest_cluster is not None:
        _validate.whole_number("smallest_cluster", given.smallest_cluster)
        if given.smallest_cluster > given.n_cells // given.n_clusters:
            msg = (
                f"`smallest_cluster` must be at most {given.n_cells // given.n_clusters}, the share of one of "
                f"{given.n_clusters} clusters in {given.n_cells} cells. Got {given.smallest_cluster}."
            )
            raise ValueError(msg)
    _validate.whole_number("n_evf", given.n_evf)
    _validate.whole_number("n_de_evf", given.n_de_evf, minimum=0)
    if given.n_de_evf > given.n_evf:
        msg = f"`n_de_evf`={given.n_de_evf} is more than there are factors (`n_evf`={given.n_evf})."
        raise ValueError(msg)
    _validate.positive("sigma", given.sigma)
    if not technology.LEAST_CAPTURE <= _validate.positive("capture", given.capture) <= 1:
        msg = f"`capture` must be between {technology.LEAST_CAPTURE} and 1. Got {given.capture}."
        raise ValueError(msg)
    if _validate.positive("depth", given.depth) < technology.LEAST_DEPTH:
        msg = f"`depth` must be at least {technology.LEAST_DEPTH} reads per cell. Got {given.depth}."
        raise ValueError(msg)
    _validate.whole_number("n_batches", given.n_batches)
    _validate.positive("batch_size", given.batch_size, allow_zero=True)
    return given
