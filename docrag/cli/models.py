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
    for column in ("name", "for", "kind", "dim", "looks at", "library", "licence", "model"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            *(
                str(row[key])
                for key in ("name", "option", "kind", "dim", "needs", "library", "licence", "model")
            )
        )
    results.print(table)
