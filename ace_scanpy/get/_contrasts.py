"""Each contrast of a ranking by itself, as a tidy table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from .. import _contrasts, _keys, _rgg, _validate
from .._docs import document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@document
def contrasts(
    adata: AnnData,
    *,
    group: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
    key: str = _keys.RANKING,
) -> pd.DataFrame:
    r"""Which genes tell one group from one other, for every pair that was solved.

    Nothing is computed: the perturbations are stored with the ranking. They are of :func:`ace_scanpy.tl.explain` with
    `method="ace"`; equation 8, `rest="max"`, has no targets and is refused.

    Parameters
    ----------
    %(adata)s
    group
        A group, several, or None for all.
    target
        The same of the groups that these are compared with.
    %(key)s

    Returns
    -------
    One row per group, target and gene that leads from the one to the other; groups and targets in the order of the
    categories, genes by the size of their share:

    `group`, `target` : category
        By their present names.
    `names` : object
        The gene. Genes beyond the `n_genes` of the ranking are left out.
    `scores` : float32
        :math:`-\delta_i/\lVert\delta\rVert_1`: share of the perturbation, positive for genes that are enriched in the
        group. The sizes sum to one over the genes of a contrast.
    `delta` : float32
        The change that leads to the target, in units of the gene's scale.
    `flip_rate` : float32
        Share of the group's sampled cells that the whole perturbation moves to the target.
    `distance` : float32
        From the group to the target in the latent space, between their prototypes, of several the closest.

    A contrast that needs no change has no rows.

    Raises
    ------
    KeyError
        When there is no such ranking.
    ValueError
        When a group or target is not in it, or it holds no contrasts.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels", groups=["CD19+ B"])
    >>> table = ace.get.contrasts(adata, group="CD19+ B", target=["CD56+ NK", "Dendritic"])
    >>> table["target"].unique().tolist()
    ['CD56+ NK', 'Dendritic']
    """
    entry = _rgg.read(adata, key)
    _contrasts.require(entry)
    available, targets = _rgg.group_names(entry), _contrasts.groups(entry)
    groups = available if group is None else _members("group", group, available)
    wanted = targets if target is None else _members("target", target, targets)
    tidy = pd.concat([_contrasts.table(entry, name).assign(group=name) for name in groups], ignore_index=True)
    tidy = tidy[tidy["target"].isin(wanted)].reset_index(drop=True)
    tidy["target"] = pd.Categorical(tidy["target"].astype(object), categories=wanted)
    tidy["group"] = pd.Categorical(tidy["group"], categories=groups)
    return tidy[["group", *tidy.columns.drop("group")]]


def _members(name: str, wanted: object, available: Sequence[str]) -> list[str]:
    """One group or several, in the order of the categories."""
    one = isinstance(wanted, str) or not isinstance(wanted, Iterable)
    found = _validate.members(name, [wanted] if one else wanted, available)
    return [group for group in available if group in found]
