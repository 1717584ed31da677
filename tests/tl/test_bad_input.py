"""Wrong arguments and data: an error that says what is wrong, before any training, and `adata` as it was."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import ace_scanpy as ace

pytestmark = pytest.mark.usefixtures("no_training")


def _says(raised, words):
    message = str(raised.value)
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


EXPLAIN = {
    "no such groupby": ({"groupby": "leidn"}, KeyError, ["`groupby`", "leidn", "group", "half"]),
    "groupby that is no name": ({"groupby": ["group"]}, KeyError, ["`groupby`", "['group']", "half"]),
    "one category": ({"groupby": "one"}, ValueError, ["`groupby`", "one", "only", "2"]),
    "no labels": ({"groupby": "none"}, ValueError, ["`groupby`", "none", "0 group", "2"]),
    "no such group": ({"groups": ["nobody"]}, ValueError, ["`groups`", "nobody", "B", "dendritic"]),
    "a group without cells": ({"groupby": "half", "groups": ["C"]}, ValueError, ["`groups`", "C", "['A', 'B']"]),
    "a single string": ({"groups": "B"}, TypeError, ["`groups`", "'B'", "['B']"]),
    "a single number": ({"groups": 3}, TypeError, ["`groups`", "3"]),
    "no groups": ({"groups": []}, ValueError, ["`groups`", "no group"]),
    "only the reference": ({"groups": ["B"], "reference": "B"}, ValueError, ["`groups`", "reference", "B"]),
    "no such reference": ({"reference": "nobody"}, ValueError, ["`reference`", "nobody", "B", "dendritic"]),
    "method": ({"method": "wilcoxon"}, ValueError, ["`method`", "wilcoxon", "ace"]),
    "rest": ({"rest": "sum"}, ValueError, ["`rest`", "sum", "each", "max"]),
    "weights": ({"weights": "equal"}, ValueError, ["`weights`", "equal", "adaptive", "uniform"]),
    "weights of no name": ({"weights": None}, ValueError, ["`weights`", "None", "adaptive"]),
    "no genes listed": ({"n_genes": 0}, ValueError, ["`n_genes`", "1", "0"]),
    "negative n_genes": ({"n_genes": -3}, ValueError, ["`n_genes`", "1", "-3"]),
    "broken n_genes": ({"n_genes": 2.5}, TypeError, ["`n_genes`", "2.5", "whole number"]),
    "alpha": ({"alpha": -1.0}, ValueError, ["`alpha`", "-1.0", "positive"]),
    "lam": ({"lam": 0}, ValueError, ["`lam`", "0", "positive"]),
    "lam of words": ({"lam": "large"}, TypeError, ["`lam`", "large", "number"]),
    "beta": ({"beta": np.nan}, ValueError, ["`beta`", "nan", "positive"]),
    "device": ({"device": "abacus"}, ValueError, ["`device`", "abacus", "cpu", "auto"]),
    "rng": ({"rng": "seed"}, TypeError, ["`rng`", "seed", "Generator"]),
    "negative rng": ({"rng": -1}, TypeError, ["`rng`", "-1", "non-negative"]),
    "key_added of ours": ({"key_added": "ace"}, ValueError, ["`key_added`", "'ace'", "reserved"]),
    "key_added of Scanpy": ({"key_added": "log1p"}, ValueError, ["`key_added`", "'log1p'", "reserved"]),
    "key_added with a slash": ({"key_added": "a/b"}, ValueError, ["`key_added`", "a/b", "'/'"]),
    "empty key_added": ({"key_added": ""}, TypeError, ["`key_added`", "''"]),
    "no such embedding": ({"use_rep": "X_no"}, KeyError, ["`use_rep`", "X_no", "ace.tl.embed", "X_ace"]),
    "without an encoder": ({"use_rep": "X_pca"}, KeyError, ["`use_rep`", "X_pca", "encoder", "ace.tl.embed", "X_ace"]),
    "no such layer": ({"layer": "no"}, KeyError, ["`layer`", "'no'", "spare"]),
    "no raw": ({"use_raw": True}, ValueError, ["`use_raw", "adata.raw"]),
    "use_raw of words": ({"use_raw": "yes"}, TypeError, ["`use_raw`", "yes", "True or False"]),
    "two matrices": ({"use_raw": True, "layer": "spare"}, ValueError, ["`use_raw", "`layer", "spare"]),
    "no such mask": ({"mask_var": "no"}, KeyError, ["`mask_var`", "'no'", "three", "up"]),
    "mask of one gene": ({"mask_var": "lonely"}, ValueError, ["`mask_var`", "2", "1 of 35"]),
    "mask of the wrong length": ({"mask_var": np.ones(5, bool)}, ValueError, ["`mask_var`", "35", "(5,)"]),
    "mask that is no mask": ({"mask_var": np.ones(35)}, ValueError, ["`mask_var`", "boolean", "float64"]),
}


def _with_traps(adata):
    """Columns, a layer and an embedding that the wrong arguments above refer to."""
    adata.obs["half"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "A", "B"), categories=["A", "B", "C"])
    adata.obs["one"] = pd.Categorical(["only"] * adata.n_obs)
    adata.obs["none"] = pd.Categorical([None] * adata.n_obs, categories=["a", "b"])
    adata.var["three"] = np.arange(adata.n_vars) < 3
    adata.var["lonely"] = np.arange(adata.n_vars) == 7
    adata.layers["spare"] = adata.X.copy()
    adata.obsm["X_pca"] = np.zeros((adata.n_obs, 3), dtype=np.float32)
    return adata


@pytest.mark.parametrize(("arguments", "error", "words"), EXPLAIN.values(), ids=EXPLAIN.keys())
def test_explain_refuses_arguments(explained, unchanged, arguments, error, words):
    adata = _with_traps(explained)
    with unchanged(adata, error) as raised:
        ace.tl.explain(adata, **{"groupby": "group", **arguments})
    _says(raised, words)


FROM_SCRATCH = ("no such layer", "no raw", "use_raw of words", "two matrices", "no such mask", "mask of one gene")
MATRIX = {name: EXPLAIN[name] for name in (*FROM_SCRATCH, "mask of the wrong length", "mask that is no mask")}


@pytest.mark.parametrize("function", [ace.tl.explain, ace.tl.embed, ace.pp.standardize])
@pytest.mark.parametrize(("arguments", "error", "words"), MATRIX.values(), ids=MATRIX.keys())
def test_matrix_that_is_not_there(planted, unchanged, function, arguments, error, words):
    adata = _with_traps(planted)
    with unchanged(adata, error) as raised:
        function(adata, **arguments)
    _says(raised, words)


@pytest.mark.parametrize("function", [ace.tl.explain, ace.tl.embed])
def test_no_such_batches(planted, unchanged, function):
    with unchanged(planted, KeyError) as raised:
        function(planted, batch_key="donor")
    _says(raised, ["`batch_key`", "donor", "group"])


@pytest.mark.parametrize("function", [ace.tl.explain, ace.tl.embed])
def test_cells_without_a_batch(planted, unchanged, function):
    planted.obs["donor"] = pd.Categorical(["a", "b", None, "a"] * 20)
    with unchanged(planted, ValueError) as raised:
        function(planted, batch_key="donor")
    _says(raised, ["`batch_key`", "donor", "20 cells"])


def _nan(adata):
    adata.X.data[5] = np.nan


def _infinite(adata):
    adata.X.data[5] = np.inf


def _nan_in_a_dense_matrix(adata):
    adata.X = adata.X.toarray()
    adata.X[3, 4] = np.nan


def _raw_counts(adata):
    adata.X = sparse.csr_matrix(np.random.default_rng(0).poisson(9, adata.shape).astype(np.float32))
    adata.X[0, 0] = 300


def _raw_counts_as_integers(adata):
    adata.X = np.random.default_rng(0).poisson(9, adata.shape)
    adata.X[0, 0] = 300


def _repeated_genes(adata):
    adata.var_names = ["twice", "twice", *adata.var_names[2:]]


BAD_DATA = {
    "NaN": (_nan, ["adata.X", "NaN"]),
    "infinity": (_infinite, ["adata.X", "infinite"]),
    "NaN, dense": (_nan_in_a_dense_matrix, ["adata.X", "NaN"]),
    "raw counts": (_raw_counts, ["adata.X", "raw counts", "300", "sc.pp.normalize_total", "sc.pp.log1p"]),
    "integer counts": (_raw_counts_as_integers, ["adata.X", "300", "sc.pp.normalize_total", "sc.pp.log1p"]),
    "repeated genes": (_repeated_genes, ["var_names", "'twice'", "var_names_make_unique"]),
}
FUNCTIONS = {
    "explain": lambda adata: ace.tl.explain(adata, "group"),
    "embed": ace.tl.embed,
    "standardize": ace.pp.standardize,
}


@pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning")
@pytest.mark.filterwarnings("ignore:Changing the sparsity structure:scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize(("spoil", "words"), BAD_DATA.values(), ids=BAD_DATA.keys())
def test_bad_data(planted, unchanged, function, spoil, words):
    spoil(planted)
    with unchanged(planted, ValueError) as raised:
        function(planted)
    _says(raised, words)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("shape", [(0, 35), (80, 0)], ids=["no cells", "no genes"])
def test_nothing_there(planted, unchanged, function, shape):
    empty = planted[: shape[0], : shape[1]].copy()
    with unchanged(empty, ValueError) as raised:
        function(empty)
    _says(raised, [f"{shape[0]} cells", f"{shape[1]} genes"])


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_no_matrix(unchanged, function):
    adata = ad.AnnData(obs=pd.DataFrame({"group": ["a", "b"]}, index=["x", "y"]), var=pd.DataFrame(index=["g", "h"]))
    with unchanged(adata, ValueError) as raised:
        function(adata)
    _says(raised, ["adata.X"])


@pytest.mark.parametrize("spoil", [_nan, _infinite], ids=["NaN", "infinity"])
def test_bad_values_where_an_encoder_is_there(embedded, unchanged, spoil):
    spoil(embedded)
    with unchanged(embedded, ValueError) as raised:
        ace.tl.explain(embedded, "group")
    _says(raised, ["adata.X", "NaN or infinite"])


def test_nan_outside_the_mask(planted, unchanged):
    """Fold changes and lists need every gene of the matrix, so it is refused, and before the training."""
    planted.X = planted.X.toarray()
    planted.X[0, 20] = np.nan
    planted.var["highly_variable"] = np.arange(planted.n_vars) != 20
    with unchanged(planted, ValueError) as raised:
        ace.tl.explain(planted, "group")
    _says(raised, ["adata.X", "NaN"])


EMBED = {
    "n_latent above genes": ({"n_latent": 35}, ValueError, ["`n_latent`", "35", "34 genes"]),
    "n_selected above genes": ({"n_selected": 35}, ValueError, ["`n_selected`", "35", "34 genes"]),
    "n_latent above the mask": ({"n_latent": 4, "mask_var": "three"}, ValueError, ["`n_latent`", "4", "3 genes"]),
    "no latent": ({"n_latent": 0}, ValueError, ["`n_latent`", "0"]),
    "half a latent": ({"n_latent": 2.5}, TypeError, ["`n_latent`", "2.5"]),
    "no hidden layers": ({"n_hidden": ()}, ValueError, ["`n_hidden`"]),
    "n_epochs": ({"n_epochs": 0}, ValueError, ["`n_epochs`", "0"]),
    "batch_size": ({"batch_size": 1}, ValueError, ["`batch_size`", "1", "2"]),
    "learning_rate": ({"learning_rate": -0.1}, ValueError, ["`learning_rate`", "-0.1"]),
    "groupby": ({"groupby": "leidn"}, KeyError, ["`groupby`", "leidn", "group"]),
    "one group": ({"groupby": "one"}, ValueError, ["`groupby`", "only"]),
    "key_added": ({"key_added": "standardize"}, ValueError, ["`key_added`", "standardize", "reserved"]),
    "key_added with a slash": ({"key_added": "X/ace"}, ValueError, ["`key_added`", "X/ace"]),
    "rng": ({"rng": 1.5}, TypeError, ["`rng`", "1.5"]),
    "device": ({"device": "abacus"}, ValueError, ["`device`", "abacus"]),
}


@pytest.mark.parametrize(("arguments", "error", "words"), EMBED.values(), ids=EMBED.keys())
def test_embed_refuses_arguments(planted, unchanged, arguments, error, words):
    adata = _with_traps(planted)
    with unchanged(adata, error) as raised:
        ace.tl.embed(adata, **arguments)
    _says(raised, words)


def test_fewer_genes_than_the_default_embedding_has_dimensions(planted, unchanged):
    few = planted[:, :8].copy()
    with unchanged(few, ValueError) as raised:
        ace.tl.explain(few, "group")
    _says(raised, ["n_latent", "10", "8 genes"])


CLUSTER = {
    "no such embedding": ({"use_rep": "X_no"}, KeyError, ["`use_rep`", "X_no", "ace.tl.embed"]),
    "without an encoder": ({"use_rep": "X_pca"}, KeyError, ["`use_rep`", "X_pca", "encoder", "ace.tl.embed"]),
    "one cluster": ({"n_clusters": 1}, ValueError, ["`n_clusters`", "2", "1"]),
    "more clusters than cells": ({"n_clusters": 81}, ValueError, ["`n_clusters`", "81", "80 cells"]),
    "half a cluster": ({"n_clusters": 2.5}, TypeError, ["`n_clusters`", "2.5"]),
    "key_added": ({"key_added": "standardize"}, ValueError, ["`key_added`", "standardize"]),
    "key_added of the embedding": ({"key_added": "X_ace"}, ValueError, ["`key_added`", "X_ace"]),
    "key_added with a slash": ({"key_added": "a/b"}, ValueError, ["`key_added`", "a/b"]),
    "rng": ({"rng": "seed"}, TypeError, ["`rng`", "seed"]),
}


@pytest.mark.parametrize(("arguments", "error", "words"), CLUSTER.values(), ids=CLUSTER.keys())
def test_cluster_refuses_arguments(embedded, unchanged, arguments, error, words):
    adata = _with_traps(embedded)
    with unchanged(adata, error) as raised:
        ace.tl.cluster(adata, **arguments)
    _says(raised, words)


def test_cluster_before_embed(planted, unchanged):
    with unchanged(planted, KeyError) as raised:
        ace.tl.cluster(planted, n_clusters=4)
    _says(raised, ["`use_rep`", "X_ace", "ace.tl.embed"])


def test_cluster_does_not_overwrite_another_encoder(embedded, unchanged):
    embedded.uns["ace"]["X_other"] = embedded.uns["ace"]["X_ace"]
    with unchanged(embedded, ValueError) as raised:
        ace.tl.cluster(embedded, n_clusters=4, key_added="X_other")
    _says(raised, ["`key_added`", "X_other", "encoder"])


@pytest.mark.parametrize(
    ("max_value", "error"), [(0, ValueError), (-1.0, ValueError), (np.inf, ValueError), ("ten", TypeError)]
)
def test_standardize_refuses_max_value(planted, unchanged, max_value, error):
    with unchanged(planted, error) as raised:
        ace.pp.standardize(planted, max_value=max_value)
    _says(raised, ["`max_value`", str(max_value)])


def test_categories_of_one_name(embedded, unchanged):
    embedded.obs["mixed"] = pd.Categorical([1, "1"] * 40)
    with unchanged(embedded, ValueError) as raised:
        ace.tl.explain(embedded, "mixed")
    _says(raised, ["mixed", "same name"])
