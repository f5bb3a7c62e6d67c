"""docrag export: an index as plain files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import print_json, read_settings, results
from docrag.cli.monitor import Monitor
from docrag.cli.options import IndexOption, JsonOption


def export(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A folder that is empty, does not exist yet, or holds an earlier export of the index.",
        ),
    ],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write pages, vectors and images into a folder of npz files; only parts that changed are written."""
    from docrag.operations.transfer import export_index

    settings = read_settings(index=index)
    monitor = Monitor()
    with monitor.bar:
        exported = export_index(settings.index, folder, monitor)
    if as_json:
        print_json({"folder": str(folder), **asdict(exported)})
        return
    captions = f", {exported.captions} captions" if exported.captions else ""
    results.print(
        f"exported {exported.pages} pages in {exported.parts} files to {folder}, "
        f"{exported.written} of them written{captions}",
        soft_wrap=True,
    )
