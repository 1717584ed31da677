"""Minibatches and encodings from any source of cells, at a bounded cost in memory."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

from .._prefetch import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from ._encoder import Encoder

T = TypeVar("T")

_CHUNK_VALUES = 2**24
_RUNS = 64  # per chunk: enough that a chunk of data sorted by group is a mixture of the groups


class CellSource(Protocol):
    """What the models need of a matrix: cells by number, dense or as CSR, and a function of all of them by blocks."""

    @property
    def n_cells(self) -> int: ...

    @property
    def n_genes(self) -> int: ...

    @property
    def is_elsewhere(self) -> bool: ...

    def rows(self, cells: NDArray[np.intp]) -> Any: ...

    def dense(self, cells: NDArray[np.intp]) -> NDArray[np.float32]: ...

    def mapped(self, function: Callable[..., T], *per_cell: NDArray[Any]) -> Iterator[T]: ...


class Minibatches:
    """Minibatches of some cells in random order, at the same few reads whether they are in memory or in a file.

    Cells are cut into short runs of neighbours. A pass takes the runs in random order, reads a chunk of many from all
    over the data in rising order, one chunk ahead, and shuffles within the chunk. Where all cells fit into a chunk, it
    is read once for all passes. The order follows from the numbers of the cells and `rng` alone, not from how they are
    stored.

    Parameters
    ----------
    source
        Cells by genes.
    cells
        Numbers of the cells to draw from.
    batch_size
        Cells per minibatch; the last of a chunk may have fewer.
    """

    def __init__(self, source: CellSource, cells: NDArray[np.intp], batch_size: int) -> None:
        self._source, self._cells, self._batch_size = source, np.sort(cells), batch_size
        self._chunk_size = max(batch_size, _CHUNK_VALUES // max(source.n_genes, 1))
        self._is_one_chunk = len(cells) <= self._chunk_size
        self._only: Any = None

    def one_pass(self, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
        """Numbers of the cells and dense expression ``(n, n_genes)`` of each minibatch, every cell once."""
        chunks = self._chunks(rng)
        for chunk, rows in zip(chunks, self._read(chunks), strict=True):
            mixed = rng.permutation(len(chunk))
            for first in range(0, len(mixed), self._batch_size):
                picked = mixed[first : first + self._batch_size]
                values = rows[picked]
                yield chunk[picked], as_tensor(values.toarray() if hasattr(values, "toarray") else values)

    def _chunks(self, rng: np.random.Generator) -> list[NDArray[np.intp]]:
        """The cells of each chunk, in rising order."""
        length = 1 if self._is_one_chunk else max(1, self._chunk_size // _RUNS)
        first = np.flatnonzero(np.diff(self._cells // length, prepend=-1))
        order = rng.permutation(len(first))
        if self._is_one_chunk:
            return [self._cells]
        runs = np.split(self._cells, first[1:])
        seen = np.cumsum([len(runs[run]) for run in order])
        breaks = np.flatnonzero(np.diff((seen - 1) // self._chunk_size)) + 1
        return [np.concatenate([runs[run] for run in sorted(part)]) for part in np.split(order, breaks)]

    def _read(self, chunks: list[NDArray[np.intp]]) -> Iterator[Any]:
        if not self._is_one_chunk:
            yield from ahead(self._source.rows, chunks)
            return
        if self._only is None:
            self._only = self._source.rows(chunks[0])
        yield self._only


def minibatches(
    source: CellSource, cells: NDArray[np.intp], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    """One pass over ``cells`` in random order: their numbers and dense expression ``(n, n_genes)``.

    See :class:`Minibatches`.
    """
    return Minibatches(source, cells, batch_size).one_pass(rng)


def as_tensor(array: NDArray[np.float32]) -> Tensor:
    """The array as a tensor; copied only where torch could not share it."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


@torch.no_grad()
def preactivations(encoder: Encoder, rows: Any) -> Tensor:
    """First step of the encoder for a block of expression, without a gradient."""
    return encoder.read(rows)


def encode(encoder: Encoder, source: CellSource, cells: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
    """Latent coordinates of all cells or of some, shape ``(n_cells, n_latent)``, read by blocks."""
    if cells is not None and len(cells) < source.n_cells:
        blocks = np.array_split(cells, -(-len(cells) * source.n_genes // _CHUNK_VALUES))
        return np.concatenate([_encode_block(encoder, rows) for rows in ahead(source.rows, blocks)])
    if source.is_elsewhere and encoder.mean.device.type != "cpu":
        encoder = copy.deepcopy(encoder).cpu()
    return np.concatenate(list(source.mapped(partial(_encode_block, encoder))))


@torch.no_grad()
def _encode_block(encoder: Encoder, rows: Any) -> NDArray[np.float32]:
    return encoder.tail(encoder.read(rows)).cpu().numpy()
