"""Writing results to an AnnData all at once: after an error, or Ctrl-C, it is as it was."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import _keys

if TYPE_CHECKING:
    from anndata import AnnData

_ABSENT = object()


@dataclass
class Results:
    """Fields to be written, by the attribute of AnnData they belong to."""

    fields: defaultdict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    records: dict[str, Any] = field(default_factory=dict)
    """Entries of `uns["ace"]`."""

    def add(self, attribute: str, key: str, value: Any) -> None:
        """Keep `adata.<attribute>[key] = value` for later."""
        self.fields[attribute][key] = value

    def merge(self, other: Results) -> None:
        """Take over the fields of `other`."""
        for attribute, values in other.fields.items():
            self.fields[attribute].update(values)
        self.records.update(other.records)

    def write(self, adata: AnnData) -> None:
        """Assign everything, or nothing."""
        if self.records:
            self.add("uns", _keys.RECORDS, {**adata.uns.get(_keys.RECORDS, {}), **self.records})
        done: list[tuple[str, str, Any]] = []
        try:
            for attribute, values in self.fields.items():
                for key, value in values.items():
                    mapping = getattr(adata, attribute)
                    done.append((attribute, key, mapping.get(key, _ABSENT)))
                    mapping[key] = value
        except BaseException:
            for attribute, key, previous in reversed(done):
                mapping = getattr(adata, attribute)
                if previous is not _ABSENT:
                    mapping[key] = previous
                elif key in mapping:
                    del mapping[key]
            raise


def record(adata: AnnData, name: str) -> Any:
    """The entry `uns["ace"][name]`, or None."""
    return adata.uns.get(_keys.RECORDS, {}).get(name)
