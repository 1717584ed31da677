"""A run of SymSim's model as AnnData, laid out as the sets made with the R package are."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from . import _symsim_panels as panels
from . import _symsim_technology as technology
from . import _symsim_truth as truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._symsim_background import Background, Settings

KINDS = ("causal", "dependent", "noise")
PREFIXES = ("C", "D", "N")


def background(run: Background) -> AnnData:
    """All simulated genes, sparse."""
    layers = ("true_counts", "observed_counts", "observed_batch_counts")
    var = _differences(run)
    var["de_any"] = var["n_de_pairs"] > 0
    var["gene_len"] = run.gene_lengths
    for name, values in run.kinetics._asdict().items():
        var[f"mean_{name}"] = values.mean(axis=0)
    var["highly_expressed"] = np.isin(np.arange(len(var)), run.high)
    return ad.AnnData(
        X=sparse.csr_matrix(run.true_counts.astype(np.float32)),
        obs=_cells(run, observed=True).drop(columns="background_total"),
        var=var,
        layers={name: sparse.csr_matrix(getattr(run, name).astype(np.int32)) for name in layers},
        obsm={"evf": np.hstack(run.factors)},
        varm={"log2fc": run.differences.log2fc, "is_de": run.differences.is_de},
        uns={"log2fc_pairs": _pairs(run), "evf_names": _factor_names(run.settings)},
    )


def panel(
    run: Background, choice_rng: np.random.Generator, error_rng: np.random.Generator, *, observed: bool
) -> AnnData:
    """The paper's set of 220 genes: of the molecules, or of what is ``observed`` of them in batches."""
    causal, noise = panels.choose_genes(run.differences, run.observed_batch_counts, choice_rng)
    weights = panels.dependent_weights(choice_rng)
    counts = run.observed_batch_counts if observed else run.true_counts
    obs = _cells(run, observed=observed)
    error = error_rng.normal(size=(len(counts), panels.N_DEPENDENT))
    made = panels.build_panel(
        counts[:, causal], counts[:, noise], obs["size_factor"].to_numpy(dtype=np.float64), weights, error
    )

    sizes = (len(causal), len(weights), len(noise))
    names = [f"{p}{i + 1:0{len(str(size))}d}" for p, size in zip(PREFIXES, sizes, strict=True) for i in range(size)]
    of_gene = np.concatenate([causal, np.full(len(weights), -1), noise])  # -1: dependent, not of the background
    simulated = of_gene >= 0
    var = _differences(run).iloc[of_gene].set_axis(names)
    var.loc[~simulated, ["nDiffEVF", "n_de_pairs"]] = -1
    var.loc[~simulated, "mean_abs_log2fc"] = np.nan
    var["kind"] = _categories(np.repeat([0, 1, 2], sizes), KINDS)
    var["symsim_gene"] = of_gene + 1
    all_weights = np.zeros((len(names), len(causal)))
    all_weights[~simulated] = weights
    var["n_parents"] = (all_weights > 0).sum(axis=1)
    log2fc = np.where(simulated[:, None], run.differences.log2fc[of_gene], np.nan)
    return ad.AnnData(
        X=made.x.astype(np.float32),
        obs=obs,
        var=var[["kind", "symsim_gene", "nDiffEVF", "n_de_pairs", "mean_abs_log2fc", "n_parents"]],
        layers={
            "counts": made.counts.astype(np.float32),
            "log1p_countspace": made.log1p_countspace.astype(np.float32),
        },
        varm={"weights": all_weights, "log2fc": log2fc},
        uns={
            "causal_names": np.array(names[: len(causal)], dtype=object),
            "dependent_weights": weights,
            "log2fc_pairs": _pairs(run),
        },
    )


def record(kind: str, settings: Settings, seed: int) -> dict[str, Any]:
    """Arguments and constants of a run, under the names that SymSim gives them."""
    return {
        "simulator": "ace_scanpy.datasets.symsim",
        "dataset": kind,
        "randseed": seed,
        "ncells_total": settings.n_cells,
        "ngenes": settings.n_genes,
        "n_clusters": settings.n_clusters,
        "min_popsize": truth.cluster_sizes(settings.n_cells, settings.n_clusters, settings.smallest_cluster)[-1],
        "evf_type": "discrete",
        "evf_center": truth.FACTOR_CENTRE,
        "nevf": settings.n_evf,
        "n_de_evf": settings.n_de_evf,
        "vary": "s",
        "tree": "star",
        "Sigma": settings.sigma,
        "gene_effect_prob": truth.EFFECT_PROBABILITY,
        "gene_effects_sd": 1.0,
        "prop_hge": truth.HIGH_SHARE,
        "mean_hge": truth.HIGH_LOG2,
        "protocol": "UMI",
        "alpha_mean": settings.capture,
        "alpha_sd": settings.capture * technology.CAPTURE_SPREAD,
        "depth_mean": settings.depth,
        "depth_sd": settings.depth * technology.DEPTH_SPREAD,
        "rate_2PCR": technology.PCR_RATE,
        "nPCR1": technology.N_PCR_FIRST,
        "nPCR2": technology.N_PCR_SECOND,
        "nbins": technology.N_LENGTH_BINS,
        "lenslope": technology.LENGTH_SLOPE,
        "nbatch": settings.n_batches,
        "batch_effect_size": settings.batch_size,
    }


def _cells(run: Background, *, observed: bool) -> pd.DataFrame:
    """What is known of each cell."""
    counts = run.observed_batch_counts if observed else run.true_counts
    obs = pd.DataFrame(
        {"cluster": _categories(run.clusters, _numbered(run.settings.n_clusters))},
        index=[f"cell_{i + 1}" for i in range(len(counts))],
    )
    if observed:
        obs["batch"] = _categories(run.batches, _numbered(run.settings.n_batches))
        obs["capture_alpha"] = run.capture
        obs["depth"] = run.depth
    obs["size_factor"] = panels.size_factors(counts) if observed else 1.0
    obs["background_total"] = counts.sum(axis=1)
    return obs


def _differences(run: Background) -> pd.DataFrame:
    """What truly differs, per gene of the background."""
    return pd.DataFrame(
        {
            "nDiffEVF": run.differences.n_factors,
            "n_de_pairs": run.differences.is_de.sum(axis=1),
            "mean_abs_log2fc": panels.mean_log2fc(run.differences),
        },
        index=[f"gene{i + 1}" for i in range(len(run.gene_lengths))],
    )


def _numbered(n: int) -> list[str]:
    """Names of ``n`` clusters or batches, from "1"."""
    return [str(i + 1) for i in range(n)]


def _categories(codes: NDArray[np.int64], names: Sequence[str]) -> pd.Categorical[str]:
    """A column of categories from their codes."""
    return pd.Categorical.from_codes(codes, categories=pd.Index(names))


def _pairs(run: Background) -> NDArray[np.object_]:
    """Names of the pairs of clusters, in the order of the fold changes."""
    return np.array([f"{a}_{b}" for a, b in combinations(_numbered(run.settings.n_clusters), 2)], dtype=object)


def _factor_names(settings: Settings) -> NDArray[np.object_]:
    """Names of the factors: of kon, koff and s, and in s the differential ones last."""
    n_plain = settings.n_evf - settings.n_de_evf
    names = [
        f"{parameter}_{'DE' if parameter == 's' and i >= n_plain else 'nonDE'}_evf{i + 1}"
        for parameter in truth.PARAMETERS
        for i in range(settings.n_evf)
    ]
    return np.array(names, dtype=object)
