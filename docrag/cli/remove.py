"""docrag remove: take a file out of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import print_json, read_settings, results
from docrag.cli.options import IndexOption, JsonOption


def remove(
    file: Annotated[Path, typer.Argument(help="The path as it was ingested.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a file from the index; the file itself is not touched."""
    from docrag.index.index import Index

    with Index.open(settings=read_settings(index=index), create=False) as opened:
        pages = opened.remove(file)
    if as_json:
        print_json({"file": str(file), "status": "removed", "pages": pages, "error": None})
    else:
        results.print(f"removed {file}: {pages} pages", soft_wrap=True)
