"""Threads follow Scanpy's setting inside a call, and are left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
import torch
from joblib import cpu_count
from threadpoolctl import threadpool_info

import ace_scanpy as ace
from ace_scanpy import _threads
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
