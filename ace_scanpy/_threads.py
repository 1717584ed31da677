"""How many threads torch and the BLAS libraries may use."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import scanpy as sc
from joblib import effective_n_jobs

from . import _pool

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def as_set() -> Iterator[None]:
    """`sc.settings.n_jobs` threads inside the block, by default one; what they were before is put back after it.

    Torch's tensors here are small, and threads that wait for each other on a busy machine cost many times what they
    gain.
    """
    with _pool.limited(effective_n_jobs(int(sc.settings.n_jobs))):
        yield
