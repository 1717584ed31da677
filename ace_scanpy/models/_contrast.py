"""One batch of contrasts as an optimisation problem: the hinge, its gradient, the proximal step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ._prototypes import logits_from_scores

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
        )

    def shift(self, eta: Tensor) -> Tensor:
        """What the perturbation adds to the pre-activation, shape ``(n_contrasts, width)``."""
        return self.encoder.shift(eta / self.gene_weight)

    def margin(self, shift: Tensor) -> Tensor:
        """What has to fall below -alpha: how far each cell is from where it should go, ``(n_contrasts, n_cells)``."""
        scores = self.clustering.scores(self.encoder.tail(self.cells + shift[:, None]))
        return margin(scores, self.source, self.target, self.objective)

    def loss(self, margin: Tensor, lam: Tensor, width: float) -> Tensor:
        """The smoothed hinge, weighted by lambda, per contrast."""
        return lam * (smooth_hinge(self.alpha + margin, width) * self.cell_weight).sum(dim=1)

    def value_and_gradient(self, eta: Tensor, lam: Tensor, width: float) -> tuple[Tensor, Tensor, Tensor]:
        """The smooth part, its gradient, and what rounding can make of two equal values."""
        eta = eta.detach().requires_grad_()
        with torch.enable_grad():
            margins = self.margin(self.shift(eta))
            value = self.loss(margins, lam, width)
            (slope,) = torch.autograd.grad(value.sum(), eta)
        size = (margins.detach().abs() * self.cell_weight).sum(dim=1) + self.alpha
        rounding = 4 * torch.finfo(eta.dtype).eps * lam * size
        return value.detach(), slope, rounding

    def value(self, eta: Tensor, lam: Tensor, width: float) -> Tensor:
        """The whole smoothed objective, per contrast."""
        return eta.abs().sum(dim=1) + self.loss(self.margin(self.shift(eta)), lam, width)

    def prox(self, eta: Tensor, step: Tensor) -> Tensor:
        """Soft threshold, then clip: exact for the L1 norm on a box that holds zero."""
        shrunk = torch.sign(eta) * (eta.abs() - step).clamp_min(0.0)
        return torch.minimum(torch.maximum(shrunk, self.lower), self.upper)


def margin(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> Tensor:
    r"""The difference of logits inside the hinge, shape ``(n_contrasts, n_cells)``.

    ``"pairwise"`` is equation 7, :math:`m_s-m_t`, which a cell satisfies that is nearer to :math:`t` than to :math:`s`
    but nearest to a third group. ``"targeted"`` is :math:`-2m_t`, so that the cell ends in :math:`t`. ``"rest"`` is
    equation 8, :math:`m_s-\max_{k\ne s}m_k`. With two groups :math:`m_s=-m_t` and all three agree.
    """
    logits = logits_from_scores(scores)
    asked = source if objective == "rest" else target
    where = asked.view(-1, 1, 1).expand(*logits.shape[:2], 1)
    own = logits.gather(-1, where).squeeze(-1)
    if objective == "targeted":
        return -2 * own
    if objective == "pairwise":
        return logits.gather(-1, source.view(-1, 1, 1).expand_as(where)).squeeze(-1) - own
    return own - logits.scatter(-1, where, -torch.inf).amax(dim=-1)


def is_flipped(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """Whether the cell is assigned to the target (against the rest: not to the source), boolean."""
    assigned = scores.argmax(dim=-1)
    if objective == "rest":
        return assigned != source[:, None]
    return assigned == target[:, None]


def smooth_hinge(u: Tensor, width: float) -> Tensor:
    """``max(0, u)``, quadratic on ``[0, width]``: below the hinge by at most ``width / 2``, with a continuous slope."""
    return torch.where(u < width, u.clamp_min(0.0).square() / (2 * width), u - width / 2)
