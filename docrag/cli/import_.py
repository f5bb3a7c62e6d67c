"""docrag import: an index from the files of an export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import IndexOption, JsonOption, errors, print_json, results
from docrag.cli.ingest import Monitor
from docrag.cli.options import DatatypeOption, ImageBaseUrlOption


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished export.")],
    index: IndexOption = None,
    datatype: DatatypeOption = None,
    image_base_url: ImageBaseUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an index from an export, or bring one up to date with it; needs no model."""
    from docrag.operations.transfer import import_index
    from docrag.settings import load_settings

    settings = load_settings(index=index, datatype=datatype, image_base_url=image_base_url)
    monitor = Monitor(as_json=False)
    with monitor.bar:
        done = import_index(
            folder,
            settings.index,
            monitor,
            datatype=settings.datatype,
            image_base_url=settings.image_base_url,
        )
    if as_json:
        print_json({"index": settings.index, **asdict(done)})
    else:
        line = (
            f"imported {done.pages} pages of {done.parts} files into {settings.index}, {done.written} written"
        )
        results.print(line + (f", {done.captions} captions new" if done.captions else ""), soft_wrap=True)
        if done.addressed:
            results.print(f"{done.addressed} pages name the new address of their images")
    for left in done.left_out:
        errors.print(f"not taken over: {left}")
