"""Resident memory of this process, in MiB."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")


def _field(name: str) -> float | None:
    """A field of `/proc/self/status`; None where there is no such file."""
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def resident() -> float:
    """What is resident now."""
    now = _field("VmRSS")
    return peak() if now is None else now


def peak() -> float:
    """The most that was resident since `reset_peak`; where that does nothing, since the start of the process."""
    most = _field("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 if most is None else most


def reset_peak() -> None:
    """Start to look for the peak anew (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
