"""What every benchmark writes: its arguments, a header that says where figures come from, Markdown tables."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import ace_scanpy as ace

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = (
    "scanpy",
    "anndata",
    "numpy",
    "scikit-learn",
    "torch",
    "pydeseq2",
    "captum",
    "cosg",
    "nsforest",
    "illico",
    "foolbox",
)


def parser(description: str | None) -> argparse.ArgumentParser:
    """`--data` and `--out`, which every command has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, default=os.environ.get("ACE_DATA_DIR"))
    made.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return made


def parse(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; the folder of results exists afterwards."""
    given = made.parse_args()
    if given.data is None:
        made.error("give --data or set ACE_DATA_DIR")
    given.data = Path(given.data)
    given.out.mkdir(parents=True, exist_ok=True)
    return given


def versions(also: tuple[str, ...] = ()) -> str:
    """Versions of what took part; a package that is absent is said to be."""
    found = []
    for package in (*PACKAGES, *also):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def header(command: str, seeds: str, seconds: float, also: tuple[str, ...] = ()) -> str:
    """Machine, versions (`also` of these packages), seeds and time, as one paragraph."""
    return (
        f"`{command}` on {platform.machine()}, {os.cpu_count()} cores, "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} thread(s) per process, Python {platform.python_version()}, "
        f"ace_scanpy {ace.__version__}, {versions(also)}. Seeds: {seeds}. {seconds:.0f} s in all."
    )


def markdown(table: pd.DataFrame, digits: int = 3) -> str:
    """The columns of a table as Markdown; no index."""

    def cell(value: object) -> str:
        text = f"{value:.{digits}f}" if isinstance(value, float) else str(value)
        return ("" if text == "nan" else text).replace("|", "\\|")

    lines = ["| " + " | ".join(cell(str(column)) for column in table.columns) + " |", "|---" * table.shape[1] + "|"]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines)


def write(folder: Path, name: str, parts: list[str]) -> None:
    """Write `name`.md and print it."""
    text = "\n\n".join(parts)
    (folder / f"{name}.md").write_text(text + "\n")
    print(text, flush=True)
