"""docrag import: an index from the files of an export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import IndexOption, JsonOption, print_json, results
from docrag.cli.ingest import Monitor
from docrag.cli.options import DatatypeOption


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A finished export.")],
    index: IndexOption = None,
    datatype: DatatypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an index from an export, or bring one up to date with it; needs no model."""
    from docrag.moving import import_index
    from docrag.settings import load_settings

    settings = load_settings(index=index, datatype=datatype)
    monitor = Monitor(as_json=False)
    with monitor.bar:
        done = import_index(folder, settings.index, monitor, datatype=settings.datatype)
    if as_json:
        print_json({"index": settings.index, **asdict(done)})
    else:
        line = (
            f"imported {done.pages} pages of {done.parts} files into {settings.index}, {done.written} written"
        )
        results.print(line, soft_wrap=True)
