"""One batch of contrasts as an optimisation problem: margins of the cells, their slopes, and the hinge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from ._prototypes import logit_of

if TYPE_CHECKING:
    from torch import Tensor

    from ._encoder import Encoder
    from ._prototypes import NeuralizedClustering

Objective = Literal["targeted", "pairwise", "rest"]


@dataclass(frozen=True)
class Margins:
    """How far the cells of a batch of contrasts are from where they should go, through the network."""

    encoder: Encoder
    clustering: NeuralizedClustering
    cells: Tensor  # pre-activations, (n_contrasts, n_cells, width)
    cell_weight: Tensor  # (n_contrasts, n_cells)
    source: Tensor
    target: Tensor
    objective: Objective

    def subset(self, rows: Tensor) -> Margins:
        """The same of some of the contrasts."""
        return replace(
            self,
            cells=self.cells[rows],
            cell_weight=self.cell_weight[rows],
            source=self.source[rows],
            target=self.target[rows],
        )

    def at(self, shift: Tensor) -> Tensor:
        """What has to fall below -alpha, ``(n_contrasts, n_cells)``, where pre-activations shift by so much."""
        scores = self.clustering.scores(self.encoder.tail(self.cells + shift[:, None]))
        return self._without_padding(margin(scores, self.source, self.target, self.objective)[0])

    def linearized(self, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same, the gradient of each at its cell's pre-activation, and the flip rate; 0 for padding."""
        at = (self.cells + shift[:, None]).requires_grad_()
        with torch.enable_grad():
            scores = self.clustering.scores(self.encoder.tail(at))
        found = scores.detach()
        margins, by_score = margin(found, self.source, self.target, self.objective)
        (slope,) = torch.autograd.grad(scores, at, by_score)
        flipped = self._without_padding(is_flipped(found, self.source, self.target, self.objective).to(margins))
        rate = flipped.sum(dim=1) / (self.cell_weight > 0).to(margins).sum(dim=1)
        return self._without_padding(margins), self._without_padding(slope), rate

    def _without_padding(self, values: Tensor) -> Tensor:
        """0 for cells that only fill up, of which a network may make anything."""
        is_padding = self.cell_weight <= 0
        return values.masked_fill(is_padding if values.ndim == 2 else is_padding.unsqueeze(-1), 0.0)


@dataclass(frozen=True)
class Problem:
    """One batch of contrasts, in the coordinates eta = w * delta in which the L1 norm has unit weights."""

    margins: Margins
    alpha: float
    gene_weight: Tensor  # (n_contrasts, n_genes)
    lower: Tensor  # bounds of eta
    upper: Tensor
    ridge: float = 0.0

    @property
    def cell_weight(self) -> Tensor:
        """Shape ``(n_contrasts, n_cells)``."""
        return self.margins.cell_weight

    @property
    def encoder(self) -> Encoder:
        """That of the margins."""
        return self.margins.encoder

    def subset(self, rows: Tensor) -> Problem:
        """The same problem for some of the contrasts."""
        return replace(
            self,
            margins=self.margins.subset(rows),
            gene_weight=self.gene_weight[rows],
            lower=self.lower[rows],
            upper=self.upper[rows],
        )

    def slope(self, at_preactivation: Tensor) -> Tensor:
        """From a gradient with respect to the pre-activation, ``(n_contrasts, width)``, to that of eta."""
        return self.encoder.pull(at_preactivation) / self.gene_weight

    def hinge(self, margins: Tensor, lam: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """The mean hinge times lambda, per contrast, of all or some."""
        return lam * ((self.alpha + margins).clamp_min(0.0) * self.cell_weight[rows]).sum(dim=1)


def margin(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    r"""The difference of logits inside the hinge, ``(n_contrasts, n_cells)``, and its gradient, shape of `scores`.

    ``"pairwise"`` is equation 7, :math:`m_s-m_t`, which a cell satisfies that is nearer to :math:`t` than to :math:`s`
    but nearest to a third group. ``"targeted"`` is :math:`-2m_t`, so that the cell ends in :math:`t`. ``"rest"`` is
    equation 8, :math:`m_s-\max_{k\ne s}m_k`. With two groups :math:`m_s=-m_t` and all three agree.
    """
    if objective == "targeted":
        logit, slope = logit_of(scores, target)
        return -2 * logit, slope.mul_(-2)
    if objective == "rest":
        others = scores.scatter(-1, source.view(-1, 1, 1).expand(*scores.shape[:-1], 1), -torch.inf)
        target = others.argmax(dim=-1)  # m_k rises with the score of k
    (ahead, up), (behind, down) = logit_of(scores, source), logit_of(scores, target)
    return ahead - behind, up.sub_(down)


def is_flipped(scores: Tensor, source: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """Whether the cell is assigned to the target (against the rest: not to the source), boolean."""
    assigned = scores.argmax(dim=-1)
    if objective == "rest":
        return assigned != source[:, None]
    return assigned == target[:, None]
