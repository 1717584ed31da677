"""How well a panel tells a group from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def panel_auroc(expression: ArrayLike, in_group: ArrayLike, *, n_splits: int = 3, rng: int = 0) -> float:
    """Mean held-out AUROC of an RBF support-vector machine that tells a group from the rest (paper, section 5.2).

    Expression is z-scored within each training split; C is 1 and the kernel width scikit-learn's default.

    Parameters
    ----------
    expression
        The panel's genes, shape `(n_cells, n_genes)`.
    in_group
        Whether each cell is in the group, boolean, shape `(n_cells,)`.
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
    model = make_pipeline(StandardScaler(), SVC(C=1.0, gamma="scale"))
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=rng)
    labels = np.asarray(in_group, dtype=bool)
    return float(cross_val_score(model, np.asarray(expression), labels, cv=folds, scoring="roc_auc").mean())
