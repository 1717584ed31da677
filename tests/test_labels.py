from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from ace_scanpy import _labels


def labels_of(values, **kwargs):
    return _labels.from_column(pd.Series(values, **kwargs), "cluster")


def test_groups_are_numbered_by_their_first_cell():
    labels = labels_of(["b", "c", "b", "a", "c"], dtype="category")
    assert labels.codes.tolist() == [0, 1, 0, 2, 1]
    assert labels.categories == ("b", "c", "a")
    assert labels.display == (2, 0, 1)
    assert labels.n_groups == 3


def test_numbers_depend_neither_on_the_order_nor_on_the_names_of_categories():
    values = ["b", "c", "b", "a", "c"]
    codes = labels_of(values).codes
    for order in (["a", "b", "c"], ["c", "a", "b"], ["b", "unused", "c", "a"]):
        labels = _labels.from_column(pd.Categorical(values, categories=order), "cluster")
        np.testing.assert_array_equal(labels.codes, codes)
        assert [labels.names[g] for g in labels.display] == [name for name in order if name != "unused"]
    renamed = pd.Series(values).map({"a": "Z", "b": "Y", "c": "X"})
    np.testing.assert_array_equal(labels_of(renamed).codes, codes)


@pytest.mark.parametrize(
    ("values", "display"),
    [
        ([3, 1, 3, 10], ["1", "3", "10"]),
        ([True, False, True, True], ["False", "True"]),
        (["b", "a", "b", "c"], ["a", "b", "c"]),
        ([2.5, 1.0, 2.5, 1.0], ["1.0", "2.5"]),
        (pd.Categorical([3, 1, 3, 10], categories=[10, 3, 1, 7]), ["10", "3", "1"]),
        (pd.Categorical(["b", "a", "b", "c"], categories=list("zcba")), ["c", "b", "a"]),
    ],
    ids=["int", "bool", "str", "float", "int categories", "unused category"],
)
def test_any_type_of_label(values, display):
    labels = labels_of(values)
    assert [labels.names[g] for g in labels.display] == display
    assert [str(labels.categories[c]) for c in labels.codes] == [str(v) for v in values]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("dtype", ["object", "category", "string"])
def test_cells_without_a_label_are_left_out_and_counted_in_the_log(missing, dtype, monkeypatch):
    warnings = []
    monkeypatch.setattr("scanpy.logging.warning", warnings.append)
    labels = labels_of(["b", missing, "a", "b", missing], dtype=dtype)
    assert labels.codes.tolist() == [0, -1, 1, 0, -1]
    assert labels.names == ("b", "a")
    assert warnings == ["2 cells without a label in obs['cluster'] are left out."]


def test_nothing_is_logged_when_no_label_is_missing(monkeypatch):
    warnings = []
    monkeypatch.setattr("scanpy.logging.warning", warnings.append)
    labels_of(["b", "a"])
    assert not warnings


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["a", "a", "a"], r"1 group\(s\) with cells \(\['a'\]\)"),
        (pd.Categorical(["a", "a"], categories=["a", "b"]), r"1 group\(s\) with cells \(\['a'\]\)"),
        (["a", None, None], r"1 group\(s\)"),
        (pd.Categorical([None, None], categories=["a", "b"]), r"0 group\(s\)"),
    ],
)
def test_fewer_than_two_groups_with_cells_raise(values, named):
    with pytest.raises(ValueError, match=f"`groupby`='cluster' has {named}.*at least 2 are needed"):
        labels_of(values)


def test_categories_of_the_same_name_raise():
    with pytest.raises(ValueError, match="have the same name"):
        labels_of(pd.Categorical([1, "1", 1], categories=[1, "1"]))


@pytest.mark.parametrize(("wanted", "number"), [(10, 1), ("10", 1), (3, 0), (np.int64(3), 0)])
def test_a_group_is_found_by_value_or_by_its_string(wanted, number):
    assert labels_of([3, 10, 3, 1]).group("reference", wanted) == number


def test_a_group_that_is_not_there_raises_and_lists_those_that_are():
    labels = labels_of(pd.Categorical([3, 10, 3], categories=[3, 7, 10]))
    for wanted in (7, "rest", None):
        with pytest.raises(ValueError, match=r"`reference`=.* is not a group. Available groups: \[3, 10\]"):
            labels.group("reference", wanted)
    with pytest.raises(ValueError, match="`groups`=4 is not a group"):
        labels.groups("groups", [3, 4])


def test_groups_come_in_the_order_of_the_categories_once_each():
    labels = labels_of(["b", "c", "b", "a", "c"])
    assert [labels.names[g] for g in labels.groups("groups", "all")] == ["a", "b", "c"]
    assert [labels.names[g] for g in labels.groups("groups", ["c", "a", "c"])] == ["a", "c"]


def test_a_single_string_for_groups_raises_and_says_what_to_write():
    with pytest.raises(TypeError, match=r"`groups` .* Got 'b'; write \['b'\]"):
        labels_of(["b", "a"]).groups("groups", "b")


def test_naming_no_group_raises():
    with pytest.raises(ValueError, match=r"`groups` names no group. Available groups: \['a', 'b'\]"):
        labels_of(["b", "a"]).groups("groups", [])


def test_a_category_called_all_can_be_named():
    labels = labels_of(["all", "a", "b"])
    assert [labels.names[g] for g in labels.groups("groups", ["all"])] == ["all"]


def test_read_takes_the_column_and_leaves_it_alone():
    adata = ad.AnnData(np.zeros((4, 2)), obs=pd.DataFrame({"x": [1, 2, 1, 2]}, index=list("abcd")))
    assert _labels.read(adata, "x").names == ("1", "2")
    assert adata.obs["x"].dtype == np.int64
    with pytest.raises(KeyError, match=r"`groupby`='y' not found in `adata.obs`. Available keys: \['x'\]"):
        _labels.read(adata, "y")
