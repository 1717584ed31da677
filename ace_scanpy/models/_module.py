"""Any differentiable map as an encoder."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from torch import Tensor


class ModuleEncoder(nn.Module):
    r"""A module or a callable as an :class:`Encoder`: features of any kind to a latent space.

    The first layer of such an encoder is standardisation alone: ``preactivation(x) = (x - mean) / scale``, ``weight``
    is the identity, and ``tail`` puts standardised values back and calls the map. A perturbation :math:`\delta` is in
    units of ``scale``, as elsewhere. The map always runs as in evaluation, whatever :meth:`train` is asked, and
    a module is copied: the caller's keeps its weights, its mode and its gradients.

    Parameters
    ----------
    function
        From values of shape ``(n, n_features)`` to latent coordinates ``(n, n_latent)``, row by row.
    mean, scale
        Per feature, shape ``(n_features,)``, in the units of the input; ``scale`` is positive. Zeros and ones
        where :math:`\delta` is to be in those units. Their type and device are those that ``function`` is called with.

    Raises
    ------
    ValueError
        When ``function`` gives another shape, gives two answers for one input, or has no gradient.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from ace_scanpy.models import ModuleEncoder
    >>> network = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
    >>> encoder = ModuleEncoder(network, torch.zeros(64), torch.ones(64))
    >>> encoder(torch.rand(5, 64)).shape
    torch.Size([5, 144])
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor

    def __init__(self, function: Callable[[Tensor], Tensor], mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("weight", torch.eye(len(mean)).to(mean))
        if isinstance(function, nn.Module):
            function = copy.deepcopy(function).to(mean.device).eval().requires_grad_(requires_grad=False)
        self.function = function
        super().train(mode=False)
        _check(self.function, self.mean)

    @property
    def n_genes(self) -> int:
        """Number of input features."""
        return len(self.mean)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002, FBT001, FBT002
        """Nothing changes: the map that is explained is the one of evaluation."""
        return self

    def standardize(self, x: Tensor) -> Tensor:
        """``(x - mean) / scale``, shape ``(..., n_features)``."""
        return (x - self.mean) / self.scale

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight ``(n_features, n_features)`` and bias from the input to the pre-activation."""
        return torch.diag(1 / self.scale), -self.mean / self.scale

    def preactivation(self, x: Tensor) -> Tensor:
        """Standardised values of input ``x``, shape ``(..., n_features)``."""
        return self.standardize(x)

    def tail(self, preactivation: Tensor) -> Tensor:
        """From standardised values to the latent space, shape ``(..., n_latent)``."""
        values = (preactivation * self.scale + self.mean).flatten(0, -2)
        return self.function(values).unflatten(0, preactivation.shape[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Latent coordinates of input ``x``, shape ``(..., n_latent)``."""
        return self.tail(self.preactivation(x))


def _check(function: Callable[[Tensor], Tensor], mean: Tensor) -> None:
    """Two rows through the map: shape, the same answer twice, a gradient."""
    with torch.enable_grad():
        x = mean.repeat(2, 1).requires_grad_()
        latent = function(x)
    if latent.ndim != 2 or len(latent) != 2:
        msg = f"The encoder must turn values of shape (2, {len(mean)}) into (2, n_latent). Got {tuple(latent.shape)}."
        raise ValueError(msg)
    if not latent.requires_grad:
        msg = "The encoder has no gradient with respect to its input; ACE needs a differentiable map."
        raise ValueError(msg)
    if not torch.equal(latent, function(x)):
        msg = "The encoder gives two answers for the same input. Turn off what is random in it, such as dropout."
        raise ValueError(msg)
