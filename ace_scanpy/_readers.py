"""Rows of a matrix, however it is stored: in memory by cells or by genes, in a file, or as a dask array.

Every reader gives the same values in the same blocks, so that results do not depend on the storage.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import anndata as ad
import numpy as np
from scipy import sparse

from ._prefetch import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Cells = NDArray[np.intp] | slice
    Genes = NDArray[np.intp] | None
    """Columns to keep, None for all."""

T = TypeVar("T")

_PIECE = 1024  # rows taken out of a file at a time, before genes are chosen
_GAP = 32  # rows that are read and thrown away sooner than to start another read
_WINDOW = 32  # blocks that a dask cluster has at a time


def reader(values: Any, where: str) -> Reader:
    """What reads this matrix, called `where` in messages; raises for a storage whose rows cannot be read."""
    if sparse.issparse(values):
        if values.format == "csr":
            return ByCell(values)
        return ByGene(values) if values.format == "csc" and values.has_sorted_indices else InMemory(values)
    if isinstance(values, np.ndarray):
        return InMemory(values)
    if isinstance(values, ad.abc.CSRDataset):
        return StoredSparse(values)
    if isinstance(values, ad.abc.CSCDataset):
        msg = (
            f"`{where}` is stored by genes (CSC) in a file, of which each block of cells would be read through the "
            "whole file. Read it into memory, `adata = adata.to_memory()`, where it is read as it is, or write a file "
            "stored by cells: `adata.X = adata.X.tocsr()`, then `adata.write_h5ad(...)`."
        )
        raise ValueError(msg)
    if hasattr(values, "__dask_graph__"):
        return Lazy(values, where)
    if hasattr(values, "chunks") and hasattr(values, "shape"):  # h5py.Dataset, zarr.Array
        return StoredDense(values)
    msg = (
        f"`{where}` is a {type(values).__module__}.{type(values).__qualname__}. Cells can be read from numpy arrays, "
        "scipy CSR and CSC matrices, files opened by anndata, and dask arrays of these."
    )
    raise TypeError(msg)


class Reader:
    """Rows and chosen columns of a matrix, as float32: dense, or CSR where the matrix is sparse."""

    def rows(self, cells: Cells, genes: Genes) -> Any:
        """Some rows, in the order asked for."""
        raise NotImplementedError

    def mapped(
        self, function: Callable[..., T], parts: Sequence[tuple[slice, tuple[Any, ...]]], genes: Genes
    ) -> Iterator[T]:
        """A function of each block of rows and its further arguments, in order."""
        blocks = ahead(lambda part: self.rows(part[0], genes), parts)
        for block, (_, arguments) in zip(blocks, parts, strict=True):
            yield function(block, *arguments)


class InMemory(Reader):
    """A numpy array; a CSC matrix whose columns are not sorted, too, but slowly."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def rows(self, cells: Cells, genes: Genes) -> Any:
        if genes is None or sparse.issparse(self.values) or isinstance(cells, slice):
            return _float32(_chosen(self.values[cells], genes))
        return _float32(self.values[np.ix_(cells, genes)])  # without a copy of the other genes


class ByCell(Reader):
    """A CSR matrix in memory.

    SciPy would first convert all of its indices where they are of another type than `indptr`, as in large files.
    """

    def __init__(self, values: Any) -> None:
        self.values = values

    def rows(self, cells: Cells, genes: Genes) -> Any:
        numbers = np.arange(*cells.indices(self.values.shape[0])) if isinstance(cells, slice) else cells
        starts, stops = self.values.indptr[numbers], self.values.indptr[numbers + 1]
        taken = np.repeat(starts, stops - starts) + _counting(stops - starts)
        indptr = np.concatenate([[0], np.cumsum(stops - starts)])
        shape = (len(numbers), self.values.shape[1])
        block = sparse.csr_matrix((self.values.data[taken], self.values.indices[taken], indptr), shape=shape)
        return _float32(_chosen(block, genes))


class ByGene(Reader):
    """A CSC matrix in memory, never converted as a whole: what rows need is looked up in each sorted column."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def rows(self, cells: Cells, genes: Genes) -> Any:
        wanted, place = _sorted(cells, self.values.shape[0])
        columns = np.arange(self.values.shape[1]) if genes is None else genes
        starts, stops = _spans(wanted, 0)
        bounds = np.column_stack([starts, stops]).ravel().astype(self.values.indices.dtype)
        found = np.empty((len(columns), len(bounds)), dtype=np.intp)
        for place_of_column, column in zip(found, columns.tolist(), strict=True):
            first, last = self.values.indptr[column : column + 2]
            place_of_column[:] = first + np.searchsorted(self.values.indices[first:last], bounds)
        lengths = found[:, 1::2] - found[:, ::2]
        taken = np.repeat(found[:, ::2].ravel(), lengths.ravel()) + _counting(lengths.ravel())
        before = starts - np.concatenate([[0], np.cumsum(stops - starts)[:-1]])  # rows that are left out so far
        rows = self.values.indices[taken] - np.repeat(np.tile(before, len(columns)), lengths.ravel())
        indptr = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])
        block = sparse.csc_matrix((self.values.data[taken], rows, indptr), shape=(len(wanted), len(columns)))
        return _float32(_ordered(block.tocsr(), place))


class Stored(Reader):
    """A matrix in an HDF5 or zarr file, read in rising order: neighbouring rows at once, the rest left out."""

    shape: tuple[int, int]

    def read(self, starts: NDArray[np.intp], stops: NDArray[np.intp]) -> Any:
        """The rows of all these spans."""
        raise NotImplementedError

    def rows(self, cells: Cells, genes: Genes) -> Any:
        wanted, place = _sorted(cells, self.shape[0])
        pieces = [self._piece(wanted[i : i + _PIECE], genes) for i in range(0, max(len(wanted), 1), _PIECE)]
        return _ordered(_joined(pieces), place)

    def _piece(self, wanted: NDArray[np.intp], genes: Genes) -> Any:
        starts, stops = _spans(wanted, _GAP)
        block = self.read(starts, stops)
        if len(wanted) < block.shape[0]:
            lengths = stops - starts
            read = np.repeat(starts, lengths) + _counting(lengths)
            block = block[np.searchsorted(read, wanted)]
        return _float32(_chosen(block, genes))


class StoredSparse(Stored):
    """A CSR matrix in a file."""

    def __init__(self, values: Any) -> None:
        self.shape = values.shape
        self._data, self._indices = values.group["data"], values.group["indices"]
        self._indptr: NDArray[np.integer] = values.group["indptr"][:]

    def read(self, starts: NDArray[np.intp], stops: NDArray[np.intp]) -> Any:
        spans = [slice(*ends) for ends in zip(self._indptr[starts], self._indptr[stops], strict=True)]
        spans = spans or [slice(0, 0)]
        data, indices = (np.concatenate([stored[span] for span in spans]) for stored in (self._data, self._indices))
        rows = np.repeat(starts, stops - starts) + _counting(stops - starts)
        indptr = np.concatenate([[0], np.cumsum(self._indptr[rows + 1] - self._indptr[rows])])
        return sparse.csr_matrix((data, indices, indptr), shape=(len(rows), self.shape[1]))


class StoredDense(Stored):
    """An array in a file."""

    def __init__(self, values: Any) -> None:
        self.shape = values.shape
        self._values = values

    def read(self, starts: NDArray[np.intp], stops: NDArray[np.intp]) -> Any:
        spans = list(zip(starts.tolist(), stops.tolist(), strict=True)) or [(0, 0)]
        return np.concatenate([self._values[start:stop] for start, stop in spans])


class Lazy(Reader):
    """A dask array of numpy arrays or sparse matrices; of its chunks those are computed that hold what is asked for.

    Whatever scheduler dask is set to computes them: threads, or the workers of a cluster.
    """

    def __init__(self, values: Any, where: str) -> None:
        if np.isnan(values.shape[0]):
            msg = f"`{where}` is a dask array with chunks of unknown size. Call its `compute_chunk_sizes()` first."
            raise ValueError(msg)
        self.values = values

    @cached_property
    def _pieces(self) -> NDArray[Any]:
        """Each chunk, not computed."""
        return self.values.to_delayed()

    def rows(self, cells: Cells, genes: Genes) -> Any:
        wanted, place = _sorted(cells, self.values.shape[0])
        return _ordered(self._block(wanted, genes).compute(), place)

    def mapped(
        self, function: Callable[..., T], parts: Sequence[tuple[slice, tuple[Any, ...]]], genes: Genes
    ) -> Iterator[T]:
        """Each block is worked on where its chunks are; only what the function makes of it comes back."""
        import dask

        shared = dask.delayed(function)
        for first in range(0, len(parts), _WINDOW):
            window = [
                shared(self._block(_sorted(cells, self.values.shape[0])[0], genes), *arguments)
                for cells, arguments in parts[first : first + _WINDOW]
            ]
            yield from dask.compute(*window)

    def _block(self, wanted: NDArray[np.intp], genes: Genes) -> Any:
        """Some rows, in rising order, as one delayed block."""
        import dask

        ends = np.cumsum(self.values.chunks[0])
        chunk_of = np.searchsorted(ends, wanted, side="right")
        columns, order = self._columns(genes)
        cut = dask.delayed(_cut)
        parts = []
        for chunk in np.unique(chunk_of).tolist() or [0]:
            local = wanted[chunk_of == chunk] - (ends[chunk] - self.values.chunks[0][chunk])
            whole = len(local) == self.values.chunks[0][chunk]
            row = [(self._pieces[chunk, number], inside) for number, inside in columns]
            parts.append(
                cut([piece for piece, _ in row], None if whole else local, [inside for _, inside in row], order)
            )
        return dask.delayed(_joined)(parts)

    def _columns(self, genes: Genes) -> tuple[list[tuple[int, Genes]], Genes]:
        """The chunks that have any of the genes, with their columns, and how to bring these into order."""
        ends = np.cumsum(self.values.chunks[1])
        if genes is None:
            return [(number, None) for number in range(len(ends))], None
        chunk_of = np.searchsorted(ends, genes, side="right")
        columns = []
        for chunk in np.unique(chunk_of).tolist():
            columns.append((chunk, genes[chunk_of == chunk] - (ends[chunk] - self.values.chunks[1][chunk])))
        order = np.argsort(np.argsort(chunk_of, kind="stable"))
        return columns, None if (order == np.arange(len(order))).all() else order


def _cut(pieces: list[Any], cells: NDArray[np.intp] | None, genes: list[Genes], order: Genes) -> Any:
    """Rows and columns of the chunks that lie side by side; run by dask."""
    parts = [_chosen(p if cells is None else p[cells], inside) for p, inside in zip(pieces, genes, strict=True)]
    if len(parts) == 1:
        return _float32(_chosen(parts[0], order))
    block = sparse.hstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts, axis=1)
    return _float32(_chosen(block, order))


def _joined(pieces: list[Any]) -> Any:
    """Blocks one below the other."""
    if len(pieces) == 1:
        return pieces[0]
    return sparse.vstack(pieces, format="csr") if sparse.issparse(pieces[0]) else np.concatenate(pieces)


def _chosen(block: Any, genes: Genes) -> Any:
    return block if genes is None else block[:, genes]


def _float32(block: Any) -> Any:
    """A block as the models read it: CSR or a plain array, float32."""
    if sparse.issparse(block):
        return sparse.csr_matrix(block, dtype=np.float32)
    return np.asarray(block, dtype=np.float32)


def _sorted(cells: Cells, n_cells: int) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """Numbers of rows in rising order, each once, and the place of each asked for in it; None where it is the same."""
    if isinstance(cells, slice):
        return np.arange(*cells.indices(n_cells)), None
    if (np.diff(cells) > 0).all():
        return cells, None
    return np.unique(cells, return_inverse=True)


def _ordered(block: Any, place: NDArray[np.intp] | None) -> Any:
    return block if place is None else block[place]


def _spans(wanted: NDArray[np.intp], gap: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row and the one after the last of spans that cover the rows asked for, up to `gap` others between two."""
    if not len(wanted):
        return wanted, wanted
    breaks = np.flatnonzero(np.diff(wanted) > gap + 1)
    return wanted[np.concatenate([[0], breaks + 1])], wanted[np.append(breaks, len(wanted) - 1)] + 1


def _counting(lengths: NDArray[np.integer]) -> NDArray[np.intp]:
    """0, 1, 2, ... up to each length, one after the other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
