"""Where the digits come from, and what they hold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

import ace_scanpy as ace


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with a file of MNIST's form: three images to train on, two to test on."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(256, size=(3, 28, 28), dtype=np.uint8),
        "y_train": np.array([7, 0, 9], dtype=np.uint8),
        "x_test": rng.integers(256, size=(2, 28, 28), dtype=np.uint8),
        "y_test": np.array([1, 1], dtype=np.uint8),
    }
    np.savez(tmp_path / "mnist.npz", **arrays)
    monkeypatch.setenv("ACE_DATA_DIR", str(tmp_path))
    return arrays


def check(found, side):
    """Types and shapes as documented."""
    assert found.side == side
    for x, y in ((found.x_train, found.y_train), (found.x_test, found.y_test)):
        assert x.shape == (len(y), side, side)
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert x.min() >= 0.0
        assert x.max() <= 1.0


@pytest.mark.parametrize("origin", [None, "MNIST"])
def test_the_file_in_the_folder(tiny, origin):
    found = ace.datasets.digits(origin)
    assert found.origin == "MNIST"
    check(found, 28)
    np.testing.assert_array_equal(np.rint(found.x_train * 255), tiny["x_train"])
    np.testing.assert_array_equal(np.rint(found.x_test * 255), tiny["x_test"])
    assert found.y_train.tolist() == [7, 0, 9]
    assert found.y_test.tolist() == [1, 1]


@pytest.mark.parametrize("folder", [None, "", "empty"])
def test_otherwise_scikit_learns(tmp_path, monkeypatch, folder):
    (tmp_path / "empty").mkdir()
    if folder is None:
        monkeypatch.delenv("ACE_DATA_DIR", raising=False)
    else:
        monkeypatch.setenv("ACE_DATA_DIR", str(tmp_path / folder) if folder else "")
    assert ace.datasets.digits().origin == "scikit-learn"


@pytest.mark.usefixtures("tiny")
def test_scikit_learns_where_asked_for_holds_every_image_once():
    found = ace.datasets.digits("scikit-learn")
    assert found.origin == "scikit-learn"
    check(found, 8)
    expected = load_digits()

    def listed(images, targets):
        return sorted((*image.ravel().tolist(), int(target)) for image, target in zip(images, targets, strict=True))

    together = np.concatenate([found.x_train, found.x_test]) * 16, np.concatenate([found.y_train, found.y_test])
    assert listed(*together) == listed(expected.images, expected.target)
    share = np.bincount(found.y_test) / np.bincount(expected.target)
    np.testing.assert_allclose(share, 0.25, atol=0.01)


def test_the_split_is_always_the_same():
    first, second = (ace.datasets.digits("scikit-learn") for _ in range(2))
    np.testing.assert_array_equal(first.x_test, second.x_test)
    np.testing.assert_array_equal(first.y_train, second.y_train)


@pytest.mark.parametrize(("folder", "reason"), [(None, "is not set"), ("here", "has none")])
def test_mnist_that_is_not_there_raises(tmp_path, monkeypatch, folder, reason):
    monkeypatch.delenv("ACE_DATA_DIR", raising=False)
    if folder:
        monkeypatch.setenv("ACE_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"mnist\.npz.*{reason}.*digits\('scikit-learn'\)"):
        ace.datasets.digits("MNIST")


def test_an_unknown_origin_raises():
    with pytest.raises(ValueError, match=r"`origin` must be one of \('MNIST', 'scikit-learn'\) or None\. Got 'mnist'"):
        ace.datasets.digits("mnist")


def test_the_real_file(data_file, monkeypatch):
    monkeypatch.setenv("ACE_DATA_DIR", str(data_file("mnist.npz").parent))
    found = ace.datasets.digits()
    assert repr(found) == "Digits of MNIST: 60000 images to train on and 10000 to test on, 28 x 28 pixels"
    check(found, 28)
    assert found.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(found.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
