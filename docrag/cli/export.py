"""docrag export: an index as plain files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import IndexOption, JsonOption, print_json, results
from docrag.cli.ingest import Monitor


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Empty, not there yet, or an earlier export of the index.")
    ],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write pages, vectors and images into a folder of npz files; what is there already is left alone."""
    from docrag.operations.transfer import export_index
    from docrag.settings import load_settings

    settings = load_settings(index=index)
    monitor = Monitor(as_json=False)
    with monitor.bar:
        done = export_index(settings.index, folder, monitor)
    if as_json:
        print_json({"folder": str(folder), **asdict(done)})
    else:
        line = (
            f"exported {done.pages} pages in {done.parts} files to {folder}, {done.written} of them written"
        )
        results.print(line + (f", {done.captions} captions" if done.captions else ""), soft_wrap=True)
