"""docrag models: which encoders there are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated

import typer

from docrag.cli.console import print_json, results
from docrag.cli.options import JsonOption

Row = Mapping[str, str | int]


def models(
    name: Annotated[
        str | None,
        typer.Argument(help="Describe one model: a name of the list, a checkpoint or a directory."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the encoders for --late, --image and --text, grouped by the library that runs them."""
    from docrag.encode.registry import checkpoint_libraries, describe, list_models
    from docrag.encode.runtime.extras import INSTALL, has_torch

    rows = [describe(name)] if name else list_models()
    if as_json:
        print_json({"models": rows})
        return
    for (library, why), group in groupby(rows, lambda row: (row["library"], row["why"])):
        results.print(f"{library}: {why}", style="bold", soft_wrap=True)
        for row in group:
            results.print(model_line(row), soft_wrap=True)
    if not name:
        results.print("any other checkpoint: --late, --image or --text DIRECTORY or organisation/model")
    libraries = [library for library in checkpoint_libraries() if library in {row["library"] for row in rows}]
    if libraries and not has_torch():
        results.print(f"not installed: {', '.join(libraries)}; {INSTALL}", soft_wrap=True)


def model_line(row: Row) -> str:
    """Name, option, size, licence and checkpoint of a model."""
    if "unavailable" in row:
        return f"  {row['name']:<27} cannot be used: {row['unavailable']}"
    size = f"{row['vectors']:>5} x {row['dim']}" if row.get("vectors") else f"{'':>8}{row['dim']}"
    return f"  {row['name']:<27} {row['option']:<8} {size:<13} {row['licence']:<26} {row['model']}"
