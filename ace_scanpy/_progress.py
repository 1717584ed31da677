"""Progress bars, shown from `sc.settings.verbosity = 2` on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import scanpy as sc
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_INFO = 2


@contextlib.contextmanager
def bars() -> Iterator[Callable[[str, int], None]]:
    """A function that advances the bar of a phase by one, opening a new bar for each phase."""
    current: dict[str, tqdm] = {}

    def advance(phase: str, total: int) -> None:
        if phase not in current:
            close()
            current[phase] = tqdm(desc=phase, total=total, leave=False, disable=int(sc.settings.verbosity) < _INFO)
        current[phase].update()

    def close() -> None:
        while current:
            current.popitem()[1].close()

    try:
        yield advance
    finally:
        close()
