"""docrag remove: forget a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import IndexOption, JsonOption, print_json, results


def remove(
    file: Annotated[Path, typer.Argument(help="The path as ingested.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a file; the file itself stays where it is."""
    from docrag.index.index import Index
    from docrag.settings import load_settings

    with Index.open(settings=load_settings(index=index), create=False) as opened:
        pages = opened.remove(file)
    if as_json:
        print_json({"file": str(file), "status": "removed", "pages": pages, "error": None})
    else:
        results.print(f"removed {file}: {pages} pages", soft_wrap=True)
