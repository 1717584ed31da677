"""How many threads compute, and independent pieces of work side by side."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import torch
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Piece = TypeVar("Piece")
Result = TypeVar("Result")


@contextlib.contextmanager
def limited(n_threads: int) -> Iterator[None]:
    """So many threads for torch and the BLAS libraries inside the block; what they were before is put back after it."""
    before = torch.get_num_threads()
    with threadpool_limits(n_threads):
        torch.set_num_threads(n_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def each(function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """``function(piece)`` of each piece, in order, as many at a time as torch has threads.

    Then a piece has one thread only: tensors are small here, and threads that share one gain little. What `function`
    raises is raised here.
    """
    n_threads = torch.get_num_threads()
    if min(n_threads, len(pieces)) < 2:
        return [function(piece) for piece in pieces]
    with limited(1), ThreadPoolExecutor(n_threads, thread_name_prefix="ace_scanpy") as workers:
        return list(workers.map(function, pieces))
