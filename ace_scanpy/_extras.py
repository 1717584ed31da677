"""Packages that only some functions need."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, needed_by: str, extra: str) -> Any:
    """The module; where its package is not installed, an error that says how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there, and lacks something of its own
        msg = f'{needed_by} needs the package {package!r}. Install it: pip install "ace_scanpy[{extra}]"'
        raise ImportError(msg, name=package) from error
