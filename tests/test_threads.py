"""Threads follow Scanpy's setting inside a call, and are left as they were."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scanpy as sc
import torch
from joblib import cpu_count
from threadpoolctl import threadpool_info

import ace_scanpy as ace
from ace_scanpy import _pool, _threads
from ace_scanpy.methods import _perturbation
from ace_scanpy.tl import _explain


def counts():
    """Threads of torch and of every library that threadpoolctl knows."""
    return torch.get_num_threads(), [pool["num_threads"] for pool in threadpool_info()]


@pytest.fixture
def before():
    """Threads as a caller has set them, 3; put back after the test."""
    others = torch.get_num_threads()
    torch.set_num_threads(3)
    yield counts()
    torch.set_num_threads(others)


@pytest.fixture
def set_jobs():
    """Sets Scanpy's number of jobs; put back after the test."""
    others = sc.settings.n_jobs

    def change(n_jobs):
        sc.settings.n_jobs = n_jobs

    yield change
    sc.settings.n_jobs = others


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_n_jobs_holds_inside_and_nothing_is_changed_after(before, n_jobs, set_jobs):
    set_jobs(n_jobs)
    with _threads.as_set():
        torch_threads, pools = counts()
        assert torch_threads == n_jobs
        assert max(pools) <= n_jobs
    assert counts() == before


def test_minus_one_means_every_processor(before, set_jobs):
    set_jobs(-1)
    with _threads.as_set():
        assert torch.get_num_threads() == cpu_count()


def test_threads_are_put_back_after_an_error(before):
    def fail():
        with _threads.as_set():
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert counts() == before


def test_explain_and_embed_run_with_as_many_threads_as_set(before, monkeypatch):
    adata = sc.AnnData(np.random.default_rng(0).random((40, 12), dtype=np.float32))
    adata.obs["group"] = np.repeat(["a", "b"], 20)
    seen = []

    def spy(name, module):
        plain = getattr(module, name)

        def spied(*args, **kwargs):
            seen.append(torch.get_num_threads())
            return plain(*args, **kwargs)

        monkeypatch.setattr(module, name, spied)

    spy("rank", _explain)
    spy("compute", _explain._autoencoder)
    ace.tl.embed(adata, n_latent=2, n_epochs=1)
    ace.tl.explain(adata, "group")
    assert seen == [1, 1]
    assert counts() == before


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_pieces_run_side_by_side_with_one_thread_each_and_in_order(before, n_jobs, set_jobs):
    set_jobs(n_jobs)
    waiting = threading.Barrier(n_jobs, timeout=60)  # breaks unless so many pieces run at once

    def piece(number):
        waiting.wait()
        return number, torch.get_num_threads(), threading.get_ident()

    with _threads.as_set():
        found = _pool.each(piece, range(4))
        assert torch.get_num_threads() == n_jobs
    numbers, threads, workers = zip(*found, strict=True)
    assert numbers == (0, 1, 2, 3)
    assert set(threads) == {1}
    assert len(set(workers)) == n_jobs
    assert counts() == before


def test_what_a_piece_raises_is_raised_and_threads_are_put_back(before):
    with pytest.raises(ZeroDivisionError):
        _pool.each(lambda number: 1 // number, [1, 0])
    assert counts() == before


def test_chunks_side_by_side_give_the_same_bits(set_jobs, monkeypatch):
    adata = sc.AnnData(np.random.default_rng(0).random((60, 12), dtype=np.float32))
    adata.obs["group"] = np.repeat(["a", "b", "c"], 20)
    ace.tl.embed(adata, n_latent=2, n_epochs=1)
    ace.tl.explain(adata, "group", min_fidelity=0)
    monkeypatch.setattr(_perturbation, "_MEMORY", 1)  # one group at a time
    entries, pieces, each = [], [], _pool.each
    monkeypatch.setattr(_pool, "each", lambda function, chunks: pieces.append(len(chunks)) or each(function, chunks))
    for n_jobs in (1, 2):
        set_jobs(n_jobs)
        ace.tl.explain(adata, "group", min_fidelity=0)
        entries.append(adata.uns["rank_genes_groups"])
    one, two = entries
    assert pieces == [3, 3]
    for name in ("names", "scores", "delta", "flip_rate", "panel_size"):
        assert one[name].tolist() == two[name].tolist()
