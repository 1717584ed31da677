"""Which groups are explained, against what, and what is found for each pair of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..models import NeuralizedClustering, Objective

Rest = Literal["each", "max"]


@dataclass(frozen=True)
class Contrasts:
    """Which groups are explained, against what; a row for each ranking that is wanted.

    Attributes
    ----------
    groups
        The group that each row explains.
    n_groups
        Number of groups there are.
    reference
        A single group to compare all rows with, or None.
    rest
        Against all others: ``"each"`` one-vs-one with every other group, or ``"max"``, whichever is nearest
        (equation 8).
    against
        The groups that each row is compared with, where rows differ in that; None otherwise.
    """

    groups: tuple[int, ...]
    n_groups: int
    reference: int | None = None
    rest: Rest = "each"
    against: tuple[tuple[int, ...], ...] | None = None

    @property
    def objective(self) -> Objective:
        """The form of the hinge."""
        against_all = self.reference is None and self.against is None
        return "rest" if against_all and self.rest == "max" else "targeted"

    def others(self, row: int) -> list[int]:
        """The groups that a row is compared with."""
        if self.against is not None:
            return list(self.against[row])
        if self.reference is not None:
            return [self.reference]
        return [t for t in range(self.n_groups) if t != self.groups[row]]

    def targets(self, row: int) -> list[int]:
        """The target of each contrast of a row; a single, unused one for equation 8."""
        return self.others(row)[:1] if self.objective == "rest" else self.others(row)


@dataclass(frozen=True)
class Pairs:
    """Each contrast of one group with another by itself.

    Attributes
    ----------
    row, target
        Row of :class:`Contrasts`, and the target, shape ``(n_contrasts,)``.
    delta
        Perturbation in units of the gene's scale, shape ``(n_contrasts, n_genes)``, with few genes that are not zero.
    flip_rate
        Share of the sampled cells that it moves to the target, shape ``(n_contrasts,)``.
    distance
        How far groups are from each other, see :func:`distances`, shape ``(n_groups, n_groups)``.
    """

    row: NDArray[np.intp]
    target: NDArray[np.intp]
    delta: sparse.csr_matrix
    flip_rate: NDArray[np.float64]
    distance: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Pairs]) -> Pairs:
        """The contrasts of all parts, which are of the same groups."""
        return cls(
            np.concatenate([part.row for part in parts]),
            np.concatenate([part.target for part in parts]),
            sparse.csr_matrix(sparse.vstack([part.delta for part in parts])),
            np.concatenate([part.flip_rate for part in parts]),
            parts[0].distance,
        )


def distances(clustering: NeuralizedClustering) -> NDArray[np.float64]:
    """Euclidean distance of the groups' prototypes in the latent space, shape ``(n_groups, n_groups)``.

    Of groups with several, that of the two that are closest: how near the groups come to each other.
    """
    prototypes, groups = clustering.prototypes.cpu().double(), clustering.groups.cpu().numpy()
    each = torch.cdist(prototypes, prototypes, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    closest = np.full((clustering.n_groups, clustering.n_groups), np.inf)
    np.minimum.at(closest, (groups[:, None], groups), each)
    return closest


def nearest(distance: NDArray[np.floating]) -> NDArray[np.intp]:
    """The group closest to each group, but itself."""
    apart = np.array(distance)
    np.fill_diagonal(apart, np.inf)
    return apart.argmin(axis=1)
