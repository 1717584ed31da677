"""A SAUCIE-like autoencoder of standardised expression (paper, equations 1 and 2)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from ._encoder import LinearFirst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SLOPE = 0.2
"""Slope of the leaky ReLU below zero, as in SAUCIE."""

_RIDGE = 1e-3


class NetworkEncoder(LinearFirst):
    """Leaky-ReLU layers that can be trained, on standardised expression.

    Parameters
    ----------
    mean, scale
        As for :class:`Encoder`; every scale is positive.
    n_hidden
        Widths of the hidden layers, at least one.
    n_latent
        Width of the latent space.
    """

    def __init__(self, mean: Tensor, scale: Tensor, *, n_hidden: Sequence[int], n_latent: int) -> None:
        super().__init__(mean, scale)
        self.first = nn.Linear(mean.shape[0], n_hidden[0])
        self.rest = nn.Sequential(*_layers([*n_hidden, n_latent]))

    @property
    def weight(self) -> Tensor:
        return self.first.weight

    def folded(self) -> tuple[Tensor, Tensor]:
        weight = (self.weight / self.scale).T
        return weight, self.first.bias - self.mean @ weight

    def from_standardized(self, standardized: Tensor) -> Tensor:
        return self.first(standardized)

    def tail(self, preactivation: Tensor) -> Tensor:
        return self.rest(nn.functional.leaky_relu(preactivation, SLOPE))

    @torch.no_grad()
    def start_from_principal_components(self, standardized: Tensor) -> Tensor:
        """Make the encoder a PCA, as :class:`Autoencoder` describes; the components, shape ``(n_genes, n)``."""
        layers = [self.first, *_linear(self.rest)]
        n_components = min(layers[0].out_features // 2, *standardized.shape)
        _, _, components = torch.pca_lowrank(standardized, q=n_components, center=False, niter=4)
        _pass_on(layers[0], components.T, from_pairs=False, to_pairs=True)
        for layer in layers[1:-1]:
            _pass_on(layer, torch.eye(layer.in_features // 2), from_pairs=True, to_pairs=True)
        _pass_on(layers[-1], torch.eye(layers[-1].in_features // 2), from_pairs=True, to_pairs=False)
        return components

    @torch.no_grad()
    def start_from_regression(self, standardized: Tensor, wanted: Tensor) -> None:
        """Fit the last layer to the latent coordinates of some cells, by ridge regression on what it is given."""
        last = _linear(self.rest)[-1]
        given = self.rest[:-1](nn.functional.leaky_relu(self.first(standardized), SLOPE))
        centre, target = given.mean(dim=0), wanted.mean(dim=0)
        centred = (given - centre).double()
        gram = centred.T @ centred
        gram += _RIDGE * gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny) * torch.eye(len(gram))
        weight = torch.linalg.solve(gram, centred.T @ (wanted - target).double()).to(last.weight)
        last.weight.copy_(weight.T)
        last.bias.copy_(target - centre @ weight)

    @torch.no_grad()
    def rescale(self, unit: Tensor, centre: Tensor) -> None:
        """Make the latent coordinates ``unit`` times what they were, plus ``centre``."""
        last = _linear(self.rest)[-1]
        last.weight.mul_(unit)
        last.bias.mul_(unit).add_(centre)


class Autoencoder(nn.Module):
    r"""Encoder and mirrored decoder, trained to reconstruct standardised expression (equation 1).

    Hidden layers are leaky ReLU, the latent and the output are linear. Input dropout in
    training makes the encoder read many genes instead of a few; without it the smallest
    perturbations run off the data.

    Parameters
    ----------
    mean, scale
        As for :class:`NetworkEncoder`.
    n_latent
        Width of the latent space; the paper uses 10.
    n_hidden
        Widths of the encoder's hidden layers; the decoder mirrors them.
    dropout
        Share of input genes set to their mean in each training cell.
    """

    def __init__(
        self,
        mean: Tensor,
        scale: Tensor,
        *,
        n_latent: int = 10,
        n_hidden: Sequence[int] = (128, 64),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.encoder = NetworkEncoder(mean, scale, n_hidden=n_hidden, n_latent=n_latent)
        self.decoder = nn.Sequential(*_layers([n_latent, *reversed(n_hidden), mean.shape[0]]))
        self.dropout = dropout

    def forward(self, standardized: Tensor, gates: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latent coordinates and reconstruction of standardised expression; ``gates`` multiply the input genes."""
        seen = standardized if gates is None else standardized * gates
        kept = drop(seen, self.dropout) if self.training else seen
        latent = self.encoder.tail(self.encoder.first(kept))
        return latent, self.decoder(latent)

    @torch.no_grad()
    def start_from_principal_components(self, standardized: Tensor) -> None:
        r"""Set the weights so that the network is PCA, from which training departs.

        A pair of units with weights :math:`\pm v` passes :math:`v^\top x` unchanged through a
        leaky ReLU, :math:`(\mathrm{lrelu}(a)-\mathrm{lrelu}(-a))/(1+\text{slope})=a`. Runs with different
        seeds then start, and largely stay, at the same solution.

        Parameters
        ----------
        standardized
            A sample of cells, shape ``(n_cells, n_genes)``.
        """
        components = self.encoder.start_from_principal_components(standardized)
        decoder = _linear(self.decoder)
        _pass_on(decoder[0], torch.eye(decoder[0].in_features), from_pairs=False, to_pairs=True)
        for layer in decoder[1:-1]:
            _pass_on(layer, torch.eye(layer.in_features // 2), from_pairs=True, to_pairs=True)
        _pass_on(decoder[-1], components, from_pairs=True, to_pairs=False)


def drop(x: Tensor, share: float) -> Tensor:
    """Set a random share of the values to 0 and scale the others up: :class:`torch.nn.Dropout` in a third of its time.

    Each of its random numbers, of 64 bits, decides on four values; the share is exact to 1 in 65,536.
    """
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= round(share * 2**16) - 2**15
    return x * kept / (1.0 - share)


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers between ``widths`` with leaky ReLUs between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(SLOPE)]
    return layers[:-1]


def _linear(layers: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _pass_on(layer: nn.Linear, matrix: Tensor, *, from_pairs: bool, to_pairs: bool) -> None:
    """Make ``layer`` apply ``matrix``, cut to fit, where values may travel as pairs of opposite units.

    Units without a component get small random weights, so that training can use them.
    """
    nn.init.normal_(layer.weight, std=0.1 / layer.in_features**0.5)
    nn.init.zeros_(layer.bias)
    n_out = layer.out_features // (2 if to_pairs else 1)
    n_in = layer.in_features // (2 if from_pairs else 1)
    matrix = matrix[:n_out, :n_in].to(layer.weight)
    rows, columns = matrix.shape
    for sign_out in (1, -1) if to_pairs else (1,):
        for sign_in in (1, -1) if from_pairs else (1,):
            top = n_out if sign_out < 0 else 0
            left = n_in if sign_in < 0 else 0
            gain = sign_out * sign_in / (1 + SLOPE if from_pairs else 1)
            layer.weight[top : top + rows, left : left + columns] += gain * matrix
