"""docrag label: which of some labels each page looks like."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from docrag.cli.console import SOME_FAILED, IndexOption, JsonOption, errors, print_json, results
from docrag.cli.options import (
    BatchSizeOption,
    DeviceOption,
    DtypeOption,
    MaxPatchesOption,
    PasswordOption,
)
from docrag.errors import DocumentError

if TYPE_CHECKING:
    from docrag.search.label import LabelledPage


def label(
    labels: Annotated[str, typer.Option(help='What a page may be, with commas: "invoice,chart,photograph".')],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH...]", help="PDFs, images and folders; none: all pages of the index."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image encoder [the index's].")] = None,
    template: Annotated[str, typer.Option(help="How a label is put, such as 'a scan of a {}'.")] = "{}",
    index: IndexOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: BatchSizeOption = None,
    max_patches: MaxPatchesOption = None,
    password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which of some labels each page looks like, without training (zero-shot)."""
    from docrag.index.index import Index
    from docrag.operations.label import label_files
    from docrag.settings import load_settings

    settings = load_settings(
        index=index, image=image, device=device, dtype=dtype, batch_size=batch_size, max_patches=max_patches
    )
    asked = labels.split(",")
    failed: list[str] = []

    def refused(file: str, error: DocumentError) -> None:
        failed.append(file)
        errors.print(f"failed    {file}: {error}")

    if paths:
        found = label_files(
            paths, asked, template=template, passwords=password or [], settings=settings, refused=refused
        )
        show(found, as_json=as_json)
    else:
        with Index.open(settings=settings, create=False) as opened:
            show(opened.label(asked, template=template), as_json=as_json)
    if failed:
        raise typer.Exit(SOME_FAILED)


def show(found: Iterable[LabelledPage], *, as_json: bool) -> None:
    """One line a page: JSON as they come, else a table with the most likely label."""
    if as_json:
        for one in found:
            shares = {name: round(share, 6) for name, share in one.labels.items()}
            print_json({"file": one.file, "page": one.page, "labels": shares})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("file", "page", "label", "probability"):
        table.add_column(column)
    for one in found:
        name, share = next(iter(one.labels.items()))
        table.add_row(Path(one.file).name, str(one.page), name, f"{share:.3f}")
    results.print(table)
