"""One batch of contrasts as an optimisation problem: margins of the cells, their slopes, and the hinge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ._prototypes import logit_of

if TYPE_CHECKING:
    from torch import Tensor

    from ._encoder import Encoder
    from ._prototypes import NeuralizedClustering

Objective = Literal["targeted", "pairwise", "rest"]


@dataclass(frozen=True)
class Problem:
    """One batch of contrasts, in the coordinates eta = w * delta in which the L1 norm has unit weights."""

    encoder: Encoder
    clustering: NeuralizedClustering
    cells: Tensor  # (n_contrasts, n_cells, width)
    cell_weight: Tensor  # (n_contrasts, n_cells)
    source: Tensor
    target: Tensor
    objective: Objective
    alpha: float
    gene_weight: Tensor  # (n_contrasts, n_genes)
    lower: Tensor  # bounds of eta
    upper: Tensor
    ridge: float = 0.0

    def subset(self, rows: Tensor) -> Problem:
        """The same problem for some of the contrasts."""
        return Problem(
            self.encoder,
            self.clustering,
            self.cells[rows],
            self.cell_weight[rows],
            self.source[rows],
            self.target[rows],
            self.objective,
            self.alpha,
            self.gene_weight[rows],
            self.lower[rows],
            self.upper[rows],
            self.ridge,
        )

    def margin(self, preactivation: Tensor) -> Tensor:
        """What has to fall below -alpha: how far each cell is from where it should go, ``(n_contrasts, n_cells)``."""
        scores = self.clustering.scores(self.encoder.tail(preactivation))
        return margin(scores, self.source, self.target, self.objective)

    def linearized(self, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Margins, and the gradient of each with respect to its cell's pre-activation; 0 for padding."""
        at = (self.cells + shift[:, None]).detach().requires_grad_()
        with torch.enable_grad():
            margins = self.margin(at)
            (slope,) = torch.autograd.grad(margins.sum(), at)
        return margins.detach(), slope * (self.cell_weight > 0).unsqueeze(-1)

    def slope(self, at_preactivation: Tensor) -> Tensor:
        """From a gradient with respect to the pre-activation, ``(n_contrasts, width)``, to that of eta."""
        return self.encoder.pull(at_preactivation) / self.gene_weight

    def hinge(self, margins: Tensor, lam: Tensor) -> Tensor:
        """The mean hinge times lambda, per contrast."""
        return lam * ((self.alpha + margins).clamp_min(0.0) * self.cell_weight).sum(dim=1)


def margin(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> Tensor:
    r"""The difference of logits inside the hinge, shape ``(n_contrasts, n_cells)``.

    ``"pairwise"`` is equation 7, :math:`m_s-m_t`, which a cell satisfies that is nearer to :math:`t` than to :math:`s`
    but nearest to a third group. ``"targeted"`` is :math:`-2m_t`, so that the cell ends in :math:`t`. ``"rest"`` is
    equation 8, :math:`m_s-\max_{k\ne s}m_k`. With two groups :math:`m_s=-m_t` and all three agree.
    """
    if objective == "targeted":
        return -2 * logit_of(scores, target)
    if objective == "pairwise":
        return logit_of(scores, source) - logit_of(scores, target)
    others = scores.detach().scatter(-1, source.view(-1, 1, 1).expand(*scores.shape[:-1], 1), -torch.inf)
    return logit_of(scores, source) - logit_of(scores, others.argmax(dim=-1))  # m_k rises with the score of k


def is_flipped(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """Whether the cell is assigned to the target (against the rest: not to the source), boolean."""
    assigned = scores.argmax(dim=-1)
    if objective == "rest":
        return assigned != source[:, None]
    return assigned == target[:, None]
