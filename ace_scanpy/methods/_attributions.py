"""SmoothGrad and expected gradients of the neuralised logit, by Captum."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from .._extras import require
from ..models import seeded
from ..models._sampling import as_tensor
from ._scores import GeneScores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from ..models import Encoder, NeuralizedClustering
    from ..models._sampling import CellSource
    from ._contrasts import Contrasts

_CELLS = 100
_BACKGROUND = 200
_SMOOTHGRAD_DRAWS = 20
_SMOOTHGRAD_NOISE = 0.2
_SHAP_DRAWS = 50
_BLOCK = 2**23  # floats

Attribution = Literal["smoothgrad", "shap"]


class GroupLogit(nn.Module):
    r"""Standardised expression to the scalar that is explained, one per cell.

    :math:`m_s`, the logit of the group (equation 5), or :math:`m_s-m_t` against a reference.
    """

    def __init__(
        self, encoder: Encoder, clustering: NeuralizedClustering, group: int, reference: int | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.clustering = encoder, clustering
        self.group, self.reference = group, reference

    def forward(self, standardized: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Shape ``(n_cells, n_genes)`` to ``(n_cells,)``; ``covariates`` are what else the encoder reads of a cell."""
        if covariates is None:
            preactivation = self.encoder.from_standardized(standardized)
        else:
            genes = standardized * self.encoder.scale + self.encoder.mean
            preactivation = self.encoder.preactivation(torch.cat([genes, covariates], dim=1))
        logits = self.clustering(self.encoder.tail(preactivation))
        logit = logits[:, self.group]
        return logit if self.reference is None else logit - logits[:, self.reference]


def smoothgrad(logit: Callable[..., Tensor], cells: Tensor, covariates: Tensor | None = None) -> Tensor:
    r"""Gradients averaged over 20 noisy copies of each cell (Smilkov et al. 2017), shape of ``cells``.

    The noise has standard deviation 0.2, in units of each gene's scale. ``covariates`` of the cells stay as they are.
    """
    captum = require("captum.attr", "`method`='smoothgrad'", "methods")
    tunnel = captum.NoiseTunnel(captum.Saliency(logit))
    return tunnel.attribute(
        cells,
        nt_type="smoothgrad",
        nt_samples=_SMOOTHGRAD_DRAWS,
        stdevs=_SMOOTHGRAD_NOISE,
        additional_forward_args=covariates,
        abs=False,
    ).detach()


def expected_gradients(
    logit: Callable[..., Tensor], cells: Tensor, background: Tensor, covariates: Tensor | None = None
) -> Tensor:
    r"""Shapley values by expected gradients (Erion et al. 2021), shape of ``cells``.

    :math:`\phi_i=\mathrm E_{x',a}\,(x_i-x'_i)\,\partial_i m(x'+a(x-x'))` over cells :math:`x'` of the background and
    :math:`a` uniform in [0, 1], from 50 draws; summed over genes it is :math:`m(x)-\mathrm E\,m(x')`,
    both with the ``covariates`` of :math:`x`.
    """
    captum = require("captum.attr", "`method`='shap'", "methods")
    shap = captum.GradientShap(logit)
    return shap.attribute(cells, background, n_samples=_SHAP_DRAWS, additional_forward_args=covariates).detach()


def attribute(
    encoder: Encoder,
    clustering: NeuralizedClustering,
    source: CellSource,
    codes: NDArray[np.integer],
    contrasts: Contrasts,
    seed: int,
    kind: Attribution,
) -> GeneScores:
    r"""Attribute the logit of each group to genes, pooled over a sample of the group's cells.

    The score is the mean size of the attribution. Its sign says whether the logit rises with the gene (enriched) or
    falls: for SmoothGrad the sign of the mean gradient. A Shapley value is positive for a gene that the group has and
    the background lacks, and just as well for one that the group lacks; its mean is therefore multiplied by the
    sign of the difference of the means.

    Parameters
    ----------
    encoder, clustering
        The network to explain, the same as for ACE.
    source
        Cells by genes.
    codes
        Group of each cell.
    contrasts
        What to explain against what.
    seed
        For cells and noise; each group has its own stream.
    kind
        ``"smoothgrad"``, or ``"shap"``, whose background are cells of the other groups, equally many of each, or of the
        reference.
    """
    device = encoder.mean.device
    draws = _SMOOTHGRAD_DRAWS if kind == "smoothgrad" else _SHAP_DRAWS
    size = max(1, _BLOCK // (draws * encoder.n_genes))
    rows = []
    for row, group in enumerate(contrasts.groups):
        rng = np.random.default_rng([seed, group])
        others = contrasts.others(row)
        cells = _sample(codes, group, _CELLS, rng)
        background = np.concatenate([_sample(codes, t, -(-_BACKGROUND // len(others)), rng) for t in others])
        read, other = (as_tensor(source.dense(which)).to(device) for which in (cells, background))
        standardized, against = (encoder.standardize(x[:, : encoder.n_genes]).detach() for x in (read, other))
        covariates = read[:, encoder.n_genes :]
        logit = GroupLogit(encoder, clustering, group, contrasts.reference)
        parts = []
        with _seeded(rng):
            for part in torch.arange(len(read)).split(size):
                given = covariates[part] if covariates.shape[1] else None
                parts.append(
                    smoothgrad(logit, standardized[part], given)
                    if kind == "smoothgrad"
                    else expected_gradients(logit, standardized[part], against, given)
                )
        attributions = torch.cat(parts).cpu().double()  # mps has no float64
        direction = attributions.mean(dim=0)
        if kind == "shap":
            direction *= (standardized.mean(dim=0) - against.mean(dim=0)).cpu()
        sign = torch.where(direction < 0, -1.0, 1.0)
        rows.append((sign * attributions.abs().mean(dim=0) + 0.0).numpy())
    return GeneScores(np.stack(rows), signed=True)


def _sample(codes: NDArray[np.integer], group: int, size: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return np.sort(rng.permutation(np.flatnonzero(codes == group))[:size])


@contextlib.contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """Torch's and numpy's global random numbers, which Captum draws from, by `rng`; put back after the block."""
    before: Any = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002
        with seeded(rng):
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
