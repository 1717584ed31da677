"""Training the autoencoder: reconstruction, batch penalty, gene selection, and fitting to labels."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from ._mmd import mmd
from ._prototypes import NeuralizedClustering
from ._sampling import Minibatches, as_tensor, preactivations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from ._autoencoder import Autoencoder
    from ._gates import FeatureGates
    from ._sampling import CellSource

_MOST_STEPS = 2000
_ROUND = (10, 50)  # fewest and most minibatches between two looks at the held-out cells
_PATIENCE = 100  # minibatches
_IMPROVEMENT = 5e-3
_MOST_HELD_OUT = 1024
_PROTOTYPE_CELLS = 4096
_LABEL_STEPS = 200
_LABEL_WEIGHT = 0.1
_BATCH_WEIGHT = 1.0
_GATE_STEPS = 300
_GATE_LEARNING_RATE = 0.002
_GATE_TEMPERATURES = (0.2, 0.02)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    n_epochs
        Most passes over the cells; None for as many as fit into 2,000 minibatches. Training stops earlier
        when the held-out loss is flat.
    batch_size
        Cells per minibatch.
    learning_rate
        Of Adam.
    device
        Where to train.
    progress
        Called once per minibatch with the name of the phase and its number of minibatches.
    """

    n_epochs: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Callable[[str, int], None] = lambda _phase, _total: None

    def steps(self, n_cells: int) -> tuple[int, int]:
        """Most minibatches, and minibatches per round."""
        per_epoch = -(-n_cells // self.batch_size)
        most = _MOST_STEPS if self.n_epochs is None else self.n_epochs * per_epoch
        return most, min(max(per_epoch, _ROUND[0]), _ROUND[1], most)


@contextlib.contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Torch's random numbers from ``rng`` inside the block; the global state is put back after it."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**63)))
        yield


def train(
    model: Autoencoder,
    source: CellSource,
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    batch: NDArray[np.integer] | None = None,
    gates: FeatureGates | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Train the autoencoder on reconstruction (equation 1), with the batch penalty (equation 2) when given batches.

    Starts from principal components. With ``gates``, which genes carry the embedding is learnt first, starting from
    principal variables; the first layer is exactly zero for all others.

    Returns
    -------
    Loss history: ``"train"`` and ``"held_out"`` mean squared error per round, ``"minibatches"`` at its end.
    """
    with seeded(rng):
        held_out, seen = split(source, rng)
        # on the CPU, once: mps lacks the decompositions
        start = model.encoder.standardize(as_tensor(source.dense(sample_to_start(source, seen))))
        model.start_from_principal_components(start)
        if gates is not None:
            gates.start_from_principal_variables(start)
        model.to(schedule.device)
        penalty = BatchPenalty(batch, schedule.device)
        if gates is not None:
            _select_genes(model, gates.to(schedule.device), source, seen, schedule, rng, penalty)
            model.start_from_principal_components(start)  # what it learnt under changing gates is in the way now
        history = _reconstruct(model, gates, source, seen, held_out, schedule, rng, penalty)
        if gates is not None:
            with torch.no_grad():
                model.encoder.first.weight *= gates.eval()()
    model.eval()
    return history


def split(source: CellSource, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Held-out cells, a tenth of all at most, and the others, which are trained on."""
    cells = rng.permutation(source.n_cells)
    n_held_out = min(source.n_cells // 10, _MOST_HELD_OUT)
    return cells[:n_held_out], cells[n_held_out:]


def sample_to_start(source: CellSource, seen: NDArray[np.intp]) -> NDArray[np.intp]:
    """As many of the shuffled cells as may be held dense, sorted."""
    return np.sort(seen[: max(1, 2**24 // source.n_genes)])


def fit_labels(
    model: Autoencoder,
    source: CellSource,
    codes: NDArray[np.integer],
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    batch: NDArray[np.integer] | None = None,
) -> None:
    """Go on training with the cross-entropy of the neuralised assignment added to the reconstruction.

    Prototypes are the label means in the latent space, re-estimated on a sample of cells as it moves. Genes whose
    first-layer weights are all zero stay out.
    """
    labelled = np.flatnonzero(codes >= 0)
    with seeded(rng):
        sample = np.sort(rng.permutation(labelled)[:_PROTOTYPE_CELLS])
        sample = _with_every_group(sample, codes)
        rows, sample_codes = source.rows(sample), torch.from_numpy(codes[sample].astype(np.int64))
        penalty = BatchPenalty(batch, schedule.device)
        labels = torch.from_numpy(codes.astype(np.int64)).to(schedule.device)
        model.to(schedule.device).train()
        kept = (model.encoder.weight != 0).any(dim=0).float()
        gates = None if bool(kept.all()) else kept
        optimizer = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate)
        stream = endless(source, labelled, schedule.batch_size, rng)
        for step, (cells, x) in enumerate(islice(stream, _LABEL_STEPS)):
            if step % _ROUND[0] == 0:
                with torch.no_grad():
                    latent = model.encoder.tail(preactivations(model.encoder, rows))
                clustering = from_labels(latent, sample_codes.to(latent.device))
            standardized = model.encoder.standardize(x.to(schedule.device))
            latent, output = forward(model, standardized, gates)
            loss = mse_loss(output, standardized) + penalty(latent, cells)
            loss = loss + _LABEL_WEIGHT * cross_entropy(clustering.scores(latent), labels[cells])
            optimizer_step(optimizer, loss)
            schedule.progress("fitting labels", _LABEL_STEPS)
        if gates is not None:
            with torch.no_grad():
                model.encoder.first.weight *= gates
    model.eval()


def from_labels(latent: Tensor, codes: Tensor, beta: float | None = None) -> NeuralizedClustering:
    r"""Prototypes at the group means (section 5.1); :math:`\beta` is one over the mean squared distance to them.

    Cells with a negative code are left out.
    """
    latent, codes = latent[codes >= 0], codes[codes >= 0]
    n_groups = int(codes.max()) + 1
    sums = latent.new_zeros(n_groups, latent.shape[1]).index_add_(0, codes, latent)
    prototypes = sums / codes.bincount(minlength=n_groups).clamp_min(1).unsqueeze(1)
    if beta is None:
        spread = float((latent - prototypes[codes]).square().sum(dim=1).mean())
        beta = 1.0 / max(spread, torch.finfo(latent.dtype).eps)
    return NeuralizedClustering(prototypes, beta)


class BatchPenalty:
    """The weighted MMD between batches of a minibatch; zero without batches."""

    def __init__(self, batch: NDArray[np.integer] | None, device: torch.device) -> None:
        self.batch = None if batch is None else torch.from_numpy(batch.astype(np.int64)).to(device)
        self.reference = 0 if batch is None else int(np.bincount(batch).argmax())

    def __call__(self, latent: Tensor, cells: NDArray[np.intp]) -> Tensor | float:
        if self.batch is None:
            return 0.0
        return _BATCH_WEIGHT * mmd(latent, self.batch[cells], self.reference)


def endless(
    source: CellSource, cells: NDArray[np.intp], batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    """Pass after pass over `cells`, shuffled anew each time."""
    drawn = Minibatches(source, cells, batch_size)
    while True:
        yield from drawn.one_pass(rng)


def half_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Matrix products in bfloat16 within the block, in training on a CUDA device that is made for them."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def forward(model: Autoencoder, standardized: Tensor, gates: Tensor | None) -> tuple[Tensor, Tensor]:
    """The autoencoder in training: its products in half precision where that pays, what it gives in full."""
    with half_precision(standardized.device):
        latent, output = model(standardized, gates)
    return latent.float(), output.float()


def optimizer_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of `loss`."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _reconstruct(
    model: Autoencoder,
    gates: FeatureGates | None,
    source: CellSource,
    seen: NDArray[np.intp],
    held_out: NDArray[np.intp],
    schedule: Schedule,
    rng: np.random.Generator,
    penalty: BatchPenalty,
) -> dict[str, NDArray[np.float64]]:
    """Minimise the loss until it is flat on the held-out cells."""
    opened = None if gates is None else gates.eval()().detach()
    unseen = model.encoder.standardize(as_tensor(source.dense(np.sort(held_out))).to(schedule.device))

    def error(cells: NDArray[np.intp], x: Tensor) -> tuple[Tensor, Tensor | float]:
        standardized = model.encoder.standardize(x.to(schedule.device))
        latent, output = forward(model, standardized, opened)
        return mse_loss(output, standardized), penalty(latent, cells)

    def judge() -> float:
        return float(mse_loss(model(unseen, opened)[1], unseen)) if len(unseen) else np.nan

    return until_flat(model, source, seen, schedule, rng, error, judge)


def until_flat(
    model: nn.Module,
    source: CellSource,
    seen: NDArray[np.intp],
    schedule: Schedule,
    rng: np.random.Generator,
    error: Callable[[NDArray[np.intp], Tensor], tuple[Tensor, Tensor | float]],
    judge: Callable[[], float],
) -> dict[str, NDArray[np.float64]]:
    """Minimise an error, with a penalty that is not part of it, until `judge` is flat.

    `error` is called with the numbers and expression of a minibatch; `judge`, in evaluation mode, gives NaN where
    there are no cells to judge, and the training error then decides.

    Returns
    -------
    Loss history, as of :func:`train`.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate)
    most, per_round = schedule.steps(len(seen))
    stream = endless(source, seen, schedule.batch_size, rng)
    rounds: list[tuple[int, float, float]] = []
    for first in range(0, most, per_round):
        model.train()
        losses = []
        for cells, x in islice(stream, min(per_round, most - first)):
            value, penalty = error(cells, x)
            optimizer_step(optimizer, value + penalty)
            losses.append(value.detach())
            schedule.progress("training", most)
        train_loss = float(torch.stack(losses).mean())
        model.eval()
        with torch.no_grad():
            judged = judge()
        loss = train_loss if np.isnan(judged) else judged
        rounds.append((first + len(losses), train_loss, loss))
        if _is_flat(rounds):
            break
    columns = np.asarray(rounds, dtype=np.float64).T
    return dict(zip(("minibatches", "train", "held_out"), columns, strict=True))


def _is_flat(rounds: list[tuple[int, float, float]]) -> bool:
    """Whether the last minibatches, as many as is patience for, brought the loss hardly below what it was before."""
    now = rounds[-1][0]
    before = [loss for seen, _, loss in rounds if seen <= now - _PATIENCE]
    return bool(before) and min(loss for *_, loss in rounds) > min(before) * (1 - _IMPROVEMENT)


def _select_genes(
    model: Autoencoder,
    gates: FeatureGates,
    source: CellSource,
    seen: NDArray[np.intp],
    schedule: Schedule,
    rng: np.random.Generator,
    penalty: BatchPenalty,
) -> None:
    """Learn which genes reconstruct the others, cooling the gates from random draws to a fixed choice."""
    optimizer = torch.optim.Adam(
        [
            {"params": model.parameters(), "lr": schedule.learning_rate},
            {"params": gates.parameters(), "lr": _GATE_LEARNING_RATE},
        ]
    )
    model.train()
    gates.train()
    stream = endless(source, seen, schedule.batch_size, rng)
    for step, (cells, x) in enumerate(islice(stream, _GATE_STEPS)):
        hottest, coolest = _GATE_TEMPERATURES
        gates.temperature = hottest * (coolest / hottest) ** (step / (_GATE_STEPS - 1))
        standardized = model.encoder.standardize(x.to(schedule.device))
        latent, output = forward(model, standardized, gates())
        optimizer_step(optimizer, mse_loss(output, standardized) + penalty(latent, cells))
        schedule.progress("selecting genes", _GATE_STEPS)


def _with_every_group(sample: NDArray[np.intp], codes: NDArray[np.integer]) -> NDArray[np.intp]:
    """``sample`` with the first cell of each group that it lacks."""
    groups, first = np.unique(codes, return_index=True)
    first = first[groups >= 0]
    return np.union1d(sample, first)
