"""A feature-selection layer that lets exactly `n_selected` genes carry the embedding (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FACTORS = 64


class FeatureGates(nn.Module):
    r"""One gate per gene, of which ``n_selected`` are open.

    A concrete selector in the form of a relaxed top-k: every gene has a logit; in training Gumbel
    noise is added, so that the ``n_selected`` largest are a random draw without replacement, and the gate of
    gene :math:`i` is :math:`\mathrm{sigmoid}((l_i + g_i - \tau)/T)` with :math:`\tau` the midpoint between the last
    open and the first closed gene. Values are rounded to 0 or 1 in the forward pass and not in the
    gradient (straight-through). In evaluation the gates are the ``n_selected`` largest logits. Unlike a
    selector matrix it keeps the width of the input and cannot pick a gene twice.

    Sources: Abid et al. 2019 (concrete autoencoders); Xie and Ermon 2019 (Gumbel top-k).

    Parameters
    ----------
    n_genes
        Width of the input.
    n_selected
        Number of open gates, between 1 and ``n_genes``.

    Examples
    --------
    >>> from ace_scanpy.models import FeatureGates
    >>> gates = FeatureGates(5, n_selected=2)
    >>> int(gates.eval()().sum())
    2
    """

    temperature: float

    def __init__(self, n_genes: int, n_selected: int) -> None:
        super().__init__()
        if not 1 <= n_selected <= n_genes:
            msg = f"`n_selected` must be between 1 and {n_genes} (the number of genes). Got {n_selected}."
            raise ValueError(msg)
        self.n_selected = n_selected
        self.logits = nn.Parameter(0.01 * torch.randn(n_genes))
        self.temperature = 0.2

    def forward(self) -> Tensor:
        """Gates, shape ``(n_genes,)``: exactly ``n_selected`` ones, the rest zeros."""
        logits: Tensor = self.logits
        if self.training:
            uniform = torch.rand_like(logits).clamp_(1e-6, 1 - 1e-6)
            logits = logits - self.temperature * torch.log(-torch.log(uniform))
        hard = torch.zeros_like(logits).scatter_(0, logits.topk(self.n_selected).indices, 1.0)
        if not self.training or self.n_selected == len(logits):
            return hard
        edges = logits.topk(self.n_selected + 1).values[-2:]
        soft = torch.sigmoid((logits - edges.mean()) / self.temperature)
        return hard + (soft - soft.detach())

    @torch.no_grad()
    def start_from_principal_variables(self, standardized: Tensor) -> None:
        r"""Open the gates that a factor model would: greedily, the gene that tells most about all genes.

        With :math:`x=Lf+e`, :math:`L` from the leading principal components and :math:`\mathrm{var}(e_i)=\psi_i`
        what they leave, observing gene :math:`i` shrinks the covariance :math:`M` of the factors by
        :math:`\Delta=ML_i^\top L_iM/(L_iML_i^\top+\psi_i)`; the gene with the largest
        :math:`\mathrm{tr}(L\Delta L^\top)` is taken, and so on. A gene that repeats another then tells little.

        Parameters
        ----------
        standardized
            A sample of cells, shape ``(n_cells, n_genes)``.
        """
        n_factors = min(_FACTORS, *standardized.shape)
        _, singular, components = torch.pca_lowrank(standardized, q=n_factors, center=False, niter=4)
        loadings = (components * singular / len(standardized) ** 0.5).double()
        variance = standardized.double().square().mean(dim=0)
        noise = (variance - loadings.square().sum(dim=1)).clamp_min(1e-6)
        # project once: gains need L'L and, per gene, its loadings under the current covariance of the factors
        gram = loadings.T @ loadings
        covariance = torch.eye(n_factors, dtype=torch.float64, device=loadings.device)
        self.logits.zero_()
        for rank in range(self.n_selected):
            seen = loadings @ covariance
            gain = ((seen @ gram) * seen).sum(dim=1) / ((seen * loadings).sum(dim=1) + noise)
            best = int(gain.masked_fill(self.logits > 0, -torch.inf).argmax())
            direction = seen[best]
            covariance -= torch.outer(direction, direction) / (direction @ loadings[best] + noise[best])
            self.logits[best] = 2.0 - rank / self.n_selected

    @torch.no_grad()
    def selected(self) -> Tensor:
        """Indices of the open gates, ascending."""
        return self.logits.topk(self.n_selected).indices.sort().values
