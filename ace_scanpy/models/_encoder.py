"""What the solver reads of a network: expression to latent space, split where a change of genes adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ._sampling import as_tensor

if TYPE_CHECKING:
    from torch import Tensor


class Encoder(nn.Module):
    r"""Expression to latent space, ``forward(x) = tail(preactivation(x))``.

    The first step is affine, so that a perturbation :math:`\delta` in units of the genes' scales only adds to a
    pre-activation that is computed once per cell, ``preactivation(x + scale * delta)`` being
    ``preactivation(x) + shift(delta)``.

    Parameters
    ----------
    mean, scale
        Per gene, shape ``(n_genes,)``, in the units of the input. A gene of scale 0 does not vary and cannot be moved.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("scale", scale.detach().clone())

    @property
    def n_genes(self) -> int:
        return len(self.mean)

    @property
    def width(self) -> int:
        """Width of the pre-activation."""
        raise NotImplementedError

    def standardize(self, x: Tensor) -> Tensor:
        """``(x - mean) / scale``, shape of ``x``; 0 for a gene that does not vary."""
        return (x - self.mean) / torch.where(self.scale > 0, self.scale, torch.inf)

    def from_standardized(self, standardized: Tensor) -> Tensor:
        """Pre-activation of standardised expression, shape ``(..., width)``."""
        return self.preactivation(standardized * self.scale + self.mean)

    def preactivation(self, x: Tensor) -> Tensor:
        """The affine first step of expression ``x``, shape ``(..., width)``."""
        raise NotImplementedError

    def read(self, rows: Any) -> Tensor:
        """Pre-activation of a block of expression, dense or CSR, cells by genes."""
        return self.preactivation(as_tensor(rows.toarray() if hasattr(rows, "toarray") else rows).to(self.mean))

    def shift(self, delta: Tensor) -> Tensor:
        r"""What :math:`\delta`, shape ``(..., n_genes)``, adds to the pre-activation."""
        raise NotImplementedError

    def pull(self, slope: Tensor) -> Tensor:
        r"""The transpose of ``shift``: from a gradient at the pre-activation to one at :math:`\delta`."""
        raise NotImplementedError

    def of_genes(self, genes: Tensor) -> Tensor:
        r"""What a unit of :math:`\delta` of genes ``(n, k)`` adds to the pre-activation, shape ``(n, width, k)``."""
        raise NotImplementedError

    def tail(self, preactivation: Tensor) -> Tensor:
        """From the pre-activation to the latent space, shape ``(..., n_latent)``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Latent coordinates of expression ``x``, shape ``(..., n_latent)``."""
        return self.tail(self.preactivation(x))


class LinearFirst(Encoder):
    r"""An encoder whose first step is a linear layer, much narrower than the genes.

    Standardisation :math:`(x-\mu)/\sigma` is affine, so it is folded into that layer:
    ``preactivation(x) = W ((x - mean) / scale) + b``. A block of expression is read once, sparse as it may be, and a
    step of the solver costs a product with :math:`W`, whatever the number of cells.
    """

    @property
    def weight(self) -> Tensor:
        """First-layer weights per unit of standardised expression, shape ``(width, n_genes)``."""
        raise NotImplementedError

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight ``(n_inputs, width)`` and bias from expression, not standardised, to the pre-activation."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        return self.weight.shape[0]

    def preactivation(self, x: Tensor) -> Tensor:
        weight, bias = self.folded()
        return x @ weight + bias

    def read(self, rows: Any) -> Tensor:
        weight, bias = self.folded()
        if hasattr(rows, "toarray"):
            if bias.device.type == "cpu":
                return torch.from_numpy(rows @ weight.numpy()).to(bias) + bias
            rows = rows.toarray()  # sparse products are not there on every device, and slower than dense ones
        return as_tensor(rows).to(bias) @ weight + bias

    def shift(self, delta: Tensor) -> Tensor:
        return delta @ self.weight.T

    def pull(self, slope: Tensor) -> Tensor:
        return slope @ self.weight

    def of_genes(self, genes: Tensor) -> Tensor:
        return self.weight.index_select(1, genes.flatten()).unflatten(1, genes.shape).transpose(0, 1)


class AffineEncoder(LinearFirst):
    r"""An encoder made of given weights.

    Parameters
    ----------
    mean, scale
        As for :class:`Encoder`.
    weight, bias
        Of the first layer, from expression that is not standardised, shapes ``(n_inputs, width)`` and ``(width,)``.
        Inputs behind the genes are covariates of the cell, which :math:`\delta` does not move.
    rest
        From there to the latent space; None where there is nothing more.
    """

    bias: Tensor
    _weight: Tensor
    _folded: Tensor

    def __init__(
        self, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, rest: nn.Module | None = None
    ) -> None:
        super().__init__(mean, scale)
        self.register_buffer("_folded", weight.detach().clone())
        self.register_buffer("_weight", (self._folded[: self.n_genes] * self.scale.unsqueeze(1)).T.contiguous())
        self.register_buffer("bias", bias.detach().clone())
        self.rest = nn.Identity() if rest is None else rest

    @property
    def weight(self) -> Tensor:
        return self._weight

    def folded(self) -> tuple[Tensor, Tensor]:
        return self._folded, self.bias

    def tail(self, preactivation: Tensor) -> Tensor:
        return self.rest(preactivation)
