"""The entry of every method passes Scanpy's readers and ours, fresh and from a file."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import ace_scanpy as ace

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data will no longer be the default:UserWarning")
plots = getattr(sc.pl, "legacy", sc.pl)
SIGNED = ("deseq2", "gce", "smoothgrad", "shap")
METHODS = (*SIGNED, "jsd", "grs")
N_GENES = 3


@pytest.fixture(scope="module")
def every(shared, isolated, frame):
    """The planted data with an entry per method, and their tables as they were."""
    pytest.importorskip("pydeseq2")
    pytest.importorskip("captum")
    adata = isolated(shared)
    adata.layers["counts"] = adata.X.copy()
    adata.layers["counts"].data = np.rint(np.expm1(adata.X.data))
    for method in METHODS:
        options = {"counts_layer": "counts"} if method == "deseq2" else {}
        ace.tl.explain(adata, "group", method=method, key_added=method, **options)
    return adata


@pytest.fixture(scope="module", params=["fresh", "h5ad", "zarr"])
def stored(request, every, tmp_path_factory):
    path = tmp_path_factory.mktemp("methods") / f"file.{request.param}"
    if request.param == "fresh":
        return every
    getattr(every, f"write_{request.param}")(path)
    return getattr(ad, f"read_{request.param}")(path)


@pytest.mark.parametrize("method", METHODS)
def test_readers(stored, every, method):
    groups = list(every.obs["group"].cat.categories)
    original, entry = every.uns[method], stored.uns[method]
    assert {type(value) for value in original["params"].values()} <= {bool, int, float, str, type(None)}
    assert ("enriched" in entry) == (method in SIGNED)
    for group in groups:
        found = sc.get.rank_genes_groups_df(stored, group, key=method)
        columns = ["names", "scores", "logfoldchanges", "pvals", "pvals_adj"]
        expected = pd.DataFrame({name: np.asarray(original[name][group]) for name in columns})
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=True)
        ours = ace.get.rank_genes_groups_df(stored, group, key=method)
        pd.testing.assert_frame_equal(ours[columns], expected, check_dtype=False, check_exact=True)
        assert list(ace.get.panel(stored, group, size=4, key=method)["names"]) == list(expected["names"][:4])
    with pytest.raises(ValueError, match=f"`size` is needed.*method='{method}'"):
        ace.get.panel(stored, groups[0], key=method)
    top = [name for group in groups for name in original["names"][group][:N_GENES]]
    axes = plots.rank_genes_groups(stored, n_genes=N_GENES, key=method, show=False)
    assert [text.get_text() for ax in axes for text in ax.texts] == top
    dots = plots.rank_genes_groups_dotplot(stored, n_genes=N_GENES, key=method, dendrogram=False, return_fig=True)
    assert list(dots.var_names) == top
    drawn = ace.pl.panel(stored, n_genes=N_GENES, key=method, show=False)
    assert [text.get_text() for ax in drawn for text in ax.texts] == top
    widths = [bar.get_width() for ax in drawn for bar in ax.patches]
    np.testing.assert_allclose(widths, [s for group in groups for s in original["scores"][group][:N_GENES]], rtol=1e-6)
    label = drawn[0].figure.get_supxlabel()
    assert ("depleted" in label) == (method in SIGNED)


def test_p_values_select_genes(every):
    found = sc.get.rank_genes_groups_df(every, "B", key="deseq2", pval_cutoff=1e-3)
    assert 0 < len(found) < every.n_vars
    assert (found["pvals_adj"] < 1e-3).all()
