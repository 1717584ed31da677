"""The kinds of stored encoders, one class each: their fields, and how the network is rebuilt from them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from . import _counts, _keys
from .models import AffineEncoder, Autoencoder, ModuleEncoder, NetworkEncoder, rectified_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from ._matrix import GeneMatrix
    from .models import Encoder

    Weights = Mapping[str, NDArray[np.float32]]


def _widths(widths: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in np.atleast_1d(widths))


@dataclass(frozen=True, kw_only=True)
class Record:
    """What every stored encoder has; the fields are those of `uns["ace"][use_rep]`, with `kind`.

    `genes` are those it reads, in its order; `layer`, `use_raw` and `mask` say of which matrix; `weights` are its
    arrays, `batch_key` the batches it knows of, and `loss` the history of its training, if it was trained here.
    """

    kind: ClassVar[str]
    plain: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "genes": lambda genes: np.array([str(gene) for gene in np.asarray(genes)], dtype=object),
        "n_latent": int,
        "use_raw": bool,
    }
    """How fields that a file may hold as arrays become what they were."""

    genes: NDArray[Any]
    weights: Weights
    n_latent: int
    layer: str | None
    use_raw: bool
    mask: str
    batch_key: str | None = None
    loss: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        """As a dictionary that h5ad and zarr files can hold."""
        return {**asdict(self), "kind": self.kind}

    @classmethod
    def from_stored(cls, entry: Mapping[str, Any]) -> Self:
        """From what `stored` gave, or what a file made of it."""
        fields = {name: value for name, value in entry.items() if name != "kind"}
        return cls(**{name: cls.plain[name](value) if name in cls.plain else value for name, value in fields.items()})

    def again(self, use_rep: str) -> str:
        """The call that makes a new one."""
        return f"ace.tl.embed(adata, encoder={self.kind!r}, key_added={use_rep!r}, ...)"

    def encoder(self) -> Encoder:
        """The network, in evaluation mode."""
        raise NotImplementedError

    def explained(self, groupby: str, digest: str) -> Encoder | None:  # noqa: ARG002
        """What is explained for these labels: the encoder as it is, or its copy fitted to them, if there is one."""
        return self.encoder()

    def explained_weights(self, groupby: str, digest: str) -> Weights | None:  # noqa: ARG002
        """The arrays of that."""
        return self.weights

    def cells(self, adata: AnnData, matrix: GeneMatrix) -> GeneMatrix:  # noqa: ARG002
        """What the encoder reads, cells as those of `matrix`."""
        return matrix


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecord(Record):
    """A trained autoencoder, and its copies that were fitted to labels."""

    kind = "autoencoder"
    plain: ClassVar = {
        **Record.plain,
        "n_hidden": _widths,
        "n_selected": lambda n: None if n is None else int(n),
        "batch_size": int,
        "learning_rate": float,
        "seed": int,
    }

    n_hidden: tuple[int, ...]
    groupby: str | None
    labels: str
    n_selected: int | None
    batch_size: int
    learning_rate: float
    seed: int
    fits: Mapping[str, Any] = field(default_factory=dict)

    def stored(self) -> dict[str, Any]:
        return {**super().stored(), "n_hidden": np.asarray(self.n_hidden)}

    def again(self, use_rep: str) -> str:
        return f"ace.tl.embed(adata, key_added={use_rep!r}, ...)"

    def model(self, weights: Weights | None = None) -> Autoencoder:
        """The network with its decoder; with other `weights`, such as those of a fit, in place of its own."""
        state = tensors(weights or self.weights)
        mean, scale = state["encoder.mean"], state["encoder.scale"]
        model = Autoencoder(mean, scale, n_latent=self.n_latent, n_hidden=self.n_hidden)
        model.load_state_dict(state)
        return model.eval()

    def encoder(self) -> Encoder:
        return self.model().encoder

    def explained(self, groupby: str, digest: str) -> Encoder | None:
        weights = self.explained_weights(groupby, digest)
        return None if weights is None else self.model(weights).encoder

    def explained_weights(self, groupby: str, digest: str) -> Weights | None:
        if self.groupby == groupby and self.labels == digest:
            return self.weights
        fit = self.fits.get(_keys.stored_name(groupby))
        return None if fit is None or str(fit["labels"]) != digest else fit["weights"]

    def with_fit(self, groupby: str, digest: str, model: Autoencoder) -> dict[str, Any]:
        """The stored form with one more fitted copy."""
        fit = {"groupby": groupby, "labels": digest, "weights": weights_of(model)}
        entry = self.stored()
        entry["fits"] = {**self.fits, _keys.stored_name(groupby): fit}
        return entry


@dataclass(frozen=True, kw_only=True)
class PcaRecord(Record):
    """Scanpy's principal components: `weights` hold the loadings and the offset of the projection."""

    kind = "pca"

    def again(self, use_rep: str) -> str:
        return f"ace.tl.embed(adata, encoder='pca', use_rep={use_rep!r})"

    def encoder(self) -> Encoder:
        found = tensors(self.weights)
        return AffineEncoder(found["mean"], found["scale"], found["weight"], found["bias"]).eval()


@dataclass(frozen=True, kw_only=True)
class DistilledRecord(Record):
    """A network trained to reproduce `obsm[distilled]`, and how well it does for cells that it has not seen."""

    kind = "distill"
    plain: ClassVar = {**Record.plain, "n_hidden": _widths, "r2": float, "seed": int}

    distilled: str
    n_hidden: tuple[int, ...]
    r2: float
    seed: int

    def stored(self) -> dict[str, Any]:
        return {**super().stored(), "n_hidden": np.asarray(self.n_hidden)}

    def again(self, use_rep: str) -> str:
        return f"ace.tl.embed(adata, encoder='distill', use_rep={self.distilled!r}, key_added={use_rep!r}, ...)"

    def encoder(self) -> Encoder:
        state = tensors(self.weights)
        encoder = NetworkEncoder(state["mean"], state["scale"], n_hidden=self.n_hidden, n_latent=self.n_latent)
        encoder.load_state_dict(state)
        return encoder.eval()


@dataclass(frozen=True, kw_only=True)
class ScviRecord(Record):
    """The encoder of an scVI or scANVI model, from log(1 + counts) to the latent mean.

    `weights` hold `mean` and `scale` of log(1 + counts), and `weight_0`, `bias_0` and so on, batch normalisation folded
    in. Where the encoder reads the batch, `batches` are the names in obs[batch_key], in the order of their indicators
    behind the genes. `layer` and `use_raw` say which matrix is ranked; the counts are in `counts_layer`.
    """

    kind = "scvi"
    plain: ClassVar = {
        **Record.plain,
        "batches": lambda names: None if names is None else np.array([str(name) for name in names], dtype=object),
        "layer_norm": bool,
    }

    model: str
    counts_layer: str | None
    batches: NDArray[Any] | None
    layer_norm: bool

    def again(self, use_rep: str) -> str:
        return f"ace.tl.embed(adata, encoder=model, key_added={use_rep!r})"

    def encoder(self) -> Encoder:
        found = tensors(self.weights)
        layers = [(found[f"weight_{i}"], found[f"bias_{i}"]) for i in range(len(found) // 2 - 1)]
        return rectified_encoder(found["mean"], found["scale"], layers, layer_norm=self.layer_norm).eval()

    def cells(self, adata: AnnData, matrix: GeneMatrix) -> GeneMatrix:  # noqa: ARG002
        return _counts.choose(
            adata, self.genes, layer=self.counts_layer, batch_key=self.batch_key, batches=self.batches
        )


@dataclass(frozen=True, kw_only=True)
class ModuleRecord(Record):
    """A user's module or callable, which no file can hold: its description, and its latents at two points.

    `weights` hold the mean and scale of the genes and, as `probe`, what the module makes of the mean and of one scale
    above it. By that it is known again when it is passed again.
    """

    kind = "module"

    use_rep: str
    description: str

    def again(self, use_rep: str) -> str:
        return f"ace.tl.embed(adata, encoder=module, key_added={use_rep!r})"

    def encoder(self) -> Encoder:
        if self._fingerprint not in _PASSED:
            msg = (
                f"The encoder {self.use_rep!r} is a module of yours, of which a file holds the description alone: "
                f"{self.description.splitlines()[0]}. Pass it again: "
                f"`ace.tl.explain(adata, ..., use_rep={self.use_rep!r}, encoder=module)`."
            )
            raise ValueError(msg)
        return self._around(_PASSED[self._fingerprint])

    def accept(self, function: Any) -> None:
        """Keep a module that is passed again for this process; raises where it is not the one described."""
        encoder = self._around(function)
        with torch.no_grad():
            probe = encoder(encoder.probes()).numpy()
        expected = self.weights["probe"]
        if probe.shape != expected.shape or not np.allclose(probe, expected, rtol=1e-3, atol=1e-5):
            msg = (
                f"`encoder` gives other latents than the module that {self.use_rep!r} was made with "
                f"({self.description.splitlines()[0]}). `{self.again(self.use_rep)}` makes a new embedding."
            )
            raise ValueError(msg)
        _PASSED.pop(self._fingerprint, None)
        _PASSED[self._fingerprint] = encoder.function
        for oldest in list(_PASSED)[:-_MOST_PASSED]:
            del _PASSED[oldest]

    def _around(self, function: Any) -> ModuleEncoder:
        stored = tensors(self.weights)
        return ModuleEncoder(function, stored["mean"], stored["scale"])

    @property
    def _fingerprint(self) -> str:
        return fingerprint(self.weights, self.description)


_MOST_PASSED = 8
_PASSED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
"""The modules that were passed last in this process, so that they need not be at every call."""

KINDS: dict[str, type[Record]] = {
    record.kind: record for record in (AutoencoderRecord, PcaRecord, DistilledRecord, ScviRecord, ModuleRecord)
}


def fingerprint(weights: Weights, description: str = "") -> str:
    """What tells arrays from others; the same after any file."""
    found = hashlib.sha256(description.encode())
    for name in sorted(weights):
        found.update(np.ascontiguousarray(weights[name], dtype="<f4").tobytes())
    return found.hexdigest()


def weights_of(model: torch.nn.Module) -> dict[str, NDArray[np.float32]]:
    """All parameters and buffers as arrays."""
    return {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}


def tensors(weights: Weights) -> dict[str, torch.Tensor]:
    """Stored arrays as tensors."""
    return {name: torch.tensor(np.asarray(value)) for name, value in weights.items()}
