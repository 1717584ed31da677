"""Neuralised k-means on an AnnData."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from .. import _devices, _keys, _records, _threads, _validate
from .._commit import Results
from .._docs import document
from .._progress import bars
from .._record_kinds import AutoencoderRecord, weights_of
from ..models import Schedule, from_labels, learn_jointly
from ._autoencoder import batches

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._record_kinds import Record

_CANDIDATES = range(2, 21)
_SILHOUETTE_CELLS = 2000
_N_INIT = 10


@document
def cluster(
    adata: AnnData,
    *,
    n_clusters: int | None = None,
    use_rep: str = _keys.REP,
    joint: bool = False,
    key_added: str = _keys.CLUSTER,
    rng: int | np.random.Generator = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Cluster cells by k-means in the latent space, as a neural network (equations 3 to 6).

    Parameters
    ----------
    %(adata)s
    n_clusters
        Number of clusters. None for the one from 2 to 20 with the largest mean silhouette on a sample of
        2,000 cells; the choice is logged.
    use_rep
        Embedding with an encoder, from :func:`ace_scanpy.tl.embed`.
    joint
        Learn embedding and clusters together (figure 1 of the paper): training goes on with reconstruction
        plus the k-means loss, and centres are re-estimated, until assignments settle. This changes the embedding.
    key_added
        Column for the clusters.
    %(rng)s
    %(copy)s

    Returns
    -------
    None, or the copy. Sets these fields:

    `adata.obs[key_added]` : categorical
        Clusters `"0"`, `"1"`, …, the largest first.
    `adata.obs[key_added + '_confidence']` : float32
        :math:`p_1-p_2` in [0, 1], the two largest soft assignments (equation 4).
    `adata.uns['ace'][key_added]` : dict
        `prototypes`, `beta` and `use_rep`.
    `adata.obsm[use_rep]`, `adata.uns['ace'][use_rep]`
        The new embedding and encoder, with ``joint=True`` only.

    Raises
    ------
    KeyError
        When `use_rep` has no differentiable encoder.
    ValueError
        For fewer than two clusters or more clusters than cells.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.embed(adata, n_epochs=5)
    >>> ace.tl.cluster(adata, n_clusters=4)
    >>> list(adata.obs["ace_cluster"].cat.categories)
    ['0', '1', '2', '3']
    """
    _validate.writable(adata, copy=copy)
    record = _records.require_autoencoder(adata, use_rep, "`joint=True`") if joint else _records.require(adata, use_rep)
    if n_clusters is not None:
        n_clusters = _validate.whole_number("n_clusters", n_clusters, minimum=2)
        if n_clusters > adata.n_obs:
            msg = f"`n_clusters`={n_clusters} is more than the {adata.n_obs} cells."
            raise ValueError(msg)
    key_added = _validate.uns_key("key_added", key_added, {*_keys.RESERVED_RECORDS, use_rep})
    if _records.load(adata, key_added) is not None:
        msg = f"`key_added`={key_added!r} is the name of an encoder in `adata.uns['ace']`. Choose another key."
        raise ValueError(msg)
    seed = _validate.seed(rng)
    latent = _records.latent(adata, use_rep)
    adata = adata.copy() if copy else adata
    results = compute(adata, record, latent, n_clusters, use_rep, key_added, seed, joint=joint)
    results.write(adata)
    return adata if copy else None


@_threads.as_set()
def compute(
    adata: AnnData,
    record: Record,
    latent: NDArray[np.float32],
    n_clusters: int | None,
    use_rep: str,
    key_added: str,
    seed: int,
    *,
    joint: bool = False,
) -> Results:
    """Cluster checked input; the fields to write."""
    start = logg.info(f"clustering {len(latent)} cells on {use_rep!r}")
    results = Results()
    n_clusters = choose_n_clusters(latent, seed) if n_clusters is None else n_clusters
    kmeans = KMeans(n_clusters, n_init=_N_INIT, random_state=seed % 2**32).fit(latent)
    codes = kmeans.labels_
    if joint:
        assert isinstance(record, AutoencoderRecord)  # `cluster` refuses others
        latent, codes = _jointly(adata, record, kmeans.cluster_centers_, use_rep, seed, results)
    codes = _by_size(codes)
    cells = torch.from_numpy(latent)
    clustering = from_labels(cells, torch.from_numpy(codes))
    assigned = clustering.assign(cells).numpy()
    names = [str(c) for c in range(clustering.n_groups)]
    results.add("obs", key_added, pd.Categorical.from_codes(assigned.tolist(), categories=pd.Index(names)))
    results.add("obs", _keys.confidence(key_added), clustering.confidence(cells).numpy())
    results.records[key_added] = {
        "prototypes": clustering.prototypes.numpy(),
        "beta": float(clustering.beta),
        "use_rep": use_rep,
    }
    logg.info(
        "    finished",
        time=start,
        deep=f"added\n    {key_added!r}, the clusters, and {_keys.confidence(key_added)!r} (adata.obs)",
    )
    return results


def choose_n_clusters(latent: NDArray[np.float32], seed: int) -> int:
    """The number of clusters with the largest mean silhouette on a sample of cells."""
    rng = np.random.default_rng([seed, 2])
    sample = latent[np.sort(rng.permutation(len(latent))[:_SILHOUETTE_CELLS])]
    candidates = [k for k in _CANDIDATES if k < len(np.unique(sample, axis=0))]
    if not candidates:
        msg = f"Too few different cells ({len(sample)}) to choose a number of clusters. Give `n_clusters`."
        raise ValueError(msg)
    widths = {
        k: float(silhouette_score(sample, KMeans(k, n_init=1, random_state=seed % 2**32).fit_predict(sample)))
        for k in candidates
    }
    best = max(widths, key=widths.__getitem__)
    logg.info(
        f"    chose n_clusters={best} (mean silhouette {widths[best]:.2f}; {min(candidates)}-{max(candidates)} tried)"
    )
    return best


def _jointly(
    adata: AnnData,
    record: AutoencoderRecord,
    centres: NDArray[np.floating],
    use_rep: str,
    seed: int,
    results: Results,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Train on, and note the changed embedding and record."""
    matrix = _records.matrix_for(adata, record, use_rep, layer=record.layer, use_raw=record.use_raw)
    model = record.model()
    with bars() as advance:
        schedule = Schedule(
            batch_size=record.batch_size,
            learning_rate=record.learning_rate,
            device=_devices.choose("auto"),
            progress=advance,
        )
        rng = np.random.default_rng([seed, 3])
        batch = batches(adata, record.batch_key)
        latent, _, codes = learn_jointly(model, matrix, centres, schedule, rng, batch=batch)
    model.to("cpu")
    results.add("obsm", use_rep, latent)
    results.records[use_rep] = replace(record, weights=weights_of(model), fits={}).stored()
    return latent, codes


def _by_size(codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Clusters renumbered from the largest to the smallest, without gaps."""
    _, compact, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[compact]
