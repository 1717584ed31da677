"""Contrasts that a user wrote down: pairs of a group and the groups it is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..methods import Contrasts

if TYPE_CHECKING:
    from .._labels import Labels


def named_contrasts(given: object, labels: Labels) -> Contrasts:
    """A row for each `(group, target)` or `(group, [target, ...])`, as given; raises for any other form."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        msg = f"`contrasts` must be a list of pairs such as ('a', 'b') or ('a', ['b', 'c']). Got {given!r}."
        raise TypeError(msg)
    rows: list[int] = []
    against: list[tuple[int, ...]] = []
    for pair in given:
        group, targets = _contrast(pair, labels)
        if (group, targets) in zip(rows, against, strict=True):
            msg = f"`contrasts` names {pair!r} twice."
            raise ValueError(msg)
        rows.append(group)
        against.append(targets)
    if not rows:
        msg = "`contrasts` must name at least one pair. Got none."
        raise ValueError(msg)
    return Contrasts(tuple(rows), labels.n_groups, against=tuple(against))


def _contrast(pair: Any, labels: Labels) -> tuple[int, tuple[int, ...]]:
    if isinstance(pair, str) or not isinstance(pair, Iterable) or len(listed := list(pair)) != 2:
        msg = f"Each of `contrasts` must be a pair such as ('a', 'b') or ('a', ['b', 'c']). Got {pair!r}."
        raise TypeError(msg)
    source, others = listed
    group = labels.group("contrasts", source)
    one = isinstance(others, str) or not isinstance(others, Iterable)
    targets = labels.groups("contrasts", [others] if one else others)
    if group in targets:
        msg = f"`contrasts` compares {labels.names[group]!r} with itself: {pair!r}."
        raise ValueError(msg)
    return group, tuple(sorted(targets))
