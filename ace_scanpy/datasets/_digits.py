"""Handwritten digits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from numpy.typing import NDArray

Origin = Literal["MNIST", "scikit-learn"]

_FILE = "mnist.npz"


@dataclass(frozen=True)
class Digits:
    """Images of digits, split for training and testing.

    Attributes
    ----------
    x_train, x_test
        Grey levels from 0 (paper) to 1 (ink), `float32`, shape ``(n_images, side, side)``.
    y_train, y_test
        The digits, `int64`, shape ``(n_images,)``.
    origin
        ``"MNIST"`` or ``"scikit-learn"``.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    origin: Origin

    @property
    def side(self) -> int:
        """Pixels per row and per column."""
        return int(self.x_train.shape[1])

    def __repr__(self) -> str:
        return (
            f"Digits of {self.origin}: {len(self.x_train)} images to train on and {len(self.x_test)} to test on, "
            f"{self.side} x {self.side} pixels"
        )


def digits(origin: Origin | None = None) -> Digits:
    """Handwritten digits: MNIST where it is at hand, otherwise the small set that scikit-learn brings.

    MNIST (60,000 and 10,000 images of 28 x 28 pixels) is read from `mnist.npz`, with the arrays `x_train`, `y_train`,
    `x_test` and `y_test`, in the folder that the environment variable `ACE_DATA_DIR` names. Nothing is downloaded.
    :func:`sklearn.datasets.load_digits` has 1,797 images of 8 x 8 pixels and 17 grey levels; a quarter of each digit,
    always the same, is kept for testing.

    Parameters
    ----------
    origin
        ``"MNIST"`` or ``"scikit-learn"``; None for the first of them that is there.

    Returns
    -------
    The images and their digits; `origin` says which set they are of.

    Raises
    ------
    FileNotFoundError
        When MNIST is asked for and its file is not there.
    ValueError
        For an unknown `origin`.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> ace.datasets.digits("scikit-learn")
    Digits of scikit-learn: 1347 images to train on and 450 to test on, 8 x 8 pixels
    """
    if origin is not None and origin not in get_args(Origin):
        msg = f"`origin` must be one of {get_args(Origin)} or None. Got {origin!r}."
        raise ValueError(msg)
    folder = os.environ.get("ACE_DATA_DIR")
    file = Path(folder) / _FILE if folder else None
    if origin != "scikit-learn" and file is not None and file.is_file():
        return _mnist(file)
    if origin == "MNIST":
        where = f"the folder {folder!r}, which ACE_DATA_DIR names, has none" if folder else "ACE_DATA_DIR is not set"
        msg = f"MNIST is read from {_FILE}, and {where}. `digits('scikit-learn')` needs no file."
        raise FileNotFoundError(msg)
    return _small()


def _mnist(file: Path) -> Digits:
    with np.load(file) as arrays:
        x_train, x_test = (arrays[name].astype(np.float32) / 255 for name in ("x_train", "x_test"))
        y_train, y_test = (arrays[name].astype(np.int64) for name in ("y_train", "y_test"))
    return Digits(x_train, y_train, x_test, y_test, "MNIST")


def _small() -> Digits:
    found = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        (found.images / 16).astype(np.float32),
        found.target.astype(np.int64),
        test_size=0.25,
        stratify=found.target,
        random_state=0,
    )
    return Digits(x_train, y_train, x_test, y_test, "scikit-learn")
