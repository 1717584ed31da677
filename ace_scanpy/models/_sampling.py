"""Minibatches and encodings from any source of cells, at a bounded cost in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from ._encoder import Encoder

_CHUNK_VALUES = 2**24


class CellSource(Protocol):
    """What the models need of a matrix: cells by number, dense or as CSR, and an ordered pass over all."""

    @property
    def n_cells(self) -> int: ...

    @property
    def n_genes(self) -> int: ...

    def rows(self, cells: NDArray[np.intp]) -> Any: ...

    def dense(self, cells: NDArray[np.intp]) -> NDArray[np.float32]: ...

    def blocks(self) -> Iterable[tuple[slice, Any]]: ...


def minibatches(
    source: CellSource, cells: NDArray[np.intp], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    """One pass over ``cells`` in random order: their numbers and dense expression ``(n, n_genes)``.

    Cells are read in sorted chunks, shuffled within the chunk, so that a matrix stored by rows is
    read nearly in order. A last batch of a single cell is joined to the one before.
    """
    order = rng.permutation(cells)
    chunk_size = max(batch_size, _CHUNK_VALUES // max(source.n_genes, 1))
    for start in range(0, len(order), chunk_size):
        chunk = np.sort(order[start : start + chunk_size])
        rows = source.rows(chunk)
        mixed = rng.permutation(len(chunk))
        for first in range(0, len(mixed), batch_size):
            picked = mixed[first : first + batch_size]
            values = rows[picked]
            yield chunk[picked], as_tensor(values.toarray() if hasattr(values, "toarray") else values)


def as_tensor(array: NDArray[np.float32]) -> Tensor:
    """The array as a tensor; copied only where torch could not share it."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


@torch.no_grad()
def preactivations(encoder: Encoder, rows: Any) -> Tensor:
    """First step of the encoder for a block of expression, without a gradient."""
    return encoder.read(rows)


@torch.no_grad()
def encode(encoder: Encoder, source: CellSource) -> NDArray[np.float32]:
    """Latent coordinates of all cells, shape ``(n_cells, n_latent)``, read by blocks."""
    parts = [encoder.tail(preactivations(encoder, rows)).cpu().numpy() for _, rows in source.blocks()]
    return np.concatenate(parts)
