"""Any differentiable map as an encoder."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from ._encoder import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from torch import Tensor


class ModuleEncoder(Encoder):
    r"""A module or a callable as an :class:`Encoder`: features of any kind to a latent space.

    Nothing is computed before the map: the pre-activation is the input itself, ``shift`` puts :math:`\delta` in the
    units of the input, and ``tail`` calls the map. The map always runs as in evaluation, whatever :meth:`train` is
    asked, and a module is copied: the caller's keeps its weights, its mode and its gradients.

    Parameters
    ----------
    function
        From values of shape ``(n, n_features)`` to latent coordinates ``(n, n_latent)``, row by row.
    mean, scale
        Per feature, shape ``(n_features,)``, in the units of the input. Zeros and ones where :math:`\delta` is to be in
        those units. Their type and device are those that ``function`` is called with.

    Raises
    ------
    ValueError
        When ``function`` fails, gives another shape or values that are not finite, gives two answers for one input,
        depends on the other rows, or has no gradient.

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

    def __init__(self, function: Callable[[Tensor], Tensor], mean: Tensor, scale: Tensor) -> None:
        super().__init__(mean, scale)
        if isinstance(function, nn.Module):
            with torch.no_grad():  # or the parameters of a scripted module were computed from others
                function = copy.deepcopy(function).to(self.mean).eval()
            for parameter in function.parameters():
                parameter.requires_grad = False
        self.function = function
        super().train(mode=False)
        _check(self.function, self.probes())

    @property
    def width(self) -> int:
        return self.n_genes

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002, FBT001, FBT002
        """Nothing changes: the map that is explained is the one of evaluation."""
        return self

    def probes(self) -> Tensor:
        """Two inputs that are always at hand, the mean and one scale above it, shape ``(2, n_features)``."""
        return torch.stack([self.mean, self.mean + self.scale])

    def preactivation(self, x: Tensor) -> Tensor:
        return x

    def shift(self, delta: Tensor) -> Tensor:
        return delta * self.scale

    def pull(self, slope: Tensor) -> Tensor:
        return slope * self.scale

    def of_genes(self, genes: Tensor) -> Tensor:
        alone = self.scale.new_zeros(len(genes), self.width, genes.shape[1])
        return alone.scatter(1, genes.unsqueeze(1), self.scale[genes].unsqueeze(1))

    def tail(self, preactivation: Tensor) -> Tensor:
        return self.function(preactivation.flatten(0, -2)).unflatten(0, preactivation.shape[:-1])


def _check(function: Callable[[Tensor], Tensor], rows: Tensor) -> None:
    """Some rows through the map: shape, the same answer twice and row by row, a gradient."""
    given = tuple(rows.shape)
    x = rows.detach().requires_grad_()
    with torch.enable_grad():
        try:
            latent = function(x)
        except Exception as error:
            msg = f"The encoder cannot be called with {rows.dtype} values of shape {given}: {error}"
            raise ValueError(msg) from error
    if not isinstance(latent, torch.Tensor) or latent.ndim != 2 or len(latent) != len(rows):
        got = tuple(latent.shape) if isinstance(latent, torch.Tensor) else type(latent).__name__
        msg = f"The encoder must turn values of shape {given} into ({len(rows)}, n_latent). Got {got}."
        raise ValueError(msg)
    if not latent.isfinite().all():
        msg = "The encoder gives NaN or infinite values for the mean of the data, or one scale above it."
        raise ValueError(msg)
    again = function(x)
    if not torch.equal(latent, again):
        msg = "The encoder gives two answers for the same input. Turn off what is random in it, such as dropout."
        raise ValueError(msg)
    if not torch.allclose(function(x[:1]), latent[:1], rtol=1e-3, atol=1e-5):
        msg = (
            "The encoder's answer for a row depends on the rows beside it. Turn off what mixes rows, such as batch "
            "normalisation in training mode."
        )
        raise ValueError(msg)
    if not latent.requires_grad:
        msg = "The encoder has no gradient with respect to its input; ACE needs a differentiable map."
        raise ValueError(msg)
    uneven = torch.linspace(1.0, 2.0, latent.shape[1]).to(latent)  # coordinates of sum one have no plain gradient
    (slope,) = torch.autograd.grad((latent * uneven).sum(), x, allow_unused=True)
    if slope is None or not slope.isfinite().all() or not slope.any():
        msg = "The encoder's gradient with respect to its input is zero or not finite; ACE needs a differentiable map."
        raise ValueError(msg)
