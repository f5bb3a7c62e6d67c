"""docrag models: which encoders there are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated

import typer

from docrag.cli.console import JsonOption, print_json, results

Row = Mapping[str, str | int]


def models(
    name: Annotated[
        str | None, typer.Argument(help="One model, by any name: a checkpoint, a directory.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the encoders that --late, --image and --text take, by the library that reads them, and why."""
    from docrag.encode.registry import describe, list_models

    rows = [describe(name)] if name else list_models()
    if as_json:
        print_json({"models": rows})
        return
    for (library, why), group in groupby(rows, lambda row: (row["library"], row["why"])):
        results.print(f"{library}: {why}", style="bold", soft_wrap=True)
        for row in group:
            results.print(line(row), soft_wrap=True)
    if not name:
        results.print("any other checkpoint: --late, --image or --text DIRECTORY or organisation/model")


def line(row: Row) -> str:
    """Name, option, size, licence and checkpoint of a model."""
    if "unavailable" in row:
        return f"  {row['name']:<27} cannot be used: {row['unavailable']}"
    size = f"{row.get('vectors') or '':>5} x {row['dim']}" if row.get("vectors") else f"{'':>8}{row['dim']}"
    return f"  {row['name']:<27} {row['option']:<8} {size:<13} {row['licence']:<26} {row['model']}"
