"""Parameter descriptions that several docstrings share, written once."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., object])

_BLOCKS = {
    "adata": """
adata
    Annotated data, cells by genes, log-normalised.
""",
    "layer": """
layer
    Key of `adata.layers` to read instead of `adata.X`.
""",
    "use_raw": """
use_raw
    Read `adata.raw` instead of `adata.X`. Never chosen silently.
""",
    "mask_var": """
mask_var
    Genes to use: a boolean column of `adata.var`, a boolean array over the genes of the matrix, or None for
    all. By default `var['highly_variable']` when present, as :func:`scanpy.pp.pca` does.
""",
    "copy": """
copy
    Return a changed copy instead of changing `adata`.
""",
    "batch_key": """
batch_key
    Column of `adata.obs` with batches. Differences between batches in the latent space are then penalised
    by their maximum mean discrepancy (equation 2).
""",
    "device": """
device
    Where torch computes: `"cpu"`, `"cuda"`, `"mps"`, or `"auto"` for the fastest there is.
""",
    "rng": """
rng
    Seed, or a numpy Generator that one is drawn from. The same seed on the same machine gives the same result.
""",
    "key": """
key
    Entry of `adata.uns` with the ranking.
""",
    "groups": """
groups
    Groups to draw, in this order; None for all.
""",
    "gene_symbols": """
gene_symbols
    Column of `adata.var` (of `adata.raw.var` for a ranking made on `raw`) with the names to show, where they are not
    those of the index.
""",
    "direction": """
direction
    `"enriched"` or `"depleted"` genes only, or `"both"`; by the sign of the scores for Scanpy's own methods.
""",
    "show": """
show
    Show the figure and return nothing. None does as `scanpy.settings.autoshow` says.
""",
    "show_ax": """
show
    Show the figure and return nothing. None does as `scanpy.settings.autoshow` says, and does not when `ax` is given.
""",
}


def document(function: F) -> F:
    """Put the shared blocks into the docstring, where it says ``%(name)s`` on a line of its own."""
    text = inspect.cleandoc(function.__doc__ or "")
    function.__doc__ = re.sub(r"^%\((\w+)\)s$", lambda m: _BLOCKS[m[1]].strip(), text, flags=re.MULTILINE)
    return function
