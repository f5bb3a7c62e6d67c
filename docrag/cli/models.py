"""docrag models: which encoders there are."""

from __future__ import annotations

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
    for row in rows:
        table.add_row(*(str(row.get(key, "")) for key in columns))
    results.print(table)
    results.print("any other checkpoint: --late or --image DIRECTORY or organisation/model", soft_wrap=True)
