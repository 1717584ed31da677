"""Counts as the encoders of scvi-tools read them: log(1 + counts), and behind the genes the batch of each cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from . import _matrix, _tables, _validate
from ._matrix import GeneMatrix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LogCounts(GeneMatrix):
    """log(1 + counts); with `n_batches` above 0, one indicator per batch follows the genes in each row.

    `batch` is the number of each cell's batch.
    """

    quantity: ClassVar[str] = "log(1 + counts)"

    batch: NDArray[np.intp] | None = None
    n_batches: int = 0

    @property
    def where(self) -> str:
        return f"log1p({super().where})"

    @property
    def genes_alone(self) -> Self:
        return replace(self, batch=None, n_batches=0)

    def rows(self, cells: NDArray[np.intp] | slice) -> Any:
        counts = super().rows(cells)
        return _logged(counts) if self.batch is None else _with_batch(self.n_batches, counts, self.batch[cells])

    def mapped(self, function: Callable[..., T], *per_cell: NDArray[Any]) -> Iterator[T]:
        if self.batch is None:
            return super().mapped(partial(_of_logged, function), *per_cell)
        return super().mapped(partial(_of_both, function, self.n_batches), self.batch, *per_cell)


def _logged(counts: Any) -> Any:
    return counts.log1p() if sparse.issparse(counts) else np.log1p(counts)


def _with_batch(n_batches: int, counts: Any, batch: NDArray[np.intp]) -> Any:
    """log(1 + counts) with the indicators of the cells' batches behind."""
    indicators = np.eye(n_batches, dtype=np.float32)[batch]
    if sparse.issparse(counts):
        return sparse.hstack([_logged(counts), sparse.csr_matrix(indicators)], format="csr")
    return np.hstack([_logged(counts), indicators])


def _of_logged(function: Callable[..., T], counts: Any, *per_cell: NDArray[Any]) -> T:
    return function(_logged(counts), *per_cell)


def _of_both(
    function: Callable[..., T], n_batches: int, counts: Any, batch: NDArray[np.intp], *per_cell: NDArray[Any]
) -> T:
    return function(_with_batch(n_batches, counts, batch), *per_cell)


def choose(
    adata: AnnData,
    genes: NDArray[Any],
    *,
    layer: str | None,
    batch_key: str | None = None,
    batches: NDArray[Any] | None = None,
) -> LogCounts:
    """The counts of some genes in `X` or a layer; with `batches`, the names of those in obs[batch_key], these too."""
    if layer is not None and layer not in adata.layers:
        available = _validate.listed(adata.layers)
        msg = (
            f"The encoder reads counts from adata.layers[{layer!r}], which is not there. Available layers: {available}."
        )
        raise KeyError(msg)
    counts = _matrix.choose(adata, layer=layer)
    positions = counts.var_names.get_indexer(pd.Index(genes))
    if (positions < 0).any():
        msg = (
            f"{(positions < 0).sum()} of the {len(genes)} genes that the encoder reads are not in `adata.var_names`: "
            f"{_validate.listed(genes[positions < 0])}. Bring them back."
        )
        raise ValueError(msg)
    batch = None if batches is None else _numbers(adata, batch_key, batches)
    return LogCounts(
        counts.values,
        counts.var_names,
        positions,
        layer=layer,
        batch=batch,
        n_batches=0 if batches is None else len(batches),
    )


def _numbers(adata: AnnData, batch_key: str | None, batches: NDArray[Any]) -> NDArray[np.intp]:
    """Number of each cell's batch; raises for batches that the encoder does not know."""
    if batch_key not in adata.obs.columns:
        msg = (
            f"The encoder reads the batch of each cell from obs[{batch_key!r}], which is not there. "
            f"Available keys: {_validate.listed(adata.obs.columns)}."
        )
        raise KeyError(msg)
    named = _tables.column(adata.obs, str(batch_key)).astype(str)
    numbers = pd.Index(batches).get_indexer(pd.Index(named))
    if (numbers < 0).any():
        msg = (
            f"obs[{batch_key!r}] has batches that the encoder does not know: "
            f"{_validate.listed(named[numbers < 0].unique())}. It knows {_validate.listed(batches)}."
        )
        raise ValueError(msg)
    return numbers
