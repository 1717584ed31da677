"""Reading expression by blocks of cells: `X`, a layer or `raw`; in memory, in a file or a dask array, of any type."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self, TypeVar

import numba
import numpy as np
from scipy import sparse

from . import _readers, _tables, _validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

T = TypeVar("T")

_BLOCK_VALUES = 2**24
_COUNTS_ABOVE = 20.0  # log-normalised values stay below log(1e6) = 14


class _Default:
    """Marks a mask that was not asked for."""

    def __repr__(self) -> str:
        return "var['highly_variable'] when present"


DEFAULT_MASK: Final = _Default()


@dataclass(frozen=True)
class GeneMatrix:
    """Cells by chosen genes of one matrix of an AnnData; nothing is copied until rows are asked for.

    `var_names` are all genes of the matrix; `genes` are the columns that are read.
    """

    quantity: ClassVar[str] = "expression"

    values: Any
    var_names: pd.Index
    genes: NDArray[np.intp]
    layer: str | None = None
    use_raw: bool = False
    mask: str = field(default="all genes")

    @property
    def n_cells(self) -> int:
        return int(self.values.shape[0])

    @property
    def n_genes(self) -> int:
        return len(self.genes)

    @property
    def gene_names(self) -> pd.Index:
        return self.var_names[self.genes]

    @property
    def where(self) -> str:
        """The matrix as a user would write it."""
        if self.use_raw:
            return "adata.raw.X"
        return "adata.X" if self.layer is None else f"adata.layers[{self.layer!r}]"

    @property
    def is_elsewhere(self) -> bool:
        """Whether blocks may be worked on in other processes, which have not the devices of this one."""
        return isinstance(self.reader, _readers.Lazy)

    @property
    def genes_alone(self) -> Self:
        """Without the columns that a kind of matrix may have behind its genes; this one has none."""
        return self

    def with_genes(self, genes: NDArray[np.intp]) -> Self:
        """The same matrix restricted to other columns."""
        return replace(self, genes=genes)

    @cached_property
    def reader(self) -> _readers.Reader:
        """What reads the matrix as it is stored; raises where its rows cannot be read."""
        return _readers.reader(self.values, self.where)

    @cached_property
    def _read(self) -> NDArray[np.intp] | None:
        """The genes to read, None for all in their order."""
        return None if np.array_equal(self.genes, np.arange(len(self.var_names))) else self.genes

    def rows(self, cells: NDArray[np.intp] | slice) -> Any:
        """Expression of some cells as float32, dense or CSR as the matrix is."""
        return self.reader.rows(cells, self._read)

    def dense(self, cells: NDArray[np.intp] | slice) -> NDArray[np.float32]:
        """Expression of some cells as a dense float32 array in C order."""
        block = self.rows(cells)
        return np.ascontiguousarray(block.toarray() if sparse.issparse(block) else block)

    def mapped(self, function: Callable[..., T], *per_cell: NDArray[Any]) -> Iterator[T]:
        """A function of every block of cells and of the block's part of arrays with an entry per cell, in order.

        Blocks are of bounded size, the same however the matrix is stored. Those of a dask array are worked on where
        dask computes them, on a cluster if there is one, so that the function and what it makes of a block have to be
        small.
        """
        parts = [(cells, tuple(values[cells] for values in per_cell)) for cells in self._slices()]
        return self.reader.mapped(function, parts, self._read)

    def _slices(self) -> list[slice]:
        size = max(1, _BLOCK_VALUES // max(self.n_genes, 1))
        return [slice(start, min(start + size, self.n_cells)) for start in range(0, self.n_cells, size)]


def choose(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: object = None,
) -> GeneMatrix:
    """The matrix a user asked for, checked: it exists, has cells and genes, names are unique, the mask fits."""
    _validate.not_empty(adata)
    if not isinstance(use_raw, (bool, np.bool_)):
        msg = f"`use_raw` must be True or False. Got {use_raw!r}."
        raise TypeError(msg)
    if use_raw and layer is not None:
        msg = f"`use_raw=True` and `layer={layer!r}` name two matrices. Give only one."
        raise ValueError(msg)
    if use_raw:
        if adata.raw is None:
            msg = "`use_raw=True` but `adata.raw` is not set. Set `adata.raw = adata` or use `use_raw=False`."
            raise ValueError(msg)
        values, var = adata.raw.X, adata.raw.var
    elif layer is not None:
        if layer not in adata.layers:
            available = [k for k in adata.layers if k is not None]
            msg = f"`layer`={layer!r} not found in `adata.layers`. Available layers: {_validate.listed(available)}."
            raise KeyError(msg)
        values, var = adata.layers[layer], adata.var
    else:
        values, var = adata.X, adata.var
    if values is None:
        msg = "`adata.X` is None. Put log-normalised expression into `adata.X` or name a `layer`."
        raise ValueError(msg)
    names = _tables.index(var)
    _validate.unique_genes(names, "adata.raw.var_names" if use_raw else "adata.var_names")
    genes, mask = _mask_genes(adata, var, mask_var)
    matrix = GeneMatrix(values, names, genes, layer, bool(use_raw), mask)
    matrix.reader  # noqa: B018 - raises where the storage cannot be read
    return matrix


def _mask_genes(adata: AnnData, var: pd.DataFrame, mask_var: object) -> tuple[NDArray[np.intp], str]:
    """Columns inside the mask and a name for it, by the rules of `scanpy.pp.pca`."""
    n_genes = len(var.index)
    if mask_var is None or (isinstance(mask_var, _Default) and "highly_variable" not in var.columns):
        return np.arange(n_genes), "all genes"
    key = "highly_variable" if isinstance(mask_var, _Default) else mask_var
    if isinstance(key, str):
        if key in var.columns:
            column = _tables.column(var, key)
        elif key in adata.var.columns:  # a mask of `adata.var` also serves `adata.raw`
            _validate.unique_genes(adata.var_names, "adata.var_names")
            column = _tables.column(adata.var, key).reindex(var.index, fill_value=False)
        else:
            msg = f"`mask_var`={key!r} not found in `adata.var`. Available keys: {_validate.listed(adata.var.columns)}."
            raise KeyError(msg)
        name = f"var[{key!r}]"
        values = column.to_numpy()
    else:
        values, name = np.asarray(key), "an array"
    if values.dtype != bool or values.shape != (n_genes,):
        msg = (
            f"`mask_var` must be a key of `adata.var` or a boolean array of length {n_genes}. "
            f"Got {values.dtype} of shape {values.shape}."
        )
        raise ValueError(msg)
    genes = np.flatnonzero(values)
    if len(genes) < 2:
        msg = f"`mask_var` must select at least 2 genes. Got {len(genes)} of {n_genes}."
        raise ValueError(msg)
    return genes, name


@dataclass(frozen=True)
class GeneMoments:
    """Per-gene summaries, each of shape (n_genes,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]


def moments(matrix: GeneMatrix) -> GeneMoments:
    """Mean, standard deviation (n - 1), minimum and maximum per gene, read by blocks; sparse stays sparse.

    Raises for NaN, infinity and raw counts. Block means are merged by Chan's update, so that
    large values do not cancel.
    """
    n_seen = 0
    mean = np.zeros(matrix.n_genes)
    squares = np.zeros(matrix.n_genes)
    low = np.full(matrix.n_genes, np.inf)
    high = np.full(matrix.n_genes, -np.inf)
    integers = True
    for part in matrix.mapped(_moments_of_block):
        if part is None:
            raise ValueError(_not_finite(matrix))
        shift = part.mean - mean
        squares += part.squares + shift**2 * (n_seen * part.n_cells / (n_seen + part.n_cells))
        mean += shift * (part.n_cells / (n_seen + part.n_cells))
        n_seen += part.n_cells
        integers = integers and part.integers
        low = np.minimum(low, part.minimum)
        high = np.maximum(high, part.maximum)
    if integers and low.min() >= 0 and high.max() > _COUNTS_ABOVE:
        msg = (
            f"`{matrix.where}` looks like raw counts (whole numbers up to {high.max():.0f}). ACE needs log-normalised "
            "expression: run `sc.pp.normalize_total(adata)` and `sc.pp.log1p(adata)` first."
        )
        raise ValueError(msg)
    std = np.sqrt(np.maximum(squares, 0.0) / max(n_seen - 1, 1))
    std[low == high] = 0.0
    return GeneMoments(mean, std, low, high)


def extremes(matrix: GeneMatrix) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smallest and largest value of each gene, read by blocks."""
    low, high = zip(*matrix.mapped(_extremes_of_block), strict=True)
    return np.min(low, axis=0).astype(np.float32), np.max(high, axis=0).astype(np.float32)


def _extremes_of_block(block: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _reduced(block.min(axis=0)), _reduced(block.max(axis=0))


class _BlockMoments(NamedTuple):
    n_cells: int
    integers: bool
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]


def _moments_of_block(block: Any) -> _BlockMoments | None:
    """What one block adds to the moments; None where it holds NaN or infinity."""
    stored = block.data if sparse.issparse(block) else block
    if not np.isfinite(stored).all():
        return None
    integers = bool((stored == np.rint(stored)).all())
    return _BlockMoments(block.shape[0], integers, *_centred_squares(block), *_extremes_of_block(block))


def _not_finite(matrix: GeneMatrix) -> str:
    return f"`{matrix.where}` contains NaN or infinite values. Remove or impute them first."


def _centred_squares(block: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column means and sums of squared deviations of one block, in float64."""
    n = block.shape[0]
    if not sparse.issparse(block):
        mean = block.mean(axis=0, dtype=np.float64)
        return mean, ((block - mean) ** 2).sum(axis=0)
    stored = block.data.astype(np.float64)
    mean = np.bincount(block.indices, weights=stored, minlength=block.shape[1]) / n
    deviations = stored - mean[block.indices]
    squares = np.bincount(block.indices, weights=deviations**2, minlength=block.shape[1])
    zeros = n - np.bincount(block.indices, minlength=block.shape[1])
    return mean, squares + zeros * mean**2


def _reduced(row: Any) -> NDArray[np.float64]:
    """A column-wise reduction of a dense or sparse block as a flat float64 array."""
    return np.asarray(row.toarray() if sparse.issparse(row) else row, dtype=np.float64).ravel()


@dataclass(frozen=True)
class GroupSums:
    """Per group and gene: sum of expression and number of cells not at zero, each (n_groups, n_genes).

    `has_negative` tells that some value is below zero: scaled expression, whose fold changes mean nothing.
    """

    totals: NDArray[np.float64]
    expressing: NDArray[np.float64]
    n_cells: NDArray[np.int64]
    has_negative: bool


def group_sums(matrix: GeneMatrix, codes: NDArray[np.integer], n_groups: int) -> GroupSums:
    """Sums over the cells of each group, one pass by blocks; cells with a negative code are left out."""
    totals = np.zeros((n_groups, matrix.n_genes))
    expressing = np.zeros((n_groups, matrix.n_genes))
    has_negative = False
    for part in matrix.mapped(partial(_sums_of_block, n_groups=n_groups), codes):
        if part is None:
            raise ValueError(_not_finite(matrix))
        totals += part[0]
        expressing += part[1]
        has_negative = has_negative or part[2]
    return GroupSums(totals, expressing, np.bincount(codes[codes >= 0], minlength=n_groups), has_negative)


def _sums_of_block(block: Any, member: NDArray[np.integer], n_groups: int) -> tuple[Any, Any, bool] | None:
    """Totals, cells not at zero and whether any value is negative; None where the block holds NaN or infinity."""
    stored = block.data if sparse.issparse(block) else block
    if not np.isfinite(stored).all():
        return None
    has_negative = bool((stored < 0).any())
    if sparse.issparse(block):
        totals, expressing = np.zeros((2, n_groups, block.shape[1]))
        _add_rows(block.data, block.indices, block.indptr, member, totals, expressing)
        return totals, expressing, has_negative
    kept = np.flatnonzero(member >= 0)
    indicator = sparse.csr_matrix(
        (np.ones(len(kept)), (member[kept], kept)), shape=(n_groups, block.shape[0]), dtype=np.float64
    )
    return indicator @ block, indicator @ (block != 0), has_negative


@numba.njit(cache=True, nogil=True)
def _add_rows(
    data: NDArray[np.floating],
    indices: NDArray[np.integer],
    indptr: NDArray[np.integer],
    member: NDArray[np.integer],
    totals: NDArray[np.float64],
    expressing: NDArray[np.float64],
) -> None:  # pragma: no cover - compiled
    """Add each row of a CSR block to its group, in one pass: several times as fast as two products."""
    for row in range(len(member)):
        group = member[row]
        if group < 0:
            continue
        for at in range(indptr[row], indptr[row + 1]):
            totals[group, indices[at]] += data[at]
            expressing[group, indices[at]] += data[at] != 0
