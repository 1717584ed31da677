"""The paper's figure 4 on MNIST: which pixels make a digit that digit and not another.

    python benchmarks/figure4.py [--quick] [--data DIR] [--out benchmarks/results]

The solver without AnnData: equation 7 for each image by itself, pixels within [0, 1], on a convolutional network with
the paper's layers; prototypes are the class means in its last pooling layer. For the paper's 20 pairs of digits, on
the first test images of each digit that the prototypes assign to it: how many are led to the other digit, by how many
pixels and how large a change, beside the plain gradient and EAD, Carlini and Wagner's attack with an L1 norm
(Foolbox); whether a to b changes the same pixels as b to a; the picture; and the UMAP of figure A.3. `--quick` is the
small set of scikit-learn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from _digits import N_DIGITS, Network, as_rows, elastic_net, in_blocks, steepest, trained
from _report import header, markdown, parse, parser, write
from torch import nn

import ace_scanpy as ace

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ace_scanpy.datasets import Digits

# fmt: off
PAIRS = (
    (0, 8), (1, 4), (1, 7), (2, 3), (3, 8), (4, 5), (4, 9), (5, 0), (5, 6), (5, 8),
    (6, 0), (7, 0), (7, 1), (7, 2), (7, 9), (8, 0), (8, 3), (8, 5), (9, 0), (9, 8),
)
# fmt: on
"""Those of the paper's figure 4."""
SEED = 0
LAMBDAS = tuple(10.0 ** (i / 2 - 1) for i in range(9))
SHARPER = 30.0  # times the default beta, for changes that stop at the boundary
SOLVER = {"max_iter": 30, "ridge": 1.0}
IMAGES = 5
EPOCHS, QUICK_EPOCHS = 2, 30
EAD_STEPS, QUICK_EAD_STEPS = (9, 100), (2, 20)
UMAP_IMAGES = 4000
FAR, NEAR = "ACE", "ACE, to the boundary"


class Explained(nn.Module):
    """The network up to its pooling layer, and the neuralised clustering on it; calling it gives the scores."""

    def __init__(self, network: Network, n_pixels: int, latent: Tensor, digits: Tensor, sharper: float) -> None:
        super().__init__()
        self.encoder = ace.models.ModuleEncoder(network.features, torch.zeros(n_pixels), torch.ones(n_pixels))
        beta = float(ace.models.from_labels(latent, digits).beta)
        self.clustering = ace.models.from_labels(latent, digits, sharper * beta)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores, whose largest is the nearest prototype's."""
        return self.clustering.scores(self.encoder(pixels))

    def change(self, pixels: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """One change per image."""
        cells = ace.models.SourceCells(pixels[:, None], torch.ones(len(pixels), 1))
        rows = torch.arange(len(pixels))
        bounds = {"lower": -pixels, "upper": 1.0 - pixels}
        found = ace.models.perturb(
            self.encoder, self.clustering, cells, source, target, sources=rows, lam=LAMBDAS, **bounds, **SOLVER
        )
        return found.delta


@dataclass(frozen=True)
class Images:
    """Images to be led from one digit to another."""

    pixels: Tensor
    source: Tensor
    target: Tensor

    @classmethod
    def first(cls, pixels: Tensor, digits: Tensor, assigned: Tensor, pairs: tuple[tuple[int, int], ...]) -> Images:
        """The first images of each digit that are assigned to it, the same ones for all its pairs."""
        chosen = {d: ((digits == d) & (assigned == d)).nonzero()[:IMAGES, 0] for d in range(N_DIGITS)}
        rows = torch.cat([chosen[a] for a, _ in pairs])
        source, target = (torch.tensor([p[i] for p in pairs for _ in chosen[p[0]]]) for i in (0, 1))
        return cls(pixels[rows], source, target)

    def of(self, pairs: tuple[tuple[int, int], ...]) -> Tensor:
        """Which images are of some pairs."""
        return sum((self.source == a) & (self.target == b) for a, b in pairs).bool()


def judge(name: str, images: Images, change: Tensor, explained: Explained, network: Network) -> pd.DataFrame:
    """One row per image."""
    with torch.no_grad():
        moved = images.pixels + change
        assigned, classified = (in_blocks(f, moved).argmax(dim=1) for f in (explained, network))
    return pd.DataFrame(
        {
            "method": name,
            "source": images.source,
            "target": images.target,
            "flipped": assigned == images.target,
            "softmax says so": classified == images.target,
            "pixels": (change != 0).sum(dim=1),
            "pixels > .05": (change.abs() > 0.05).sum(dim=1),
            "L1": change.abs().sum(dim=1),
        }
    )


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means by method: of flips over all images, of sizes over those that flip."""
    rows = []
    for name, part in table.groupby("method", sort=False):
        flips = {column: part[column].mean() for column in ("flipped", "softmax says so")}
        sizes = part.loc[part["flipped"], ["pixels", "pixels > .05", "L1"]].mean()
        rows.append({"method": name, "images": len(part), **flips, **sizes})
    return pd.DataFrame(rows)


def symmetry(images: Images, change: Tensor) -> pd.DataFrame:
    """Correlation of the mean |change| of a to b with that of b to a, over pixels, and with those of other pairs."""
    maps = {}
    for a, b in sorted({(int(a), int(b)) for a, b in zip(images.source, images.target, strict=True)}):
        maps[a, b] = change[images.of(((a, b),))].abs().mean(dim=0).numpy()
    pairs = sorted({(min(pair), max(pair)) for pair in maps})
    rows = []
    for a, b in pairs:
        others = [np.corrcoef(maps[a, b], maps[d, c])[0, 1] for c, d in pairs if not {a, b} & {c, d}]
        back = np.corrcoef(maps[a, b], maps[b, a])[0, 1]
        rows.append({"pair": f"{a} and {b}", "there and back": back, "other pairs": np.mean(others)})
    return pd.DataFrame(rows)


def draw(images: Images, change: Tensor, side: int, path: Path) -> None:
    """For each pair the first image, its change, and the image that it becomes."""
    columns = 5
    figure = plt.figure(figsize=(15.0, 5.4), layout="constrained")
    grid = figure.add_gridspec(-(-len(PAIRS) // columns), 4 * columns - 1, width_ratios=([1, 1, 1, 0.3] * columns)[:-1])
    figure.get_layout_engine().set(w_pad=0.01, wspace=0.01)
    axes = []
    for place, (a, b) in enumerate(PAIRS):
        first = int(images.of(((a, b),)).nonzero()[0])
        shown = (images.pixels[first], change[first], images.pixels[first] + change[first])
        for number, values in enumerate(shown):
            ax = figure.add_subplot(grid[place // columns, 4 * (place % columns) + number])
            scale = {"cmap": "RdBu_r", "vmin": -1} if number == 1 else {"cmap": "gray_r", "vmin": 0}
            drawn = ax.imshow(values.reshape(side, side).numpy(), vmax=1, **scale)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color("0.8")
            axes.append(ax)
            if number == 1:
                ax.set_title(f"{a} to {b}", fontsize="medium")
                colors = drawn
    bar = figure.colorbar(colors, ax=axes, shrink=0.6, aspect=30, pad=0.02, ticks=[-1, 0, 1])
    bar.set_ticklabels(["ink away", "as it was", "ink added"])
    figure.savefig(path, dpi=80)
    plt.close(figure)


def draw_umap(latent: Tensor, digits: Tensor, path: Path) -> None:
    """The last pooling layer by digit (figure A.3), through its first 50 principal components."""
    adata = ad.AnnData(latent.numpy())
    sc.pp.pca(adata)
    sc.pp.neighbors(adata)
    sc.tl.umap(adata)
    figure, ax = plt.subplots(figsize=(6.0, 5.0), layout="constrained")
    colors = plt.get_cmap("tab10").colors
    order = np.random.default_rng(SEED).permutation(len(digits))
    where = adata.obsm["X_umap"]
    ax.scatter(*where[order].T, c=[colors[d] for d in digits[order]], s=3, linewidths=0)
    for digit in range(N_DIGITS):
        middle = np.median(where[digits.numpy() == digit], axis=0)
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
        ax.text(*middle, str(digit), ha="center", va="center", bbox=box)
    ax.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    ax.set_title("last pooling layer, test images", fontsize="medium")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def compare(data: Digits, out: Path, *, quick: bool) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, object]]:
    """One row per image and method, the symmetry by pair, and how good the network is."""
    pixels, digits = as_rows(data.x_train), torch.from_numpy(data.y_train)
    test, truth = as_rows(data.x_test), torch.from_numpy(data.y_test)
    network = trained(pixels, digits, data.side, QUICK_EPOCHS if quick else EPOCHS, SEED)
    latent = in_blocks(network.features, pixels)
    far, near = (Explained(network, data.side**2, latent, digits, sharper) for sharper in (1.0, SHARPER))
    assigned = in_blocks(far, test).argmax(dim=1)
    accuracy = float((in_blocks(network, test).argmax(dim=1) == truth).double().mean())
    fidelity = float((assigned == truth).double().mean())
    print(f"test accuracy {accuracy:.4f}, nearest prototype {fidelity:.4f}", flush=True)
    everything = tuple(sorted({*PAIRS, *((b, a) for a, b in PAIRS)}))
    both_ways = Images.first(test, truth, assigned, everything)
    change = far.change(both_ways.pixels, both_ways.source, both_ways.target)
    images = Images.first(test, truth, assigned, PAIRS)
    asked = [*zip(images.source.tolist(), images.target.tolist(), strict=True)]
    order = {pair: both_ways.of((pair,)).nonzero()[:, 0] for pair in dict.fromkeys(asked)}
    ours = change[torch.cat(list(order.values()))]
    rivals = {
        FAR: ours,
        NEAR: near.change(images.pixels, images.source, images.target),
        "plain gradient": steepest(near, images.pixels, images.target),
        "EAD (L1)": elastic_net(near, images.pixels, images.target, *(QUICK_EAD_STEPS if quick else EAD_STEPS)),
    }
    found = [judge(name, images, moved, near, network) for name, moved in rivals.items() if moved is not None]
    draw(images, ours, data.side, out / "figure4.png")
    shown = torch.arange(min(UMAP_IMAGES, len(test)))
    draw_umap(in_blocks(network.features, test[shown]), truth[shown], out / "figure4_umap.png")
    facts = {"data": data.origin, "test accuracy": accuracy, "nearest prototype": fidelity}
    return pd.concat(found), symmetry(both_ways, change), facts


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--quick", action="store_true")
    given = parse(made)
    start = time.perf_counter()
    torch.set_num_threads(1)
    sc.settings.verbosity = 0
    data = ace.datasets.digits("scikit-learn" if given.quick else None)
    table, pairs, facts = compare(data, given.out, quick=given.quick)
    table.to_csv(given.out / "figure4.csv", index=False, float_format="%.4f")
    pairs.to_csv(given.out / "figure4_symmetry.csv", index=False, float_format="%.4f")
    absent = [] if "EAD (L1)" in set(table["method"]) else ["EAD: Foolbox is not installed."]
    parts = [
        "# Figure 4",
        header("python benchmarks/figure4.py", str(SEED), time.perf_counter() - start),
        f"{facts['data']}: test accuracy {facts['test accuracy']:.4f}, of the nearest prototype in the pooling layer "
        f"{facts['nearest prototype']:.4f}.",
        markdown(summary(table)),
        *absent,
        "Correlation over pixels of the mean absolute change of a to b with that of b to a, and with those of pairs of "
        f"other digits: mean {pairs['there and back'].mean():.3f} and {pairs['other pairs'].mean():.3f}.",
        markdown(pairs),
    ]
    write(given.out, "figure4", parts)


if __name__ == "__main__":
    main()
