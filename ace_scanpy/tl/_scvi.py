"""The encoder of a trained scVI or scANVI model; scvi-tools itself is not imported."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg
from scipy import sparse
from torch import nn

from .. import _counts, _matrix, _validate
from .._commit import Results
from .._record_kinds import ScviRecord
from ..models import encode, seeded
from ..pp._standardize import scales

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from .._counts import LogCounts
    from .._matrix import GeneMatrix

_SUPPORTED = ("SCVI", "SCANVI")
_SAME = 1e-3  # largest difference, in standard deviations of the latent coordinates; rounding makes it about 1e-6
_TRIED_CELLS = 200


def is_model(encoder: object) -> bool:
    """Whether an `encoder` is an object of scvi-tools."""
    return any(kind.__module__.partition(".")[0] == "scvi" for kind in type(encoder).__mro__)


def compute(
    adata: AnnData, model: Any, key_added: str, *, layer: str | None = None, use_raw: bool = False
) -> tuple[Results, ScviRecord]:
    """Embed cells by a trained model; the fields to write and its record.

    `layer` and `use_raw` name the matrix to be ranked; the model knows where its counts are.
    """
    name = _supported(model)
    setup = _Setup.read(model)
    matrix = _ranked(adata, setup, _matrix.choose(adata, layer=layer, use_raw=use_raw))
    counts = _counts.choose(
        adata, setup.genes, layer=setup.counts_layer, batch_key=setup.batch_key, batches=setup.batches
    )
    layers, layer_norm = folded(model.module.z_encoder)
    start = logg.info(f"reading the encoder of {name} on {counts.n_genes} genes of {counts.where}")
    moments = _matrix.moments(counts.genes_alone)
    if moments.minimum.min() < 0:
        msg = f"`{counts.where}` has negative values, and the model reads counts."
        raise ValueError(msg)
    arrays = {"mean": moments.mean, "scale": scales(moments)}
    for i, (weight, bias) in enumerate(layers):
        arrays |= {f"weight_{i}": weight, f"bias_{i}": bias}
    record = ScviRecord(
        genes=setup.genes,
        n_latent=len(layers[-1][1]),
        weights={key: np.ascontiguousarray(values, dtype=np.float32) for key, values in arrays.items()},
        layer=layer,
        use_raw=matrix.use_raw,
        mask="the genes of the model",
        batch_key=setup.batch_key,
        model=name,
        counts_layer=setup.counts_layer,
        batches=setup.batches,
        layer_norm=layer_norm,
    )
    _look_for_counts(adata, setup)
    latent = encode(record.encoder(), counts)
    _compare(model.module, counts, latent)
    results = Results()
    results.add("obsm", key_added, latent)
    results.records[key_added] = record.stored()
    logg.info("    finished", time=start, deep=f"added\n    {key_added!r} (adata.obsm)")
    return results, record


@dataclass(frozen=True)
class _Setup:
    """What a model was set up with; `batches` is None where its encoder does not read them."""

    genes: NDArray[Any]
    counts_layer: str | None
    batch_key: str | None
    batches: NDArray[Any] | None

    @classmethod
    def read(cls, model: Any) -> _Setup:
        fields = model.registry["field_registries"]
        counts, batch = fields["X"], fields["batch"]["state_registry"]
        names = np.array([str(name) for name in batch["categorical_mapping"]], dtype=object)
        key = model.registry["setup_args"].get("batch_key")
        return cls(
            np.array([str(gene) for gene in counts["state_registry"]["column_names"]], dtype=object),
            counts["data_registry"]["attr_key"] if counts["data_registry"]["attr_name"] == "layers" else None,
            key,
            names if model.module.encode_covariates and len(names) > 1 else None,
        )


def _supported(model: Any) -> str:
    """Name of the model's class; raises for models whose encoder cannot be read."""
    name = next((kind.__name__ for kind in type(model).__mro__ if kind.__name__ in _SUPPORTED), None)
    if name is None:
        msg = (
            f"Of scvi-tools, models of the classes {_validate.listed(_SUPPORTED)} are supported. Got {type(model)}. "
            "The embedding of any other model can be distilled: `ace.tl.embed(adata, encoder='distill', use_rep=...)`."
        )
        raise TypeError(msg)
    if not model.is_trained or model.module is None:
        msg = f"The {name} model is not trained. Call `model.train()` first."
        raise ValueError(msg)
    module, fields = model.module, model.registry["field_registries"]
    covariates = [kind for kind in ("extra_categorical_covs", "extra_continuous_covs") if _has_fields(fields, kind)]
    reads = module.encode_covariates
    refused = {
        "is minified": module.minified_data_type is not None,
        "has log_variational=False": not module.log_variational,
        f"has latent_distribution={module.latent_distribution!r}": module.latent_distribution != "normal",
        f"has encode_covariates=True and {_validate.listed(covariates)}": reads and bool(covariates),
        f"has batch_representation={module.batch_representation!r}": reads and module.batch_representation != "one-hot",
    }
    for what, true in refused.items():
        if true:
            msg = (
                f"The {name} model {what}. Supported are models that read log(1 + counts), with a normal latent "
                "distribution, whose encoder reads no covariate but the batch, as one-hot indicators."
            )
            raise ValueError(msg)
    return name


def _has_fields(fields: Mapping[str, Any], kind: str) -> bool:
    return bool(fields.get(kind, {}).get("state_registry"))


def _ranked(adata: AnnData, setup: _Setup, matrix: GeneMatrix) -> GeneMatrix:
    """The matrix to be ranked, on the genes of the model; raises where it has not all, or holds counts."""
    if not matrix.use_raw and matrix.layer == setup.counts_layer:
        msg = (
            f"`{matrix.where}` is where the model was set up to find counts, and what is ranked has to be "
            "log-normalised. Keep the counts there and name a log-normalised `layer` (or `use_raw=True`); or train a "
            "model on counts in a layer: `setup_anndata(adata, layer='counts')`. "
            f"Available layers: {_validate.listed(adata.layers)}."
        )
        raise ValueError(msg)
    positions = matrix.var_names.get_indexer(pd.Index(setup.genes))
    if (positions < 0).any():
        msg = (
            f"{(positions < 0).sum()} of the {len(positions)} genes of the model are not in `{matrix.where}`: "
            f"{_validate.listed(setup.genes[positions < 0])}."
        )
        raise ValueError(msg)
    matrix = matrix.with_genes(positions)
    _matrix.moments(matrix)  # raises for NaN and raw counts
    return matrix


def folded(z_encoder: Any) -> tuple[list[tuple[NDArray[np.float64], NDArray[np.float64]]], bool]:
    """Weights `(n_inputs, n_outputs)` and biases as in evaluation, and whether outputs of a cell are normalised.

    Batch normalisation is an affine map then, and joins the layer before it; dropout is nothing.
    """
    found, norms = [], set()
    for block in z_encoder.encoder.fc_layers:
        steps = [step for step in block if step is not None and not isinstance(step, nn.Dropout)]
        weight, bias = _affine(steps.pop(0))
        if isinstance(steps[0], nn.BatchNorm1d):
            gain, offset = _normalization(steps.pop(0))
            weight, bias = weight * gain, bias * gain + offset
        norms.add(isinstance(steps[0], nn.LayerNorm))
        if isinstance(steps[0], nn.LayerNorm) and not steps[0].elementwise_affine:
            steps.pop(0)
        if [type(step) for step in steps] != [nn.ReLU]:
            msg = (
                "Supported are encoders of linear layers, batch and layer normalisation, ReLU and dropout. "
                f"The model's has {_validate.listed(type(step).__name__ for step in block)}."
            )
            raise ValueError(msg)
        found.append((weight, bias))
    found.append(_affine(z_encoder.mean_encoder))
    return found, norms == {True}


def _affine(linear: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight = _array(linear.weight).T
    return weight, np.zeros(weight.shape[1]) if linear.bias is None else _array(linear.bias)


def _normalization(norm: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What batch normalisation multiplies by and adds, with its running statistics."""
    gain = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return gain, _array(norm.bias) - _array(norm.running_mean) * gain


def _array(values: torch.Tensor) -> NDArray[np.float64]:
    return values.detach().cpu().numpy().astype(np.float64)


def _some(n_cells: int) -> NDArray[np.intp]:
    """A few cells, from the first to the last."""
    return np.linspace(0, n_cells - 1, min(n_cells, _TRIED_CELLS)).astype(np.intp)


def _look_for_counts(adata: AnnData, setup: _Setup) -> None:
    """Warn where the model finds no whole numbers: the matrix it was set up with may have been normalised since."""
    matrix = _matrix.choose(adata, layer=setup.counts_layer)
    rows = matrix.rows(_some(matrix.n_cells))
    stored = rows.data if sparse.issparse(rows) else rows
    if (stored != np.rint(stored)).any():
        logg.warning(
            f"`{matrix.where}`, where the model reads counts, has values that are not whole numbers. If it was "
            "normalised after the model was set up, the embedding is wrong: put the counts back."
        )


@torch.no_grad()
def _compare(module: Any, counts: LogCounts, latent: NDArray[np.float32]) -> None:
    """Raise where the model itself gives some cells other latent means: a version that is built otherwise."""
    cells = _some(counts.n_cells)
    rows = counts.genes_alone.dense(cells)
    batch = np.zeros(len(cells)) if counts.batch is None else counts.batch[cells]
    copied = copy.deepcopy(module).cpu().eval()
    with seeded(np.random.default_rng(0)):  # it samples beside the mean
        inferred = copied.inference(torch.from_numpy(np.expm1(rows)), torch.tensor(batch, dtype=torch.long)[:, None])
    difference = np.abs(inferred["qz"].loc.numpy() - latent[cells]).max()
    unit = float(latent.std(axis=0).max())
    if not difference <= _SAME * (unit if unit > 0 else 1.0):
        msg = (
            f"The encoder that was read from the model gives cells other latent means than the model itself, by up to "
            f"{difference:.2g}. This version of scvi-tools builds it in a way that is not known here."
        )
        raise ValueError(msg)
