"""The part of a stored ranking that holds each contrast by itself: written, and read as tables.

It is there for rankings whose contrasts have a target, and survives what the ranking survives: files, renamed and
reordered categories, a subset of the cells. Groups are numbered by the fields of `PER_TARGET`, all groups in the order
that the categories had, which `AnnData.rename_categories` renames with the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import _rgg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from scipy import sparse

PER_CHANGE: dict[str, str] = {"contrast_target": "<i4", "contrast_rank": "<i4", "contrast_delta": "<f4"}
"""A field per ranking, a row per gene that a contrast of it changes: number of the target (-1 where rankings of fewer
changes are filled up), row of the gene in `names`, and the change."""

PER_TARGET: dict[str, str] = {"contrast_flip_rate": "<f4", "contrast_size": "<f4", "contrast_distance": "<f4"}
"""A field per group that there is, a row per ranking: share of cells that the contrast moves to that group, sum of its
absolute changes (both NaN where there is no such contrast), and distance of the closest prototypes."""

SOURCE = "contrast_source"
"""A field per ranking, one row: number of the group that it explains."""


def build(
    fields: Sequence[str],
    groups: Sequence[str],
    source: NDArray[np.integer],
    row: NDArray[np.integer],
    target: NDArray[np.integer],
    delta: sparse.csr_matrix,
    flip_rate: NDArray[np.floating],
    distance: NDArray[np.floating],
    order: NDArray[np.intp],
    n_genes: int | None,
) -> dict[str, np.recarray]:
    """The fields to add to an entry.

    Parameters
    ----------
    fields, groups
        Names of the rankings, and of all groups.
    source
        Number of the group that each ranking explains, shape ``(n_fields,)``.
    row, target, delta, flip_rate
        Ranking, target, change of each gene of the matrix and moved share of each contrast, ``n_contrasts`` long.
    distance
        Shape ``(n_fields, n_groups)``.
    order
        Genes of each ranking, shape ``(n_fields, n_genes)``.
    n_genes
        How many of them are stored; changes of others are left out.
    """
    flipped, size = (np.full((len(groups), len(fields)), np.nan) for _ in range(2))
    flipped[target, row] = flip_rate
    size[target, row] = np.asarray(abs(delta).sum(axis=1)).ravel()
    changes = []
    for field in range(len(fields)):
        mine = np.flatnonzero(row == field)
        moved = delta[mine].tocoo()
        rank = np.argsort(order[field])[moved.col]
        kept = rank < order[:, :n_genes].shape[1]
        towards, rank, change = target[mine][moved.row][kept], rank[kept], moved.data[kept]
        by_size = np.lexsort((rank, -np.abs(change), towards))
        changes.append((towards[by_size], rank[by_size], change[by_size]))
    longest = max(1, *(len(towards) for towards, _, _ in changes))
    entry = {}
    for i, (name, dtype) in enumerate(PER_CHANGE.items()):
        padding = -1 if dtype == "<i4" else np.nan
        filled = [np.pad(c[i], (0, longest - len(c[i])), constant_values=padding) for c in changes]
        entry[name] = _rgg.recarray(filled, fields, dtype)
    for values, (name, dtype) in zip((flipped, size, distance.T), PER_TARGET.items(), strict=True):
        entry[name] = _rgg.recarray(values, groups, dtype)
    entry[SOURCE] = _rgg.recarray(np.asarray(source)[:, None], fields, "<i4")
    return entry


def stored(entry: Mapping[str, Any]) -> bool:
    """Whether the ranking holds its contrasts."""
    return SOURCE in entry


def require(entry: Mapping[str, Any]) -> None:
    """Raise where the ranking does not hold its contrasts, or holds those of another one."""
    params = entry["params"]
    if not stored(entry):
        how = f"method={params.get('method')!r}" + (", rest='max'" if params.get("rest") == "max" else "")
        msg = (
            f"This ranking has no contrasts of single groups: it was made with {how}. "
            "Run `ace.tl.explain` with method='ace', and with rest='each', a `reference` or `contrasts`."
        )
        raise ValueError(msg)
    n_fields = len(_rgg.group_names(entry))
    if len(entry["contrast_flip_rate"]) != n_fields:
        msg = (
            f"The contrasts stored with this ranking are of {len(entry['contrast_flip_rate'])} rankings, but it has "
            f"{n_fields}. Run `ace.tl.explain` again."
        )
        raise ValueError(msg)


def groups(entry: Mapping[str, Any]) -> list[str]:
    """All groups that contrasts are numbered by."""
    return list(entry["contrast_flip_rate"].dtype.names)


def source(entry: Mapping[str, Any], field: str) -> str:
    """The group that a ranking explains: its own name, but where one group has several rankings."""
    return groups(entry)[int(entry[SOURCE][field][0])]


def per_target(entry: Mapping[str, Any], field: str) -> pd.DataFrame:
    """Each target of a ranking, its name in the index: `flip_rate`, `size` and `distance`."""
    row = _rgg.group_names(entry).index(field)
    columns = {name.removeprefix("contrast_"): list(entry[name][row].item()) for name in PER_TARGET}
    table = pd.DataFrame(columns, index=pd.Index(groups(entry), dtype=object, name="target"), dtype=np.float32)
    return table[table["flip_rate"].notna()]


def nearest(entry: Mapping[str, Any], field: str) -> str:
    """The target of a ranking whose prototype is the closest."""
    return str(per_target(entry, field)["distance"].idxmin())


def changes(entry: Mapping[str, Any], field: str) -> pd.DataFrame:
    """What the contrasts of a ranking change, by target and size: number of the `target`, `rank` and `delta`."""
    kept = np.asarray(entry["contrast_target"][field]) >= 0
    columns = {name.removeprefix("contrast_"): np.asarray(entry[name][field])[kept] for name in PER_CHANGE}
    return pd.DataFrame(columns)


def table(entry: Mapping[str, Any], field: str) -> pd.DataFrame:
    """The same by name, with `scores` (signed shares of the contrast), `flip_rate` and `distance`."""
    found, names = changes(entry, field), _rgg.table(entry, field)["names"].to_numpy()
    towards = per_target(entry, field)
    target = np.array(groups(entry), dtype=object)[found["target"]]
    of_target = towards.loc[target]
    return pd.DataFrame(
        {
            "target": pd.Categorical(target, categories=towards.index),
            "names": names[found["rank"]],
            "scores": -found["delta"].to_numpy() / of_target["size"].to_numpy(),
            "delta": found["delta"],
            "flip_rate": of_target["flip_rate"].to_numpy(),
            "distance": of_target["distance"].to_numpy(),
        }
    )


def versus(entry: Mapping[str, Any], field: str) -> str:
    """What a ranking compares with what, as a title."""
    reference = str(entry["params"]["reference"])
    if reference not in _rgg.SEVERAL_REFERENCES:
        return f"{field} vs. {reference}"
    return f"{source(entry, field)} vs. {', '.join(per_target(entry, field).index)}"
