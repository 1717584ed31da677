"""Which device torch computes on."""

from __future__ import annotations

import torch


def choose(device: str | torch.device) -> torch.device:
    """A torch device from a user's `device`; raises when it is unknown or not there."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kinds = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    available = ["auto", *(kind for kind, there in kinds.items() if there)]
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        msg = f"`device`={device!r} is not known. Available devices: {available}."
        raise ValueError(msg) from error
    if found.type not in available:
        msg = f"`device`={device!r} is not available on this machine. Available devices: {available}."
        raise ValueError(msg)
    return found
