"""The networks and the solver, on tensors: nothing here knows of AnnData."""

from __future__ import annotations

from ._autoencoder import Autoencoder, NetworkEncoder
from ._communities import neuralize
from ._contrast import Objective, is_flipped
from ._distill import distill
from ._encoder import AffineEncoder, Encoder
from ._gates import FeatureGates
from ._joint import learn_jointly
from ._layers import rectified_encoder
from ._mmd import mmd
from ._module import ModuleEncoder
from ._perturb import Perturbation, SourceCells, perturb
from ._prototypes import NeuralizedClustering
from ._sampling import encode, minibatches
from ._training import Schedule, fit_labels, from_labels, seeded, train

__all__ = [
    "AffineEncoder",
    "Autoencoder",
    "Encoder",
    "FeatureGates",
    "ModuleEncoder",
    "NetworkEncoder",
    "NeuralizedClustering",
    "Objective",
    "Perturbation",
    "Schedule",
    "SourceCells",
    "distill",
    "encode",
    "fit_labels",
    "from_labels",
    "is_flipped",
    "learn_jointly",
    "minibatches",
    "mmd",
    "neuralize",
    "perturb",
    "rectified_encoder",
    "seeded",
    "train",
]
