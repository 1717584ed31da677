"""How well a panel tells a group from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from .. import _validate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

C_GRID = tuple(5.0**power for power in range(-5, 6))
"""Values of C that the paper searches."""


def panel_auroc(
    expression: ArrayLike,
    in_group: ArrayLike,
    *,
    nested: bool = False,
    n_splits: int = 3,
    rng: int | np.random.Generator = 0,
) -> float:
    """Mean held-out AUROC of an RBF support-vector machine that tells a group from the rest (paper, section 5.2).

    The mean of :func:`panel_auroc_per_split`, whose parameters it shares.

    Parameters
    ----------
    expression
        The panel's genes, shape `(n_cells, n_genes)`.
    in_group
        Whether each cell is in the group, boolean, shape `(n_cells,)`.
    nested
        Search C as the paper does, in place of C = 1.
    n_splits
        Folds of the stratified, shuffled cross-validation.
    rng
        Seed of the shuffle.

    Returns
    -------
    Area under the ROC curve, from 0 to 1; 0.5 is chance.

    Examples
    --------
    >>> import numpy as np
    >>> from ace_scanpy.metrics import panel_auroc
    >>> group = np.arange(60) < 20
    >>> panel_auroc(group[:, None].astype(float), group)
    1.0
    """
    return float(panel_auroc_per_split(expression, in_group, nested=nested, n_splits=n_splits, rng=rng).mean())


def panel_auroc_per_split(
    expression: ArrayLike,
    in_group: ArrayLike,
    *,
    nested: bool = False,
    n_splits: int = 3,
    rng: int | np.random.Generator = 0,
) -> NDArray[np.float64]:
    r"""Held-out AUROC of each test split, for the mean and standard error over splits and groups (paper, figure 3B).

    Expression is z-scored within each training split; the kernel width is scikit-learn's default (`"scale"`).

    Parameters
    ----------
    expression
        The panel's genes, shape `(n_cells, n_genes)`.
    in_group
        Whether each cell is in the group, boolean, shape `(n_cells,)`.
    nested
        Choose C from :math:`5^{-5},\dots,5^5` by the mean AUROC of a second cross-validation within each training
        split, as the paper does: 34 times the fits of C = 1.
    n_splits
        Folds of the stratified, shuffled cross-validation, the inner one too.
    rng
        Seed of the shuffle.

    Returns
    -------
    Areas under the ROC curve, shape `(n_splits,)`.

    Raises
    ------
    ValueError
        When some training or test split would lack cells of the group, or of the rest.

    Examples
    --------
    >>> import numpy as np
    >>> from ace_scanpy.metrics import panel_auroc_per_split
    >>> group = np.arange(60) < 20
    >>> panel_auroc_per_split(group[:, None].astype(float), group).tolist()
    [1.0, 1.0, 1.0]
    """
    n_splits = _validate.whole_number("n_splits", n_splits, minimum=2)
    labels = np.asarray(in_group, dtype=bool)
    fewest = int(min(labels.sum(), (~labels).sum()))
    trained_on = fewest - -(-fewest // n_splits)
    if fewest < n_splits or (nested and trained_on < n_splits):
        msg = (
            f"`in_group` has {labels.sum()} cells in the group and {(~labels).sum()} in the rest: too few for "
            f"{'two nested cross-validations' if nested else 'a cross-validation'} of {n_splits} folds."
        )
        raise ValueError(msg)
    values = np.asarray(expression, dtype=np.float64)
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=_validate.seed(rng) % 2**32)
    areas = np.zeros(n_splits)
    for split, (train, test) in enumerate(folds.split(values, labels)):
        best = _search(values[train], labels[train], folds) if nested else 1.0
        (areas[split],) = _held_out(values, labels, train, test, (best,))
    return areas


def _search(values: NDArray[np.float64], labels: NDArray[np.bool_], folds: StratifiedKFold) -> float:
    """The C of the highest mean held-out AUROC, the smallest of equals."""
    areas = [_held_out(values, labels, train, test, C_GRID) for train, test in folds.split(values, labels)]
    return C_GRID[int(np.mean(areas, axis=0).argmax())]


def _held_out(
    values: NDArray[np.float64],
    labels: NDArray[np.bool_],
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    penalties: tuple[float, ...],
) -> list[float]:
    """AUROC on the test cells of a machine fitted to the training cells, for each C.

    The kernels are formed once and as matrix products, so that a panel of all genes costs little more than a small one.
    """
    scaler = StandardScaler().fit(values[train])
    seen, unseen = scaler.transform(values[train]), scaler.transform(values[test])
    gamma = 1.0 / (seen.shape[1] * (seen.var() or 1.0))
    among, across = rbf_kernel(seen, gamma=gamma), rbf_kernel(unseen, seen, gamma=gamma)
    machines = (SVC(C=penalty, kernel="precomputed").fit(among, labels[train]) for penalty in penalties)
    return [float(roc_auc_score(labels[test], machine.decision_function(across))) for machine in machines]
