"""Independent pieces of work side by side, each in a thread of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import torch
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def each(function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """``function(piece)`` of each piece, in order, as many at a time as torch has threads.

    Then a piece has one thread only: tensors are small here, and threads that share one gain little. What `function`
    raises is raised here.
    """
    n_threads = torch.get_num_threads()
    if min(n_threads, len(pieces)) < 2:
        return [function(piece) for piece in pieces]
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(n_threads, thread_name_prefix="ace_scanpy") as workers:
                return list(workers.map(function, pieces))
        finally:
            torch.set_num_threads(n_threads)
