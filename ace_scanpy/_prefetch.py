"""Reading ahead: the next part is on its way while the present one is worked on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Part = TypeVar("Part")
Read = TypeVar("Read")


def ahead(read: Callable[[Part], Read], parts: Iterable[Part]) -> Iterator[Read]:
    """``read(part)`` of each part, in order, the next one being read by a thread of its own.

    Two are in memory at a time. What `read` raises is raised here; nothing more is read once the caller stops.
    """
    remaining = iter(parts)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ace_scanpy") as reader:
        waiting = [reader.submit(read, part) for part in islice(remaining, 1)]
        while waiting:
            found = waiting.pop().result()
            waiting = [reader.submit(read, part) for part in islice(remaining, 1)]
            yield found
