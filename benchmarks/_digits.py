"""What figure 4 needs beside the solver: the paper's network on images, and two other ways to move an image."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import ace_scanpy as ace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

N_DIGITS = 10
_FILTERS = 32
_BATCH = 64
_RATE = 1e-3
_BLOCK = 256  # images at a time where nothing is trained
_STEPS = np.geomspace(0.01, 100.0, 81)  # along the gradient, whose largest entry is one


class Network(nn.Module):
    """Two convolutions of 32 filters with ReLU, max pooling of 2 x 2, one fully connected layer (section 5.3).

    Images come as rows of pixels. Filters are 5 x 5, or 3 x 3 for the 8 x 8 images of scikit-learn.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        width = 5 if side > 8 else 3
        self.features = nn.Sequential(
            nn.Unflatten(1, (1, side, side)),
            nn.Conv2d(1, _FILTERS, width),
            nn.ReLU(),
            nn.Conv2d(_FILTERS, _FILTERS, width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        pooled = (side - 2 * (width - 1)) // 2
        self.classes = nn.Linear(_FILTERS * pooled**2, N_DIGITS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of the digits."""
        return self.classes(self.features(pixels))


def trained(pixels: Tensor, digits: Tensor, side: int, epochs: int, seed: int) -> Network:
    """The network after some passes of Adam over the images, its rate falling from .001 to 0."""
    rng = np.random.default_rng(seed)
    with ace.models.seeded(rng):
        network = Network(side)
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    n_batches = -(-len(pixels) // _BATCH)
    slowing = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, epochs * n_batches)
    for _ in range(epochs):
        for images in torch.from_numpy(rng.permutation(len(pixels))).split(_BATCH):
            optimizer.zero_grad()
            cross_entropy(network(pixels[images]), digits[images]).backward()
            optimizer.step()
            slowing.step()
    return network.eval()


@torch.no_grad()
def in_blocks(function: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """What a function makes of many images."""
    return torch.cat([function(block) for block in pixels.split(_BLOCK)])


def steepest(logits: Callable[[Tensor], Tensor], pixels: Tensor, target: Tensor) -> Tensor:
    """The plain gradient of the target's logit, followed until the image is assigned to it; kept within [0, 1]."""
    found = []
    for image, wanted in zip(pixels.split(1), target.split(1), strict=True):
        start = image.clone().requires_grad_()
        (slope,) = torch.autograd.grad(logits(start)[0, wanted].sum(), start)
        moved = (image + torch.from_numpy(_STEPS).float()[:, None] * slope / slope.abs().max()).clamp(0.0, 1.0)
        reached = (in_blocks(logits, moved).argmax(dim=1) == wanted).nonzero()
        found.append(moved[int(reached[0]) if len(reached) else -1] - image[0])
    return torch.stack(found)


def elastic_net(
    scores: nn.Module, pixels: Tensor, target: Tensor, binary_search_steps: int, steps: int
) -> Tensor | None:
    """Foolbox's EAD (Chen et al. 2018), Carlini and Wagner's attack with an L1 norm; None without Foolbox."""
    if importlib.util.find_spec("foolbox") is None:
        return None
    from foolbox import PyTorchModel
    from foolbox.attacks import EADAttack
    from foolbox.criteria import TargetedMisclassification

    attack = EADAttack(binary_search_steps=binary_search_steps, steps=steps, decision_rule="L1")
    model = PyTorchModel(scores.eval(), bounds=(0, 1), device=pixels.device)
    moved = attack.run(model, pixels, TargetedMisclassification(target))
    return torch.as_tensor(moved) - pixels


def as_rows(images: NDArray[np.float32]) -> Tensor:
    """Images as rows of pixels."""
    return torch.from_numpy(images).flatten(1)
