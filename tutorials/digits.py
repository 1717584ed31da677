# %% [markdown]
# # Digits: the solver without AnnData
#
# Nothing in ACE is about genes. `ace.models` has the same solver on torch tensors, for any network and any features:
# here pixels, as in section 5.3 of the paper. Which pixels make a 4 a 4, and not a 9?

# %% tags=["script"]
"""As a script, `python tutorials/digits.py [FOLDER]`, it saves its pictures to FOLDER (default: figures)."""

import sys
from pathlib import Path

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "figures")
folder.mkdir(parents=True, exist_ok=True)

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import ace_scanpy as ace

data = ace.datasets.digits()
print(data)

# %% [markdown]
# MNIST is read from the folder that `ACE_DATA_DIR` names; without it, these are the small images that scikit-learn
# brings. Images become rows of pixels, from 0 (paper) to 1 (ink).

# %%
pixels, digits = torch.from_numpy(data.x_train[:8000]).flatten(1), torch.from_numpy(data.y_train[:8000])
test, truth = torch.from_numpy(data.x_test[:1000]).flatten(1), torch.from_numpy(data.y_test[:1000])
side = data.side

# %% [markdown]
# ## A network
# The paper's: two convolutions, max pooling, one layer to the digits. ACE explains its part up to the pooling.

# %%
width, passes = (5, 2) if side == 28 else (3, 20)
pooled = (side - 2 * (width - 1)) // 2
torch.manual_seed(0)
features = nn.Sequential(
    nn.Unflatten(1, (1, side, side)),
    nn.Conv2d(1, 32, width),
    nn.ReLU(),
    nn.Conv2d(32, 32, width),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
)
network = nn.Sequential(features, nn.Linear(32 * pooled**2, 10))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
for _ in range(passes):
    for batch in torch.randperm(len(pixels)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels[batch]), digits[batch]).backward()
        optimizer.step()

# %% [markdown]
# ## Groups in its last pooling layer
# `ModuleEncoder` takes any differentiable map; with a mean of 0 and a scale of 1, changes are in the units of the
# pixels. The groups are the digits, and a prototype is the mean of a digit's images in the pooling layer.
# `NeuralizedClustering` assigns an image to the nearest, as a network. That is coarser than the network's own answer,
# and it is what is explained.

# %%
encoder = ace.models.ModuleEncoder(features, torch.zeros(side**2), torch.ones(side**2))
with torch.no_grad():
    clustering = ace.models.from_labels(encoder(pixels), digits)
    assigned = clustering.assign(encoder(test))
    right = (network(test).argmax(dim=1) == truth).double().mean()
print(f"test images that the network gets right:      {right:.3f}")
print(f"test images whose nearest prototype is right: {(assigned == truth).double().mean():.3f}")

# %% [markdown]
# ## One change per image
# `perturb` solves a batch of contrasts, each with a group of cells. With one image per group, every image has a change
# of its own, the smallest in the L1 norm that leads it to the target, with every pixel between 0 and 1. `lam` is a
# path: each image takes the smallest trade-off on it that moves it. Here the first test image of each digit that is
# assigned to it.

# %%
pairs = [(0, 8), (1, 7), (2, 3), (3, 8), (4, 9), (5, 6), (6, 0), (7, 1), (8, 3), (9, 4)]
first = {digit: int(((assigned == digit) & (truth == digit)).nonzero()[0]) for digit in range(10)}


def change(images: torch.Tensor, target: torch.Tensor, clustering: nn.Module) -> torch.Tensor:
    """One change for each image."""
    found = ace.models.perturb(
        encoder,
        clustering,
        ace.models.SourceCells(images[:, None], torch.ones(len(images), 1)),
        source=clustering.assign(encoder(images)),
        target=target,
        sources=torch.arange(len(images)),
        lower=-images,
        upper=1 - images,
        lam=np.geomspace(0.1, 1000, 9),
        max_iter=30,
        ridge=1.0,
    )
    return found.delta


images, target = test[[first[a] for a, _ in pairs]], torch.tensor([b for _, b in pairs])
delta = change(images, target, clustering)
moved = images + delta
with torch.no_grad():
    print("led to their target:", int((clustering.assign(encoder(moved)) == target).sum()), "of", len(pairs))
    print("the network agrees: ", int((network(moved).argmax(dim=1) == target).sum()), "of", len(pairs))
print("pixels changed:     ", (delta != 0).sum(dim=1).tolist(), "of", side**2)
print(f"darkest and lightest pixel: {moved.min():.1f}, {moved.max():.1f}")

# %% [markdown]
# Red is ink added, blue ink taken away.

# %%
figure, axes = plt.subplots(3, len(pairs), figsize=(11, 3.6), layout="constrained")
for column, (a, b) in zip(axes.T, pairs, strict=True):
    column[0].set_title(f"{a} to {b}", fontsize="medium")
    shown = (images, delta, moved)
    for row, (ax, values) in enumerate(zip(column, shown, strict=True)):
        colors = {"cmap": "RdBu_r", "vmin": -1} if row == 1 else {"cmap": "gray_r", "vmin": 0}
        ax.imshow(values[pairs.index((a, b))].reshape(side, side).numpy(), vmax=1, **colors)
        ax.set(xticks=[], yticks=[])

# %% tags=["script"]
plt.savefig(folder / "digits_changes.png", dpi=120)

# %% [markdown]
# ## There and back
# What leads a 1 to a 7 should lead a 7 to a 1 the other way round. Two of the pairs are there in both directions; the
# correlation of the sizes of their changes over pixels, averaged over some images of each digit, beside that of
# changes that have no digit in common:

# %%
several = {digit: ((assigned == digit) & (truth == digit)).nonzero()[:5, 0] for digit in (1, 7, 3, 8)}


def mean_change(a: int, b: int) -> np.ndarray:
    """Mean absolute change over some images of a digit."""
    chosen = test[several[a]]
    return change(chosen, torch.full((len(chosen),), b), clustering).abs().mean(dim=0).numpy()


sizes = {pair: mean_change(*pair) for pair in [(1, 7), (7, 1), (3, 8), (8, 3)]}
for one, other in [((1, 7), (7, 1)), ((3, 8), (8, 3)), ((1, 7), (3, 8)), ((7, 1), (8, 3))]:
    print(one, other, f"{np.corrcoef(sizes[one], sizes[other])[0, 1]:.2f}")

# %% [markdown]
# ## To the boundary, or beyond
# `beta` says how soft the assignment is. By default it is one over the mean squared distance of images to their
# prototype, and a logit that passes the margin lies well inside the target. A larger `beta` makes the boundary hard.
# Changes that just pass it are smaller, and fewer of them convince the network's own classes: they are nearer to what
# is called an adversarial example.

# %%
hard = ace.models.from_labels(encoder(pixels).detach(), digits, 30 * float(clustering.beta))
with torch.no_grad():
    for name, found in (("default", delta), ("30 times as large", change(images, target, hard))):
        there = int((hard.assign(encoder(images + found)) == target).sum())
        agrees = int((network(images + found).argmax(dim=1) == target).sum())
        size = float(found.abs().sum(dim=1).mean())
        print(f"beta {name:18} led to their target {there:2}, the network agrees {agrees:2}, sum of changes {size:.1f}")

# %% tags=["script"]
print(f"pictures saved to {folder}")

# %% [markdown]
# The same for cells is [`ace.tl.explain_cells`](../guide.md), on an AnnData.
