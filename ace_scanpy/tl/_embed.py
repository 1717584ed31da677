"""An encoder for an AnnData: trained here, Scanpy's own, or a user's."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _devices, _keys, _labels, _matrix, _threads, _validate
from .._docs import document
from . import _autoencoder as _training
from . import _distill, _module, _pca, _scvi
from ._autoencoder import N_HIDDEN, N_LATENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from anndata import AnnData

    from .._commit import Results
    from .._record_kinds import Record


@document
def embed(
    adata: AnnData,
    *,
    encoder: Any = "autoencoder",
    use_rep: str | None = None,
    n_latent: int = N_LATENT,
    n_hidden: Sequence[int] = N_HIDDEN,
    batch_key: str | None = None,
    groupby: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: object = _matrix.DEFAULT_MASK,
    n_selected: int | None = None,
    n_epochs: int | None = None,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    device: str = "auto",
    rng: int | np.random.Generator = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Give an embedding an encoder that can be differentiated: one trained here, Scanpy's PCA, or a network of yours.

    By default a SAUCIE-like autoencoder (Amodio et al. 2019) reconstructs standardised expression,
    :math:`\min\sum_i\lVert z_i-g(f(z_i))\rVert^2+\Omega` (equations 1 and 2). It starts as a PCA, so that runs with
    different seeds agree, and stops when the loss of held-out cells is flat.

    An argument that the `encoder` has no use for is refused.

    Parameters
    ----------
    %(adata)s
    encoder
        `"autoencoder"`, or one of these, which are explained as they are, without a fit to labels:

        `"pca"`
            The PCA of :func:`scanpy.pp.pca`, exactly and without training. Its record is kept under `use_rep`, whose
            coordinates stay Scanpy's own; `layer` is that of the PCA unless given.
        `"distill"`
            A network of the autoencoder's form, trained to reproduce any `adata.obsm[use_rep]`: Harmony, UMAP, a
            foundation model. What is explained is the network's own embedding. The :math:`R^2` of held-out cells is
            stored and logged, with a warning below .8.
        a :class:`torch.nn.Module` or callable
            From a float32 tensor of cells by genes, as they stand in the matrix and in its order, to latent
            coordinates. A module is copied and runs as in evaluation; a callable is called as it is. It has to be
            differentiable, deterministic, and to treat each cell alone. Files hold its description: pass it again
            after reading one, `ace.tl.explain(adata, ..., encoder=module)`.
        a trained `SCVI` or `SCANVI` model (scvi-tools)
            Its encoder, from counts to the latent mean, as `model.get_latent_representation()` gives it; stored whole,
            so that neither the model nor scvi-tools is needed afterwards. It reads :math:`\log(1+\mathrm{counts})` of
            the matrix and genes that the model was set up with, and, with `encode_covariates=True`, each cell's batch,
            which stays what it is while genes change. What is ranked is the log-normalised matrix: `layer` and
            `use_raw` say which.
    use_rep
        Embedding that `"pca"` (by default `"X_pca"`) or `"distill"` reads.
    n_latent
        Width of the embedding. The paper uses 10.
    n_hidden
        Widths of the hidden layers; the decoder mirrors them. A modest width, with input dropout, keeps the
        smallest perturbations on the data.
    %(batch_key)s
    groupby
        Column of `adata.obs` with labels that the last part of the training also fits: the embedding is
        then supervised. :func:`ace_scanpy.tl.explain` does this on a copy; it is seldom needed here.
    %(layer)s
    %(use_raw)s
    %(mask_var)s
    n_selected
        Learn which genes, exactly this many, carry the embedding (the paper's feature-selection layer);
        None for all.
    n_epochs
        Most passes over the cells. None for as many as fit into 2,000 minibatches.
    batch_size
        Cells per minibatch.
    learning_rate
        Of the Adam optimiser.
    %(device)s
    %(rng)s
    key_added
        Name of the embedding. None for `"X_ace"`, or for `use_rep` with `"_distilled"` behind it.
    %(copy)s

    Returns
    -------
    None, or the copy. Sets these fields:

    `adata.obsm[key_added]` : float32, shape `(n_obs, n_latent)`
        The embedding.
    `adata.uns['ace'][key_added]` : dict
        The encoder as plain arrays, its `kind`, genes, matrix and mask, and what belongs to the kind, such as seed,
        loss history or `r2`; :func:`ace_scanpy.get.encoder` rebuilds it.
    `adata.var['ace_mean']`, `adata.var['ace_std']`
        As :func:`ace_scanpy.pp.standardize` does. Not for an scvi-tools model, whose record has the mean and scale of
        :math:`\log(1+\mathrm{counts})`.

    Raises
    ------
    ValueError
        For NaN or infinite values, raw counts, a bad mask, a width above the number of genes, a reserved key; an
        argument that is not the encoder's; a PCA of another matrix than that asked for; a network that cannot be
        explained; a model of scvi-tools that is not trained, or whose encoder reads what cannot be read here.
    KeyError
        For a column, layer, mask or embedding that does not exist.
    TypeError
        For an object of scvi-tools that is not an `SCVI` or `SCANVI` model.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.embed(adata, n_epochs=5)
    >>> adata.obsm["X_ace"].shape
    (700, 10)

    A UMAP can be explained through a network that reproduces it:

    >>> ace.tl.embed(adata, encoder="distill", use_rep="X_umap", n_epochs=20)
    >>> adata.obsm["X_umap_distilled"].shape
    (700, 2)

    An encoder of one's own:

    >>> import torch
    >>> network = torch.nn.Sequential(torch.nn.Linear(adata.n_vars, 16), torch.nn.Tanh())
    >>> ace.tl.embed(adata, encoder=network, mask_var=None, key_added="X_own")
    >>> adata.obsm["X_own"].shape
    (700, 16)
    """
    _validate.writable(adata, copy=copy)
    given = {
        "encoder": encoder,
        "use_rep": use_rep,
        "n_latent": n_latent,
        "n_hidden": n_hidden,
        "batch_key": batch_key,
        "groupby": groupby,
        "layer": layer,
        "use_raw": use_raw,
        "mask_var": mask_var,
        "n_selected": n_selected,
        "n_epochs": n_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "key_added": key_added,
    }
    kind = _kind(encoder)
    defaults = {name: parameter.default for name, parameter in inspect.signature(embed).parameters.items()}
    options = {name: maker.options for name, maker in MAKERS.items()}
    _validate.applicable(given, defaults, options, kind, "encoder")
    given["seed"], given["device"] = _validate.seed(rng), _devices.choose(device)
    with _threads.as_set():
        results, _ = MAKERS[kind].make(adata, given)
    adata = adata.copy() if copy else adata
    results.write(adata)
    return adata if copy else None


def _kind(encoder: object) -> str:
    """Which of `MAKERS` an `encoder` asks for."""
    if _scvi.is_model(encoder):
        return "scvi"
    if _module.is_module(encoder):
        return "module"
    if not isinstance(encoder, str) or encoder not in _NAMED:
        msg = (
            f"`encoder` must be one of {_validate.listed(_NAMED)}, a torch module, a callable from cells by genes to "
            f"latent coordinates, or a trained SCVI or SCANVI model. Got {encoder!r} of type {type(encoder).__name__}."
        )
        raise ValueError(msg)
    return encoder


def _autoencoder(adata: AnnData, given: Mapping[str, Any]) -> tuple[Results, Record]:
    settings = _training.check_settings(**{name: given[name] for name in _training.SETTINGS})
    key_added = _key(given, _keys.REP)
    matrix = _matrix.choose(adata, **{name: given[name] for name in _MATRIX})
    batch = _training.batches(adata, given["batch_key"])
    labels = None if given["groupby"] is None else _labels.read(adata, given["groupby"])
    return _training.compute(
        adata, matrix, settings, given["batch_key"], batch, labels, given["device"], given["seed"], key_added
    )


def _principal_components(adata: AnnData, given: Mapping[str, Any]) -> tuple[Results, Record]:
    use_rep = _pca.REP if given["use_rep"] is None else given["use_rep"]
    return _pca.compute(adata, use_rep, layer=given["layer"], use_raw=given["use_raw"])


def _distilled(adata: AnnData, given: Mapping[str, Any]) -> tuple[Results, Record]:
    settings = _training.check_settings(
        **{name: given[name] for name in (*_distill.SETTINGS, "n_selected")}, n_latent=N_LATENT
    )
    coordinates = _distill.coordinates(adata, given["use_rep"])
    key_added = _key(given, _distill.default_key(given["use_rep"]))
    matrix = _matrix.choose(adata, **{name: given[name] for name in _MATRIX})
    return _distill.compute(
        adata, matrix, given["use_rep"], coordinates, settings, given["device"], given["seed"], key_added
    )


def _users_module(adata: AnnData, given: Mapping[str, Any]) -> tuple[Results, Record]:
    matrix = _matrix.choose(adata, **{name: given[name] for name in _MATRIX})
    return _module.compute(adata, given["encoder"], matrix, _key(given, _keys.REP))


def _variational(adata: AnnData, given: Mapping[str, Any]) -> tuple[Results, Record]:
    key_added = _key(given, _keys.REP)
    return _scvi.compute(adata, given["encoder"], key_added, layer=given["layer"], use_raw=given["use_raw"])


def _key(given: Mapping[str, Any], default: str) -> str:
    """Name of the embedding, checked."""
    key = default if given["key_added"] is None else given["key_added"]
    return _validate.uns_key("key_added", key, _keys.RESERVED_RECORDS)


@dataclass(frozen=True)
class Maker:
    """One kind of encoder: how it is made, and the arguments of `embed` that it has a use for."""

    make: Callable[[AnnData, Mapping[str, Any]], tuple[Results, Record]]
    options: frozenset[str]


_MATRIX = ("layer", "use_raw", "mask_var")

MAKERS: dict[str, Maker] = {
    "autoencoder": Maker(_autoencoder, frozenset({*_MATRIX, *_training.SETTINGS, "batch_key", "groupby", "key_added"})),
    "pca": Maker(_principal_components, frozenset({"use_rep", "layer", "use_raw"})),
    "distill": Maker(_distilled, frozenset({*_MATRIX, *_distill.SETTINGS, "use_rep", "key_added"})),
    "module": Maker(_users_module, frozenset({*_MATRIX, "key_added"})),
    "scvi": Maker(_variational, frozenset({"layer", "use_raw", "key_added"})),
}
_NAMED = ("autoencoder", "pca", "distill")
