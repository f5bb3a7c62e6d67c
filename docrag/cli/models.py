"""docrag models: which encoders there are."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from docrag.cli.console import JsonOption, print_json, results


def models(as_json: JsonOption = False) -> None:
    """List the encoders that --late, --image and --text take."""
    from docrag.encode.registry import list_models

    rows = list_models()
    if as_json:
        print_json({"models": rows})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("name", "option", "dim", "vectors", "library", "why", "licence", "model")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in (row for row in rows if "unavailable" not in row):
        table.add_row(*(str(row.get(key, "")) for key in columns))
    results.print(table)
    for row in rows:
        if "unavailable" in row:
            results.print(escape(f"not usable here: {row['name']}: {row['unavailable']}"), soft_wrap=True)
    results.print("any other checkpoint: --late or --image DIRECTORY or organisation/model", soft_wrap=True)
