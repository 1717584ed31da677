"""The plot of loss curves."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import ace_scanpy as ace


def test_lines_are_the_record(explained, names_inside):
    ax = ace.pl.training(explained, show=False)
    loss = explained.uns["ace"]["X_ace"]["loss"]
    assert [line.get_label() for line in ax.lines] == ["minibatches, inputs dropped out", "held-out cells"]
    for line, name in zip(ax.lines, ("train", "held_out"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), loss["minibatches"])
        np.testing.assert_array_equal(line.get_ydata(), loss[name])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [line.get_label() for line in ax.lines]
    names_inside(ax.figure)


def test_lines_differ_without_colour_and_the_legend_covers_none(explained):
    ax = ace.pl.training(explained, show=False)
    assert len({line.get_linestyle() for line in ax.lines}) == 2
    assert len({line.get_marker() for line in ax.lines}) == 2
    ax.figure.canvas.draw()
    assert not ax.get_legend().get_window_extent().overlaps(ax.get_window_extent())
    assert not ax.get_legend().get_window_extent().overlaps(ax.xaxis.label.get_window_extent())


def test_after_a_file_and_on_given_axes(explained, tmp_path):
    import anndata as ad

    explained.write_h5ad(tmp_path / "file.h5ad")
    _, ax = plt.subplots()
    assert ace.pl.training(ad.read_h5ad(tmp_path / "file.h5ad"), ax=ax) is ax
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), explained.uns["ace"]["X_ace"]["loss"]["held_out"])


def test_no_encoder(planted):
    with pytest.raises(KeyError, match=r"`use_rep`='X_ace' not found.*ace\.tl\.embed"):
        ace.pl.training(planted, show=False)
    assert not plt.get_fignums()
