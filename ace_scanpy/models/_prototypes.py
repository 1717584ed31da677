"""K-means rewritten, exactly, as a small neural network (paper, equations 3-6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class NeuralizedClustering(nn.Module):
    r"""Nearest-prototype assignment as a differentiable network.

    For cell :math:`z` the outlierness of group :math:`c` is
    :math:`o_c = \lVert z-\mu_c\rVert^2`, its soft assignment
    :math:`p_c = \mathrm{softmax}_c(-\beta o)` (equation 4), and its logit

    .. math:: m_c = \log\frac{p_c}{1-p_c}
                  = -\log\sum_{k\neq c}\exp(-\beta h_{ck}),
              \quad h_{ck} = o_k - o_c = 2(\mu_c-\mu_k)^\top z
                             + \lVert\mu_k\rVert^2-\lVert\mu_c\rVert^2

    (equations 5 and 6): a linear layer followed by a soft min-pooling. It is exact:
    the largest :math:`m_c` belongs to the nearest prototype, whatever :math:`\beta`.

    A group that is not round has several prototypes, and its outlierness is their soft minimum,
    :math:`o_c=-\frac1\gamma\log\sum_{j\in c}\exp(-\gamma\lVert z-\mu_j\rVert^2)`: one more soft min-pooling, that
    leaves a single prototype as it is. Whatever :math:`\beta`, the largest :math:`m_c` is that of the smallest
    :math:`o_c`.

    Parameters
    ----------
    prototypes
        Centres, shape ``(n_prototypes, n_latent)``.
    beta
        Inverse squared length that sets how soft the assignment is; positive.
    groups
        Group of each prototype, integers from 0, each of at least two groups with one or more; None for one prototype
        per group.
    sharpness
        :math:`\gamma`, an inverse squared length too; None for `beta`. It says nothing where groups have one prototype.

    Examples
    --------
    >>> import torch
    >>> from ace_scanpy.models import NeuralizedClustering
    >>> clustering = NeuralizedClustering(torch.tensor([[0.0], [2.0]]), beta=1.0)
    >>> clustering.assign(torch.tensor([[0.5], [1.5]]))
    tensor([0, 1])
    >>> clustering(torch.tensor([[1.0]]))  # on the boundary
    tensor([[0., 0.]])
    """

    prototypes: Tensor
    beta: Tensor
    sharpness: Tensor
    groups: Tensor
    _weight: Tensor
    _bias: Tensor
    _factor: Tensor
    _origin: Tensor

    def __init__(
        self, prototypes: Tensor, beta: float, groups: Tensor | None = None, sharpness: float | None = None
    ) -> None:
        super().__init__()
        if prototypes.ndim != 2 or prototypes.shape[0] < 2:
            msg = f"`prototypes` must have shape (n_prototypes >= 2, n_latent). Got {tuple(prototypes.shape)}."
            raise ValueError(msg)
        if groups is None:
            groups = torch.arange(len(prototypes), device=prototypes.device)
        if groups.shape != prototypes.shape[:1] or len(groups.unique()) != int(groups.max()) + 1 or groups.max() < 1:
            msg = (
                f"`groups` must give one of at least two groups, numbered from 0, for each of the {len(prototypes)} "
                f"prototypes. Got {groups.tolist()}."
            )
            raise ValueError(msg)
        sharpness = beta if sharpness is None else sharpness
        for name, value in (("beta", beta), ("sharpness", sharpness)):
            if not 0 < float(value) < float("inf"):
                msg = f"`{name}` must be positive and finite. Got {value!r}."
                raise ValueError(msg)
        prototypes = prototypes.detach()
        # Distances do not change under a common shift; float32 differences of squares do.
        origin = prototypes.mean(dim=0)
        centred = prototypes - origin
        pooled = 1.0 if len(groups) == int(groups.max()) + 1 else float(sharpness)  # nothing to pool: as it is
        weight, bias = layer(centred, groups, pooled)
        self.register_buffer("prototypes", prototypes.clone())
        self.register_buffer("groups", groups.clone())
        for name, value in (("beta", beta), ("sharpness", sharpness), ("_factor", float(beta) / pooled)):
            self.register_buffer(name, torch.tensor(float(value), dtype=prototypes.dtype, device=prototypes.device))
        self.register_buffer("_origin", origin)
        self.register_buffer("_weight", weight)
        self.register_buffer("_bias", bias)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1

    def scores(self, z: Tensor) -> Tensor:
        r""":math:`-\beta o_c` up to a constant per cell, shape ``(..., n_groups)``.

        Linear in ``z`` where each group has one prototype.
        """
        each = nn.functional.linear(z - self._origin, self._weight, self._bias)
        return self._factor * pool(each, self.n_groups)

    def forward(self, z: Tensor) -> Tensor:
        """Logits :math:`m_c`, shape ``(..., n_groups)`` (equation 6)."""
        return logits_from_scores(self.scores(z))

    def assign(self, z: Tensor) -> Tensor:
        """Group of the largest logit per cell, shape ``(...)``: with one prototype each, the nearest."""
        return self.scores(z).argmax(dim=-1)

    def probabilities(self, z: Tensor) -> Tensor:
        """Soft assignment :math:`p_c`, shape ``(..., n_groups)`` (equation 4)."""
        return self.scores(z).softmax(dim=-1)

    def confidence(self, z: Tensor) -> Tensor:
        """Difference of the two largest soft assignments, in [0, 1], shape ``(...)``."""
        largest, second = self.probabilities(z).topk(2, dim=-1).values.unbind(dim=-1)
        return largest - second


def layer(prototypes: Tensor, groups: Tensor, sharpness: Tensor | float) -> tuple[Tensor, Tensor]:
    r"""Weight and bias from a cell to :math:`-\gamma\lVert z-\mu_j\rVert^2`, of each prototype.

    Every group gets as many rows as the largest has; the first of each group, then the second, and so on, which is
    the faster order to pool. A row without prototype is -inf. What is constant per cell is left out.
    """
    same = groups[:, None] == groups[None]
    place = same.tril(diagonal=-1).sum(dim=1)  # of each prototype within its group
    shape = int(place.max()) + 1, int(groups.max()) + 1
    weight = prototypes.new_zeros(*shape, prototypes.shape[1])
    bias = prototypes.new_full(shape, -torch.inf)
    weight[place, groups] = 2.0 * sharpness * prototypes
    bias[place, groups] = -sharpness * prototypes.square().sum(dim=1)
    return weight.flatten(0, 1), bias.flatten()


def pool(each: Tensor, n_groups: int) -> Tensor:
    """From the value of each row of `layer`, last axis, to that of each group."""
    each = each.unflatten(-1, (-1, n_groups))
    if each.shape[-2] == 1:
        return each.squeeze(-2)
    largest = each.detach().amax(dim=-2, keepdim=True)  # has no gradient, which halves the time of torch's logsumexp
    return (each - largest).exp().sum(dim=-2).log() + largest.squeeze(-2)


def logits_from_scores(scores: Tensor) -> Tensor:
    r"""Equation 5 from :math:`l_c=-\beta o_c`: :math:`l_c-\log\sum_{k\ne c}e^{l_k}`, without forming all pairs.

    Relative to the largest, :math:`d_c=l_c-l_1\le 0`, every group but the first has
    :math:`m_c=d_c-\log(1+\sum_{k\ne c,1}e^{d_k})`, and the first :math:`-\log\sum_{k\ne 1}e^{d_k}`: nothing large
    cancels.
    """
    largest, top = scores.max(dim=-1, keepdim=True)
    below = scores - largest
    is_top = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, top, value=True)
    weight = below.exp().masked_fill(is_top, 0.0)
    others = (weight.sum(dim=-1, keepdim=True) - weight).clamp_min(0.0)
    lead = 0.0 - below.masked_fill(is_top, -torch.inf).logsumexp(dim=-1, keepdim=True)
    return torch.where(is_top, lead, below - torch.log1p(others))


def logit_of(scores: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    r"""One logit of each cell, and its gradient with respect to the scores, in a few passes over them.

    :math:`m_c=l_c-\log\sum_{k\ne c}e^{l_k}`, whose slope is 1 for :math:`c` and minus a softmax for the others.
    Scores have shape ``(n, m, n_groups)``; the group is given by contrast ``(n,)`` or by cell ``(n, m)``.
    """
    where = group.view(len(scores), -1, 1).expand(*scores.shape[:-1], 1)
    others = scores.scatter(-1, where, -torch.inf)
    largest = others.amax(dim=-1, keepdim=True)
    weight = others.sub_(largest).exp_()
    total = weight.sum(dim=-1, keepdim=True)
    logit = scores.gather(-1, where) - largest - total.log()
    return logit.squeeze(-1), weight.div_(-total).scatter_(-1, where, 1.0)
