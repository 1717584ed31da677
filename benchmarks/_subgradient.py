"""The solver beside the way the authors' code has come down: one perturbation per cell, plain subgradient steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from _resampled import resample

import ace_scanpy as ace
from ace_scanpy.models import SourceCells, from_labels, perturb

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ace_scanpy.models import Encoder, NeuralizedClustering

LAMBDA, RATE, START = 100.0, 2e-3, 1e-6
N_CELLS, N_TIMED = 60, 8
# as `ace.tl.explain` and `ace.tl.explain_cells` call the solver
FOR_ALL, FOR_EACH = {"max_iter": 4}, {"max_iter": 10}


def against_the_original(folder: Path, n_cells: int, n_genes: int, n_steps: int) -> pd.DataFrame:
    """One group against each other one: processor seconds and mean objective of both.

    The problem is the same: towards the target, unweighted, unbounded, lambda 100. The subgradient has a perturbation
    for each cell. It runs on 8 of the 60 cells and its time is multiplied by 7.5. The solver runs twice: on the same 8
    cells, a perturbation for each, and on all 60, one for all. The second objective is of one perturbation for all, of
    the subgradient the mean of its own.
    """
    adata = resample(folder, n_cells, n_genes, 8)
    sc.pp.filter_genes(adata, min_cells=1)
    ace.tl.embed(adata, n_epochs=20)
    encoder, codes = ace.get.encoder(adata), adata.obs["group"].cat.codes.to_numpy()
    encoder.requires_grad_(requires_grad=False)
    clustering = from_labels(torch.from_numpy(adata.obsm["X_ace"]), torch.tensor(codes.astype(np.int64)))
    rows = adata[codes == 0].X[:N_CELLS]
    targets = torch.arange(1, clustering.n_groups)
    start = time.process_time()
    cells = SourceCells.from_expression(encoder, [rows])
    own = torch.zeros_like(targets)
    solution = perturb(encoder, clustering, cells, own, targets, sources=own, lam=LAMBDA, **FOR_ALL)
    ours = time.process_time() - start
    some = SourceCells.from_expression(encoder, [rows[:N_TIMED]]).preactivation[0]
    singles = SourceCells(some[:, None], torch.ones(len(some), 1))
    which, to = torch.arange(len(some)).repeat(len(targets)), targets.repeat_interleave(len(some))
    start = time.process_time()
    alone = perturb(encoder, clustering, singles, torch.zeros_like(to), to, sources=which, lam=LAMBDA, **FOR_EACH)
    one_each = (time.process_time() - start) * rows.shape[0] / len(some)
    start = time.process_time()
    delta = _subgradient(encoder, clustering, some, targets, n_steps)
    theirs = (time.process_time() - start) * rows.shape[0] / len(some)
    each = _objective(encoder, clustering, some, delta, targets).mean()
    together = _objective(encoder, clustering, some, delta.mean(dim=1, keepdim=True).expand_as(delta), targets).mean()
    return pd.DataFrame(
        {
            "": ["subgradient", "solver, one for each cell", "solver, one for all"],
            "processor seconds": [theirs, one_each, ours],
            "times as fast": [1.0, theirs / one_each, theirs / ours],
            "objective, one for each cell": [float(each), float(alone.objective.mean()), float("nan")],
            "objective, one for all": [float(together), float("nan"), float(solution.objective.mean())],
        }
    )


def _hinge(encoder: Encoder, clustering: NeuralizedClustering, cells: Tensor, delta: Tensor, to: Tensor) -> Tensor:
    """Of each target and cell, one perturbation each."""
    logits = clustering(encoder.tail(cells + encoder.shift(delta)))
    return (1.0 - 2.0 * logits[torch.arange(len(to)), :, to]).clamp_min(0.0)


def _objective(encoder: Encoder, clustering: NeuralizedClustering, cells: Tensor, delta: Tensor, to: Tensor) -> Tensor:
    return delta.abs().sum(dim=-1) + LAMBDA * _hinge(encoder, clustering, cells, delta, to)


def _subgradient(encoder: Encoder, clustering: NeuralizedClustering, cells: Tensor, to: Tensor, n_steps: int) -> Tensor:
    """Perturbations of shape ``(n_targets, n_cells, n_genes)``."""
    delta = torch.full((len(to), len(cells), encoder.n_genes), START)
    for _ in range(n_steps):
        delta.requires_grad_()
        (slope,) = torch.autograd.grad(_hinge(encoder, clustering, cells, delta, to).sum(), delta)
        delta = delta.detach() - RATE * (delta.detach().sign() + LAMBDA * slope)
    return delta
