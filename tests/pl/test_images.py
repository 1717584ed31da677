"""Pictures of the hand-made ranking, beside those that a person looked at and kept.

Only on Python 3.11, where they were made. Names and numbers are hidden, because letters come out differently with every
version of FreeType. A difference of up to 2 (root mean square, of 255) is let pass, because other versions of
matplotlib smooth edges otherwise; one gene of the panel with the other sign makes 34. To renew a picture, look at the
new one, whose path the failure gives, and copy it to `images/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

import ace_scanpy as ace

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="pictures were made on Python 3.11")
IMAGES = Path(__file__).parent / "images"


def _overlap(adata):
    for key, shift in (("one", 1), ("two", 3)):
        entry = dict(adata.uns["rank_genes_groups"])
        entry["names"] = entry["names"].copy()
        entry["names"]["a"] = np.roll(entry["names"]["a"], shift)
        adata.uns[key] = entry
    ace.pl.overlap(adata, "a", keys=["rank_genes_groups", "one", "two"], n_genes=5, show=False)


def _training(adata):
    ace.tl.embed(adata, n_hidden=(4,), n_latent=2, n_epochs=2)
    steps = np.arange(1.0, 7.0)
    loss = {"minibatches": 10 * steps, "train": 1 / steps, "held_out": 1.1 / steps**0.5}
    adata.uns["ace"]["X_ace"]["loss"] = loss
    ace.pl.training(adata, show=False)


PICTURES = {
    "panel": lambda adata: ace.pl.panel(adata, n_genes=4, show=False),
    "contrast": lambda adata: ace.pl.contrast(adata, "a", n_genes=3, show=False),
    "importance": lambda adata: ace.pl.importance(adata, n_genes=3, show=False),
    "importance_unsigned": lambda adata: (
        adata.uns["rank_genes_groups"].pop("enriched"),
        ace.pl.importance(adata, n_genes=3, show=False),
    ),
    "training": _training,
    "overlap": _overlap,
    "matrixplot": lambda adata: ace.pl.rank_genes_groups_matrixplot(
        adata, n_genes=2, direction="depleted", dendrogram=False, show=False
    ),
}


def _save(path):
    for text in plt.gcf().findobj(Text):
        text.set_visible(False)
    plt.savefig(path, dpi=50)


@pytest.mark.parametrize("name", PICTURES)
def test_picture(ranked, name, tmp_path):
    PICTURES[name](ranked)
    _save(tmp_path / f"{name}.png")
    kept = tmp_path / f"{name}-kept.png"
    kept.write_bytes((IMAGES / f"{name}.png").read_bytes())
    assert compare_images(str(kept), str(tmp_path / f"{name}.png"), tol=2) is None


def test_a_change_is_seen(ranked, tmp_path):
    """The comparison can fail: one gene's sign and a fifth of its length are enough."""
    entry = ranked.uns["rank_genes_groups"]
    entry["scores"]["b"][0] *= -0.8
    entry["enriched"]["b"][0] = False
    PICTURES["panel"](ranked)
    _save(tmp_path / "panel.png")
    kept = tmp_path / "kept.png"
    kept.write_bytes((IMAGES / "panel.png").read_bytes())
    assert compare_images(str(kept), str(tmp_path / "panel.png"), tol=2) is not None
