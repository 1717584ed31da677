"""Checks of a user's arguments: one style of message, raised before any work."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

_SHOWN = 20


def listed(items: Iterable[object]) -> str:
    """``items`` for an error message, shortened when there are many."""
    items = [str(i) if isinstance(i, str) else i for i in items]
    if len(items) <= _SHOWN:
        return str(items)
    return f"{str(items[:_SHOWN])[:-1]}, ... ({len(items)} in all)]"


def one_of(name: str, value: object, allowed: Collection[str]) -> None:
    """Raise unless ``value`` is one of ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        msg = f"`{name}` must be one of {listed(allowed)}. Got {value!r}."
        raise ValueError(msg)


def whole_number(name: str, value: object, *, minimum: int = 1) -> int:
    """``value`` as an ``int``; raise unless it is a whole number of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        msg = f"`{name}` must be a whole number. Got {value!r} of type {type(value).__name__}."
        raise TypeError(msg)
    if value < minimum:
        msg = f"`{name}` must be at least {minimum}. Got {value}."
        raise ValueError(msg)
    return int(value)


def positive(name: str, value: object, *, allow_zero: bool = False) -> float:
    """``value`` as a ``float``; raise unless it is a finite positive number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"`{name}` must be a number. Got {value!r} of type {type(value).__name__}."
        raise TypeError(msg)
    value = float(value)
    if not np.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        msg = f"`{name}` must be {'zero or ' if allow_zero else ''}positive and finite. Got {value}."
        raise ValueError(msg)
    return value


def share(name: str, value: object) -> float:
    """``value`` as a ``float``; raise unless it is a number from 0 to 1."""
    value = positive(name, value, allow_zero=True)
    if value > 1:
        msg = f"`{name}` must be from 0 to 1. Got {value}."
        raise ValueError(msg)
    return value


def obs_key(adata: AnnData, name: str, key: object) -> str:
    """``key`` if it is a column of ``adata.obs``; raise otherwise."""
    if not isinstance(key, str) or key not in adata.obs.columns:
        msg = f"`{name}`={key!r} not found in `adata.obs`. Available keys: {listed(adata.obs.columns)}."
        raise KeyError(msg)
    return key


def cells(adata: AnnData, name: str, wanted: object) -> NDArray[np.intp]:
    """Sorted positions of the cells that ``wanted`` names as ``adata[wanted]`` takes them; None for all.

    Names, a boolean mask, integer positions, a slice or a single one of them; raise where there is no such cell.
    """
    everything = np.arange(adata.n_obs)
    if wanted is None or isinstance(wanted, slice):
        found = everything if wanted is None else everything[wanted]
    else:
        several = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
        found = _positions(adata, name, pd.Series(several).to_numpy())
    if not len(found):
        msg = f"`{name}` names no cell."
        raise ValueError(msg)
    return np.unique(found)


def _positions(adata: AnnData, name: str, values: NDArray[Any]) -> NDArray[np.intp]:
    """Positions from a mask, from positions or from names."""
    if values.dtype == bool:
        if values.shape != (adata.n_obs,):
            msg = f"`{name}` is a mask of shape {values.shape}, but `adata` has {adata.n_obs} cells."
            raise ValueError(msg)
        return np.flatnonzero(values)
    if np.issubdtype(values.dtype, np.integer):
        outside = (values < -adata.n_obs) | (values >= adata.n_obs)
        if outside.any():
            msg = f"`{name}` has positions outside the {adata.n_obs} cells of `adata`: {listed(values[outside])}."
            raise KeyError(msg)
        return np.arange(adata.n_obs)[values]
    if not adata.obs_names.is_unique:
        msg = f"`{name}` are names, but those of `adata` repeat. Call `adata.obs_names_make_unique()` first."
        raise ValueError(msg)
    found = adata.obs_names.get_indexer(pd.Index(values))
    if (found < 0).any():
        msg = (
            f"`{name}` not found in `adata.obs_names`: {listed(values[found < 0])}. "
            f"Available cells: {listed(adata.obs_names)}."
        )
        raise KeyError(msg)
    return found


def applicable(
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    options: Mapping[str, Collection[str]],
    choice: str,
    name: str,
) -> None:
    """Raise for an argument that was set but says nothing to the `choice` made by the argument `name`.

    `options` are the arguments that each choice has a use for; those in none of them concern all choices.
    """
    for option in sorted(set().union(*options.values()) - set(options[choice])):
        if given[option] is not defaults[option] and not np.array_equal(given[option], defaults[option]):
            owners = [key for key, known in options.items() if option in known]
            msg = f"`{option}`={given[option]!r} does not apply to {name}={choice!r}, only to {owners}. Leave it out."
            raise ValueError(msg)


def uns_key(name: str, key: object, reserved: Collection[str]) -> str:
    """``key`` if results may be stored under it; raise otherwise."""
    if not isinstance(key, str) or not key:
        msg = f"`{name}` must be a non-empty string. Got {key!r}."
        raise TypeError(msg)
    if key in reserved:
        msg = f"`{name}`={key!r} is reserved. Choose a key other than {listed(sorted(reserved))}."
        raise ValueError(msg)
    if "/" in key:
        msg = f"`{name}`={key!r} contains '/', which h5ad and zarr files do not allow in a key."
        raise ValueError(msg)
    return key


def not_empty(adata: AnnData) -> None:
    """Raise when there are no cells or no genes."""
    if adata.n_obs == 0 or adata.n_vars == 0:
        msg = f"`adata` has {adata.n_obs} cells and {adata.n_vars} genes; at least one of each is needed."
        raise ValueError(msg)


def writable(adata: AnnData, *, copy: bool = False) -> None:
    """Raise where an AnnData whose matrix stays in its file cannot take results."""
    if adata.isbacked and (copy or adata.is_view):
        what = "`copy=True` would copy" if copy else "results cannot be written to a view of"
        msg = (
            f"`adata` is backed by {str(adata.filename)!r}: {what} the file. Results go to the AnnData in memory and "
            "leave the file as it is. Pass the whole `adata` without `copy`, or, for some of its cells, "
            "`adata[cells].to_memory()` or `adata[cells].copy('another.h5ad')`."
        )
        raise ValueError(msg)


def unique_genes(names: pd.Index, what: str) -> None:
    """Raise when gene names repeat: a ranking could not say which gene it means."""
    if not names.is_unique:
        repeated = names[names.duplicated()].unique()
        msg = f"`{what}` has repeated gene names: {listed(repeated)}. Call `adata.var_names_make_unique()` first."
        raise ValueError(msg)


def seed(rng: object) -> int:
    """A seed from ``rng``: the number itself, or one drawn from a generator; raise for anything else."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**31))
    if isinstance(rng, bool) or not isinstance(rng, numbers.Integral) or rng < 0:
        msg = f"`rng` must be a non-negative whole number or a numpy Generator. Got {rng!r}."
        raise TypeError(msg)
    return int(rng)


def members(name: str, wanted: object, available: Sequence[Any]) -> list[Any]:
    """The entries of ``available`` that ``wanted`` names (by value or by its string); raise for any other."""
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        msg = f"`{name}` must be a list of groups. Got {wanted!r}; write [{wanted!r}]."
        raise TypeError(msg)
    wanted = list(wanted)
    if not wanted:
        msg = f"`{name}` names no group. Available groups: {listed(available)}."
        raise ValueError(msg)
    return [member(name, w, available) for w in wanted]


def member(name: str, wanted: object, available: Sequence[Any]) -> Any:
    """The entry of ``available`` that ``wanted`` names; raise when there is none."""
    for category in available:
        if category == wanted or str(category) == str(wanted):
            return category
    msg = f"`{name}`={wanted!r} is not a group. Available groups: {listed(available)}."
    raise ValueError(msg)
