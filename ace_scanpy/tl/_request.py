"""The arguments of `explain`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from scanpy import logging as logg

from .. import _keys, _labels, _matrix, _records, _validate, methods
from .._extras import require
from ..methods._perturbation import Rest, Weights
from . import _autoencoder, _module, _pca
from ._rankers import METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._commit import Results
    from .._labels import Labels
    from .._matrix import GeneMatrix
    from .._record_kinds import Record
    from ..methods import Contrasts


@dataclass(frozen=True)
class Request:
    """The arguments of `explain`, checked; `record` and `labels` are None where they have to be made.

    `made` is what the record adds to `adata` where the check itself has made it.
    """

    matrix: GeneMatrix
    record: Record | None
    made: Results | None
    labels: Labels | None
    groups: Any
    reference: Any
    rest: Rest
    method: str
    use_rep: str
    n_genes: int | None
    pts: bool
    weights: Weights
    alpha: float
    lam: float | None
    beta: float | None
    batch_key: str | None
    batch: NDArray[np.intp] | None
    counts_layer: str | None
    key_added: str
    device: torch.device
    seed: int

    def contrasts(self, labels: Labels) -> Contrasts:
        """What to explain against what, groups in group order."""
        against = None if self.reference == "rest" else labels.group("reference", self.reference)
        tested = [g for g in labels.groups("groups", self.groups) if g != against]
        if not tested:
            msg = f"`groups`={self.groups!r} leaves no group to explain beside the reference {self.reference!r}."
            raise ValueError(msg)
        return methods.Contrasts(tuple(sorted(tested)), labels.n_groups, against, self.rest)


def check(adata: AnnData, defaults: Mapping[str, Any], **given: Any) -> Request:
    """All checks that need no work; raises what `explain` says it raises."""
    _validate.not_empty(adata)
    _validate.one_of("method", given["method"], METHODS)
    method = METHODS[given["method"]]
    options = {name: method.options for name, method in METHODS.items()}
    _validate.applicable(given, defaults, options, given["method"], "method")
    if method.package is not None:
        require(method.package, f"`method`={given['method']!r}", "methods")
    _validate.one_of("rest", given["rest"], get_args(Rest))
    _validate.one_of("weights", given["weights"], get_args(Weights))
    for name in ("lam", "beta"):
        if given[name] is not None:
            given[name] = _validate.positive(name, given[name])
    given["alpha"] = _validate.positive("alpha", given["alpha"])
    if given["n_genes"] is not None:
        given["n_genes"] = _validate.whole_number("n_genes", given["n_genes"])
    given["key_added"] = _validate.uns_key("key_added", given["key_added"], _keys.RESERVED_UNS)
    groupby = given.pop("groupby")
    if groupby is None and _keys.CLUSTER in adata.obs:
        groupby = _keys.CLUSTER
    if groupby is None and not method.needs_encoder:
        msg = (
            f"`groupby` is needed for method={given['method']!r}: there is no obs[{_keys.CLUSTER!r}], and only methods "
            f"with an encoder make it. Available keys: {_validate.listed(adata.obs.columns)}."
        )
        raise ValueError(msg)
    labels = None if groupby is None else _labels.read(adata, groupby)
    asked = {name: given.pop(name) for name in ("layer", "use_raw", "mask_var")}
    record = _records.load(adata, given["use_rep"]) if method.needs_encoder else None
    made, module = None, given.pop("encoder")
    if record is None and method.needs_encoder:
        made, record = _without_training(adata, given["use_rep"], module, asked)
    elif module is not None:
        _records.pass_again(adata, given["use_rep"], module)
    if record is None:
        matrix = _matrix.choose(adata, **asked)
        batch = _autoencoder.batches(adata, given["batch_key"])
    else:
        matrix = _records.matrix_for(adata, record, given["use_rep"], **asked, batch_key=given["batch_key"])
        batch = None
        record.encoder()  # raises where it cannot be rebuilt
        if labels is None and made is None:
            _records.latent(adata, given["use_rep"])
    if "counts_layer" in method.options:
        _check_counts(adata, matrix, given["counts_layer"], given["method"])
    request = Request(matrix=matrix, record=record, made=made, labels=labels, batch=batch, **given)
    if labels is not None:
        request.contrasts(labels)
        if given["pts"] and any("/" in name for name in labels.names):
            logg.warning(
                f"Groups of obs[{labels.key!r}] have '/' in their names. `pts` has a column per group, "
                "and h5ad and zarr files allow no '/' there: rename the categories before you write `adata` to a file."
            )
    return request


def _without_training(
    adata: AnnData, use_rep: str, module: object, asked: Mapping[str, Any]
) -> tuple[Results | None, Record | None]:
    """A record that can be made at once; nothing for an autoencoder, which has to be trained; raises for others."""
    if module is not None:
        return _module.compute(adata, module, _matrix.choose(adata, **asked), use_rep)
    if use_rep == _keys.REP:
        return None, None
    if not _pca.has_loadings(adata, use_rep):
        raise KeyError(_records.missing(adata, use_rep))
    return _pca.compute(adata, use_rep, layer=asked["layer"], use_raw=asked["use_raw"])


def _check_counts(adata: AnnData, matrix: GeneMatrix, layer: object, method: str) -> None:
    """Raise unless there is a layer of counts with the genes of `matrix`."""
    available = _validate.listed(adata.layers)
    if layer is None:
        msg = (
            f"method={method!r} needs counts: name their layer with `counts_layer`, such as `counts_layer='counts'`. "
            f"Available layers: {available}."
        )
        raise ValueError(msg)
    if layer not in adata.layers:
        msg = f"`counts_layer`={layer!r} not found in `adata.layers`. Available layers: {available}."
        raise KeyError(msg)
    absent = matrix.gene_names[~matrix.gene_names.isin(adata.var_names)]
    if len(absent):
        msg = (
            f"{len(absent)} genes of `{matrix.where}` have no counts in adata.layers[{layer!r}]: "
            f"{_validate.listed(absent)}. Use `use_raw=False`, or a `mask_var` without them."
        )
        raise ValueError(msg)
