"""Rectified layers of given weights, some of which read covariates of the cell again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from ._encoder import AffineEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    Layer = tuple[Tensor, Tensor]


class _Rectified(nn.Module):
    """From the first layer's output, with covariates behind it where layers read them, to the latent space."""

    def __init__(self, width: int, layers: Sequence[Layer], *, layer_norm: bool) -> None:
        super().__init__()
        self.width, self.n_layers, self.layer_norm = width, len(layers), layer_norm
        for i, (weight, bias) in enumerate(layers):
            self.register_buffer(f"weight_{i}", weight)
            self.register_buffer(f"bias_{i}", bias)

    def forward(self, preactivation: Tensor) -> Tensor:
        hidden, covariates = preactivation[..., : self.width], preactivation[..., self.width :]
        for i in range(self.n_layers):
            weight = self.get_buffer(f"weight_{i}")
            if self.layer_norm:
                hidden = functional.layer_norm(hidden, hidden.shape[-1:])
            hidden = hidden.relu()
            if len(weight) > hidden.shape[-1]:
                hidden = torch.cat([hidden, covariates], dim=-1)
            hidden = hidden @ weight + self.get_buffer(f"bias_{i}")
        return hidden


def rectified_encoder(
    mean: Tensor, scale: Tensor, layers: Sequence[Layer], *, layer_norm: bool = False
) -> AffineEncoder:
    r"""An encoder of linear layers with ReLUs between them, the last one linear.

    The first layer may have covariates of the cell as inputs behind the genes, such as indicators of its batch, and so
    may later ones behind the output of the layer before; to reach these, covariates pass through the
    pre-activation. :math:`\delta` moves genes alone.

    Parameters
    ----------
    mean, scale
        As for :class:`Encoder`.
    layers
        Weight ``(n_inputs, n_outputs)`` and bias of each layer, batch normalisation folded in.
    layer_norm
        Whether the outputs of a cell, all layers but the last, are normalised to mean 0 and variance 1 before the
        ReLU.

    Returns
    -------
    The encoder; it is called with the genes and, behind them, the covariates.

    Examples
    --------
    >>> import torch
    >>> from ace_scanpy.models import rectified_encoder
    >>> layers = [(torch.ones(3 + 2, 4), torch.zeros(4)), (torch.ones(4 + 2, 1), torch.zeros(1))]
    >>> encoder = rectified_encoder(torch.zeros(3), torch.ones(3), layers)
    >>> encoder(torch.tensor([[1.0, 2.0, 3.0, 0.0, 1.0]]))  # three genes, and the second of two batches
    tensor([[29.]])
    """
    (weight, bias), *later = layers
    width, n_covariates = len(bias), len(weight) - len(mean)
    widths = [len(b) for _, b in layers[:-1]]
    if any(len(w) > before for (w, _), before in zip(later, widths, strict=True)):
        passed = weight.new_zeros(len(weight), n_covariates)
        passed[len(mean) :] = torch.eye(n_covariates)
        weight = torch.cat([weight, passed], dim=1)
        bias = torch.cat([bias, bias.new_zeros(n_covariates)])
    return AffineEncoder(mean, scale, weight, bias, _Rectified(width, later, layer_norm=layer_norm))
