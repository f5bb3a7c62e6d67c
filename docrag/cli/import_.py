"""docrag import: an index from the files of an export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import errors, print_json, read_settings, results
from docrag.cli.monitor import Monitor
from docrag.cli.options import DatatypeOption, ImageBaseUrlOption, IndexOption, JsonOption


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished export.")],
    index: IndexOption = None,
    datatype: DatatypeOption = None,
    image_base_url: ImageBaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an index from an export, or bring one up to date with it; no model is needed."""
    from docrag.operations.transfer import import_index

    settings = read_settings(index=index, datatype=datatype, image_base_url=image_base_url)
    monitor = Monitor()
    with monitor.bar:
        imported = import_index(
            folder,
            settings.index,
            monitor,
            datatype=settings.datatype,
            image_base_url=settings.image_base_url,
        )
    if as_json:
        print_json({"index": settings.index, **asdict(imported)})
    else:
        captions = f", {imported.captions} captions new" if imported.captions else ""
        results.print(
            f"imported {imported.pages} pages of {imported.parts} files into {settings.index}, "
            f"{imported.written} written{captions}",
            soft_wrap=True,
        )
        if imported.addressed:
            results.print(f"{imported.addressed} pages now have the new URL of their images")
    for reason in imported.left_out:
        errors.print(f"not imported: {reason}")
