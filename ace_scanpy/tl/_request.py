"""The arguments of `explain`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from scanpy import logging as logg

from .. import _keys, _labels, _matrix, _records, _rgg, _tables, _threads, _validate, methods
from .._extras import require
from ..methods._contrasts import Rest
from ..methods._perturbation import Weights
from . import _autoencoder, _module, _pca, _scvi
from ._named_contrasts import named_contrasts
from ._rankers import METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
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
    named: Any
    by: str | None
    levels: pd.Categorical | None
    rest: Rest
    method: str
    use_rep: str
    n_genes: int | None
    pts: bool
    weights: Weights
    alpha: float
    lam: float | None
    beta: float | None
    min_fidelity: float
    batch_key: str | None
    batch: NDArray[np.intp] | None
    counts_layer: str | None
    key_added: str
    device: torch.device
    seed: int

    def contrasts(self, labels: Labels, distance: NDArray[np.floating] | None = None) -> Contrasts:
        """What to explain against what, groups in group order; the nearest ones from the distances of all groups."""
        if self.named is not None:
            return named_contrasts(self.named, labels)
        nearest = self._is_nearest(labels)
        one = self.reference != "rest" and not nearest
        against = labels.group("reference", self.reference) if one else None
        tested = [g for g in labels.groups("groups", self.groups) if g != against]
        if not tested:
            msg = f"`groups`={self.groups!r} leaves no group to explain beside the reference {self.reference!r}."
            raise ValueError(msg)
        rows = tuple(sorted(tested))
        closest = None
        if nearest and distance is not None:
            closest = tuple((int(target),) for target in methods.nearest(distance)[list(rows)])
        return methods.Contrasts(rows, labels.n_groups, against, self.rest, closest)

    def versus(self, labels: Labels) -> str:
        """What `params["reference"]` says."""
        if self.named is not None:
            return _rgg.NAMED
        if self.reference == "rest" or self._is_nearest(labels):
            return str(self.reference)
        return labels.names[labels.group("reference", self.reference)]

    def _is_nearest(self, labels: Labels) -> bool:
        """Whether the nearest groups are asked for, and not a group of that name."""
        return self.reference == _rgg.NEAREST and _rgg.NEAREST not in labels.names

    def parts(self, labels: Labels) -> list[Part]:
        """The rankings to be made: one, or one per level of `by`."""
        if self.levels is None:
            return [Part(self.key_added, labels)]
        found = []
        for level in self.levels.categories:
            within = labels.within(np.asarray(self.levels == level))
            found.append(Part(_keys.of_level(self.key_added, str(level)), within, str(level)))
        return found


@dataclass(frozen=True)
class Part:
    """One ranking to be made: its entry of `adata.uns`, the groups, and the level of `by` that they are within."""

    key: str
    labels: Labels
    level: str | None = None

    @property
    def where(self) -> str:
        """The level, for a message."""
        return "" if self.level is None else f" within {self.level!r}"


@_threads.as_set()
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
    given["min_fidelity"] = _validate.share("min_fidelity", given["min_fidelity"])
    if given["n_genes"] is not None:
        given["n_genes"] = _validate.whole_number("n_genes", given["n_genes"])
    given["named"] = given.pop("contrasts")
    if given["named"] is not None:
        _only_contrasts(given, defaults)
    given["key_added"] = _validate.uns_key("key_added", given["key_added"], _keys.RESERVED_UNS)
    groupby = given.pop("groupby")
    if groupby is None and _keys.CLUSTER in adata.obs.columns:
        groupby = _keys.CLUSTER
    if groupby is None and not method.needs_encoder:
        msg = (
            f"`groupby` is needed for method={given['method']!r}: there is no obs[{_keys.CLUSTER!r}], and only methods "
            f"with an encoder make it. Available keys: {_validate.listed(adata.obs.columns)}."
        )
        raise ValueError(msg)
    labels = None if groupby is None else _labels.read(adata, groupby)
    given["levels"] = None if given["by"] is None else _levels(adata, given["by"], groupby)
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
        record.cells(adata, matrix)  # or where what it reads is gone
        if labels is None and made is None:
            _records.latent(adata, given["use_rep"])
    if "counts_layer" in method.options:
        _check_counts(adata, matrix, given["counts_layer"], given["method"])
    request = Request(matrix=matrix, record=record, made=made, labels=labels, batch=batch, **given)
    if labels is not None:
        _check_parts(request, labels)
        if given["pts"] and any("/" in name for name in labels.names):
            logg.warning(
                f"Groups of obs[{labels.key!r}] have '/' in their names. `pts` has a column per group, "
                "and h5ad and zarr files allow no '/' there: rename the categories before you write `adata` to a file."
            )
    return request


def _check_parts(request: Request, labels: Labels) -> None:
    """Raise where a ranking that is asked for cannot be made."""
    if request.method != "ace" and request.versus(labels) == _rgg.NEAREST:
        msg = (
            f"`reference`='nearest' does not apply to method={request.method!r}, only to 'ace'. "
            f"Name a group: {_validate.listed(labels.names[g] for g in labels.display)}."
        )
        raise ValueError(msg)
    for part in request.parts(labels):
        _validate.uns_key("key_added", part.key, _keys.RESERVED_UNS)
        if part.labels.n_groups < 2:
            msg = (
                f"`by`={request.by!r}: the level {part.level!r} has cells of {part.labels.n_groups} group(s) of "
                f"obs[{labels.key!r}] ({_validate.listed(part.labels.names)}); at least 2 are needed."
            )
            raise ValueError(msg)
        try:
            request.contrasts(part.labels)
        except ValueError as error:
            if part.level is None:
                raise
            msg = f"`by`={request.by!r}: in the level {part.level!r}, {error}"
            raise ValueError(msg) from error


def _levels(adata: AnnData, by: object, groupby: object) -> pd.Categorical:
    """The levels that groups are explained within."""
    key = _validate.obs_key(adata, "by", by)
    if groupby is None or key == groupby:
        msg = f"`by`={by!r} needs a `groupby` that is another column. Got groupby={groupby!r}."
        raise ValueError(msg)
    levels = _labels.as_categorical(_tables.column(adata.obs, key)).remove_unused_categories()
    if len(levels.categories) < 2 or len(set(map(str, levels.categories))) < len(levels.categories):
        msg = f"`by`={by!r} needs two or more levels of different names. Got {_validate.listed(levels.categories)}."
        raise ValueError(msg)
    return levels


def _only_contrasts(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise where `contrasts` comes with an argument that says the same or otherwise."""
    for name in ("groups", "reference", "rest"):
        if not (isinstance(given[name], str) and given[name] == defaults[name]):
            msg = f"`contrasts` says what is compared with what: leave out `{name}`. Got {name}={given[name]!r}."
            raise ValueError(msg)


def _without_training(
    adata: AnnData, use_rep: str, module: object, asked: Mapping[str, Any]
) -> tuple[Results | None, Record | None]:
    """A record that can be made at once; nothing for an autoencoder, which has to be trained; raises for others."""
    if module is not None:
        use_rep = _validate.uns_key("use_rep", use_rep, _keys.RESERVED_RECORDS)
    if _scvi.is_model(module):
        return _scvi.compute(adata, module, use_rep, layer=asked["layer"], use_raw=asked["use_raw"])
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
