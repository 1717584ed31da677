"""The call of the product: from labels to signed gene panels."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import _devices, _keys, _labels, _matrix, _records, _tables, _threads, _validate
from .._commit import Results
from .._docs import document
from .._record_kinds import AutoencoderRecord
from ..pp._standardize import compute as standardize
from . import _autoencoder, _cluster
from ._rankers import METHODS
from ._ranking import Network, rank
from ._request import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .._labels import Labels
    from .._matrix import GeneMatrix
    from .._record_kinds import Record
    from ..methods._contrasts import Rest
    from ..methods._perturbation import Weights
    from ..models import Encoder
    from ._request import Request


@document
def explain(
    adata: AnnData,
    groupby: str | None = None,
    *,
    groups: Sequence[str] | str = "all",
    reference: str = "rest",
    rest: Rest = "each",
    contrasts: Sequence[tuple[str, str | Sequence[str]]] | None = None,
    by: str | None = None,
    method: str = "ace",
    use_rep: str = _keys.REP,
    encoder: Any = None,
    n_genes: int | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: object = _matrix.DEFAULT_MASK,
    pts: bool = False,
    weights: Weights = "adaptive",
    alpha: float = 1.0,
    lam: float | None = None,
    beta: float | None = None,
    min_fidelity: float = 0.98,
    batch_key: str | None = None,
    counts_layer: str | None = None,
    key_added: str = _keys.RANKING,
    device: str = "auto",
    rng: int | np.random.Generator = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Explain clusters: which genes, enriched and depleted, make a group what it is.

    For each group :math:`s` and target :math:`t` it finds one small change of the genes, shared by the group's
    cells, that the neuralised clustering assigns to the target,

    .. math:: \min_\delta\;\lVert w\circ\delta\rVert_1+\tfrac{0.3}2\lVert w\circ\delta\rVert^2
       +\lambda\,\overline{\max(0,\ \alpha-2\,m_t(x+\delta))}

    (equation 7 with :math:`-m_t` in the place of :math:`m_s`, so that cells end in :math:`t` and not in a third group,
    and with an elastic net, so that genes that would do nearly as well as another are found too; with two groups
    :math:`m_s=-m_t`, and the hinge is that of equation 7). A gene that has to go down to leave the group is
    enriched in it. Genes are ordered by what each adds to the perturbations towards all targets.

    Whatever is missing runs by itself: standardisation, embedding, and clustering when there are no
    labels. Of an autoencoder, a copy fitted to the labels is explained, and the shared one stays as it is; any other
    encoder is explained as it is.
    **No test is made**: p-values are NaN, and the ranking describes the given clusters, it does not validate them.

    Parameters
    ----------
    %(adata)s
    groupby
        Column of `adata.obs` with the groups. None for `obs['ace_cluster']`, made if it is missing.
    groups
        Groups to explain, or `"all"`.
    reference
        `"rest"`; a group to compare each other group with; or `"nearest"`, to compare each with its closest neighbour,
        the group whose prototype in the latent space (of several, the closest) is the least far, of which
        :func:`ace_scanpy.get.contrasts` says the name. `"nearest"` is for ACE alone, and means a group of that name
        where there is one.
    rest
        Against the rest: `"each"`, one-vs-one with every other group, which tells the group from all of them;
        or `"max"`, equation 8, which leads each cell to whichever group is nearest.
    contrasts
        Pairs to explain in place of `groups` and `reference`, for ACE: `("a", "b")` is what tells a from b,
        `("a", ["b", "c"])` from both, one-vs-one. Each pair has a ranking, called by its group; where
        a group has several, by the pair, as `"a vs b"`, a name that Scanpy's plots of scores and of dots take, but not
        those that look the group up in `adata.obs`.
    by
        Column of `adata.obs`, such as a condition or batch, to explain the groups within each of its levels, by the
        cells of that level alone, for ACE. The encoder, fitted to the labels of all cells, is the same for all levels:
        it may read little of a gene that marks a group in one level only.
        Each level has an entry of its own, `adata.uns[f'{key_added}_{level}']`, and :func:`ace_scanpy.get.levels` says
        which genes differ.
    method
        `"ace"`, or one of the methods it is compared with, all written in the same layout (see Notes): `"deseq2"`,
        `"jsd"`, `"gce"`, `"grs"`, `"smoothgrad"` or `"shap"`. An argument that a method has no use for is refused.
    use_rep
        Embedding with an encoder, from :func:`ace_scanpy.tl.embed`, or a PCA of :func:`scanpy.pp.pca`, which needs
        none; for ACE, SmoothGrad and SHAP.
    encoder
        A torch module or callable of your own, where `use_rep` is made of one: it has to be passed again after
        `adata` was read from a file. Where `use_rep` does not exist yet, it is made by `encoder`, as
        :func:`ace_scanpy.tl.embed` does; there it may also be a trained `SCVI` or `SCANVI` model, which is not needed
        again.
    n_genes
        Genes to list per group; None for all.
    %(layer)s
    %(use_raw)s
    %(mask_var)s
        Where the encoder exists already, the default is the encoder's own mask.
    pts
        Also store the fraction of cells that express each gene, as Scanpy does.
    weights
        `"adaptive"`, :math:`w_i=1/(|\bar x_{ti}-\bar x_{si}|+0.3)`, makes changes cheap where the groups do
        differ; `"uniform"` as in the paper.
    alpha
        Margin by which cells pass the boundary, in logits.
    lam
        :math:`\lambda`; None for the smallest of a path that flips 95 % of the cells, contrast by contrast.
    beta
        :math:`\beta` of the soft assignment; None for one over the mean squared distance of cells to their prototype,
        of several the nearest.
    min_fidelity
        Share of the cells, from 0 to 1, whose neuralised assignment should be their label. Where the means of the
        groups give less, as for Leiden clusters of a PCA, which are not round, groups have up to 10 prototypes each
        (:func:`ace_scanpy.models.neuralize`). 0 for the means whatever they give, as in the paper.
    %(batch_key)s
    counts_layer
        Layer with counts, for `"deseq2"`.
    key_added
        Entry of `adata.uns` for the ranking.
    %(device)s
    %(rng)s
    %(copy)s

    Returns
    -------
    None, or the copy. Sets `adata.uns[key_added]`, in the layout of :func:`scanpy.tl.rank_genes_groups`, with one field
    per group in each of:

    `names` : object, `scores` : float32
        Genes, and signed scores: positive for enriched, falling in size, of sum one; exactly 0 where
        :math:`\delta=0`, such genes ordered by the gradient. Equal scores of other methods are ordered by the size of
        the fold change.
    `logfoldchanges` : float32
        By Scanpy's formula, from the matrix used; from `raw` when that has negative values.
    `pvals`, `pvals_adj` : float64
        NaN, but for `"deseq2"`.
    `enriched` : bool, `delta` : float32
        Direction, and mean perturbation in units of the gene's scale. Methods without directions have no `enriched`,
        and only ACE has a `delta` that is not NaN.
    `fidelity`, `flip_rate` : float32, `panel_size`, `n_cells` : int64
        One row: share of the group's cells whose neuralised assignment is their label, of more than 16,384 cells in all
        as a sample of them shows it; share of 60 sampled cells
        that :math:`\delta` moves (fewer where there are more than 32 groups, down to 20); genes enough to move 95 % of
        them in every contrast (0: none are); cells. Without a network `fidelity` is NaN, without a perturbation
        `flip_rate` is NaN and `panel_size` 0.
    `contrast_target`, `contrast_rank` : int32, `contrast_delta` : float32
        Of ACE, but for equation 8, each contrast by itself, as :func:`ace_scanpy.get.contrasts` reads it: a row for
        each gene that is changed, with the number of the target (-1 in rows that fill up), the gene's row in `names`
        and the change.
    `contrast_source` : int32
        One row: the number of the group itself.
    `contrast_flip_rate`, `contrast_size`, `contrast_distance` : float32
        A field per group that there is, whose place is its number, and a row per ranking: share of the cells that the
        contrast moves, sum of its absolute changes, distance of the prototypes, of several that of the closest two.
    `prototypes` : float32, `n_prototypes` : int64
        Of methods with a network: a field per group that there is, with the latent coordinates of its prototypes one
        after the other (NaN fills up), and how many they are.
    `params` : dict
        The method, its settings and the values chosen (`lam`: the largest used). `reference` is `"nearest"` or
        `"targets"` where groups are compared with groups of their own; `by` and `level` say what it is within. With a
        network, `held_out_fidelity` is the share of cells, of a quarter that the prototypes had not seen, that are
        assigned their label; None where the means were enough, which were not fitted to that. `labels` and
        `encoder` are fingerprints of the grouping and of the encoder.

    Also what was missing: the fields of :func:`~ace_scanpy.tl.embed` and :func:`~ace_scanpy.tl.cluster`. The copy
    fitted to the labels is kept in `adata.uns['ace'][use_rep]['fits']`. A `groupby` column that is not categorical
    becomes so.

    Raises
    ------
    KeyError
        For a column, layer, mask or embedding that does not exist; available ones are listed.
    ValueError
        For an unknown group, reference, method or other choice; an argument that is not the method's; fewer than two
        groups, or in a level of `by`; a contrast of a group with itself or given twice; NaN, infinity or raw counts;
        counts that are none; an encoder that does not fit the matrix asked for.
    ImportError
        When the method needs a package of the extra `methods` that is not installed.

    Notes
    -----
    Methods without an encoder train none, and need `groupby`. The six are those of section 4.2 of the paper:

    `"deseq2"`
        Signed Wald statistics of a negative binomial model (PyDESeq2), one fit for all groups, with p-values; the
        group against the mean of the others. At most 3,000 cells and 8 million counts are fitted, sampled by group.
        `sc.settings.n_jobs` processes. P-values after clustering the same cells are too small.
    `"jsd"`
        Jensen-Shannon specificity of the group means, in [0, 1]. It knows presence only, so no gene is called depleted.
    `"gce"`
        Transitive group translations (Plumb et al. 2020) on principal components: the mean size over targets.
    `"grs"`
        Gene relevance (Angerer et al. 2020), without direction, from `uns['neighbors']` and `obsm['X_diffmap']` where
        they are there; against a reference, from the diffusion map of the two groups alone.
    `"smoothgrad"`, `"shap"`
        Smoothed and expected gradients (Captum) of the group's logit :math:`m_s`, or :math:`m_s-m_t` against a
        reference, through the encoder that ACE explains, over 100 cells of the group.

    Examples
    --------
    >>> import ace_scanpy as ace
    >>> import scanpy as sc
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> ace.tl.explain(adata, "bulk_labels")
    >>> ace.get.panel(adata, "CD19+ B", size=3)["names"].tolist()  # doctest: +SKIP
    >>> ace.tl.explain(adata, "bulk_labels", method="jsd", use_raw=True, key_added="jsd")
    >>> len(ace.get.panel(adata, "CD19+ B", size=3, key="jsd"))
    3
    """
    _validate.writable(adata, copy=copy)
    request = check(
        adata,
        {name: parameter.default for name, parameter in inspect.signature(explain).parameters.items()},
        groupby=groupby,
        groups=groups,
        reference=reference,
        rest=rest,
        contrasts=contrasts,
        by=by,
        method=method,
        use_rep=use_rep,
        encoder=encoder,
        n_genes=n_genes,
        layer=layer,
        use_raw=use_raw,
        mask_var=mask_var,
        pts=pts,
        weights=weights,
        alpha=alpha,
        lam=lam,
        beta=beta,
        min_fidelity=min_fidelity,
        batch_key=batch_key,
        counts_layer=counts_layer,
        key_added=key_added,
        device=_devices.choose(device),
        seed=_validate.seed(rng),
    )
    adata = adata.copy() if copy else adata
    _compute(adata, request).write(adata)
    return adata if copy else None


@_threads.as_set()
def _compute(adata: AnnData, request: Request) -> Results:
    """Run what is missing, then the method; everything to be written."""
    results = request.made or Results()
    record, matrix, labels = request.record, request.matrix, request.labels
    everything = matrix.with_genes(np.arange(len(matrix.var_names)))
    # first, because it refuses NaN outside the mask too
    sums = None if labels is None else _matrix.group_sums(everything, labels.codes, labels.n_groups)
    if record is None and METHODS[request.method].needs_encoder:
        made, record = _autoencoder.compute(
            adata,
            matrix,
            _autoencoder.Settings(),
            request.batch_key,
            request.batch,
            None,
            request.device,
            request.seed,
            request.use_rep,
        )
        results.merge(made)
        matrix = matrix.with_genes(matrix.var_names.get_indexer(pd.Index(record.genes)))
    if labels is None:
        assert record is not None  # without an encoder `check` asks for labels
        made_here = results.fields["obsm"].get(request.use_rep)
        latent = _records.latent(adata, request.use_rep) if made_here is None else made_here
        made = _cluster.compute(adata, record, latent, None, request.use_rep, _keys.CLUSTER, request.seed)
        results.merge(made)
        labels = _labels.from_column(made.fields["obs"][_keys.CLUSTER], _keys.CLUSTER)
    elif not hasattr(column := _tables.column(adata.obs, labels.key), "cat"):
        results.add("obs", labels.key, _labels.as_categorical(column))
    if record is None:
        _, *scales = standardize(adata, matrix)
        network = None
    else:
        cells = record.cells(adata, matrix)
        encoder, fingerprint = _explained(adata, cells, record, labels, request, results)
        network = Network(encoder, fingerprint, cells)
        scales = [encoder.mean.cpu().numpy(), encoder.scale.cpu().numpy()]
    for part in request.parts(labels):
        known = sums if part.labels is labels else None
        results.add("uns", part.key, rank(adata, request, part, matrix, known, (scales[0], scales[1]), network))
    return results


def _explained(
    adata: AnnData, cells: GeneMatrix, record: Record, labels: Labels, request: Request, results: Results
) -> tuple[Encoder, str]:
    """The encoder that is explained for these labels, and its fingerprint; a copy that is fitted goes to `results`."""
    digest = _records.digest(labels.codes)
    encoder = record.explained(labels.key, digest)
    if encoder is None:
        assert isinstance(record, AutoencoderRecord)  # the only kind with copies
        model = _autoencoder.fit(adata, cells, record, labels, request.device)
        results.records[request.use_rep] = record.with_fit(labels.key, digest, model)
        record = AutoencoderRecord.from_stored(results.records[request.use_rep])
        encoder = model.encoder
    return encoder.to(request.device), _records.explained_fingerprint(record, labels)
