"""Packages that only some methods need."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, method: str) -> Any:
    """The module; where its package is not installed, an error that says how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there, and lacks something of its own
        msg = f'`method`={method!r} needs the package {package!r}. Install it: pip install "ace_scanpy[methods]"'
        raise ImportError(msg, name=package) from error
