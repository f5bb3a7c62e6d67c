"""docrag label: which of some labels each page looks like."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from docrag.cli.console import SOME_FAILED, errors, print_json, results
from docrag.cli.options import (
    BatchSizeOption,
    DeviceOptions,
    IndexOption,
    JsonOption,
    MaxPatchesOption,
    PasswordOption,
    refuse,
)
from docrag.errors import DocumentError

if TYPE_CHECKING:
    from docrag.search.label import LabelledPage


def label(
    devices: DeviceOptions,
    labels: Annotated[str, typer.Option(help='The labels, separated by commas: "invoice,chart,photograph".')],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH...]",
            help="PDFs, images, and folders of them; without any, all pages of the index.",
        ),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Image encoder (default: that of the index).")] = None,
    template: Annotated[
        str, typer.Option(help="Sentence that each label is put into, such as 'a scan of a {}'.")
    ] = "{}",
    index: IndexOption = None,
    batch_size: BatchSizeOption = None,
    max_patches: MaxPatchesOption = None,
    password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print which of some labels each page looks like, without training (zero-shot classification)."""
    from docrag.index.index import Index
    from docrag.operations.label import label_files

    if not paths:
        refuse(
            {"--batch-size": batch_size, "--password": password},
            "on pages that are in the index already",
            "name files to label",
        )
    settings = devices.settings(index=index, image=image, batch_size=batch_size, max_patches=max_patches)
    names = labels.split(",")
    failed: list[str] = []

    def report_failure(file: str, error: DocumentError) -> None:
        failed.append(file)
        errors.print(f"failed    {file}: {error}")

    if paths:
        labelled = label_files(
            paths,
            names,
            template=template,
            passwords=password or [],
            settings=settings,
            refused=report_failure,
        )
        print_labels(labelled, as_json=as_json)
    else:
        with Index.open(settings=settings, create=False) as opened:
            print_labels(opened.label(names, template=template), as_json=as_json)
    if failed:
        raise typer.Exit(SOME_FAILED)


def print_labels(pages: Iterable[LabelledPage], *, as_json: bool) -> None:
    """One line a page: JSON as soon as it is labelled, else a table with the most likely label."""
    if as_json:
        for page in pages:
            probabilities = {name: round(probability, 6) for name, probability in page.labels.items()}
            print_json({"file": page.file, "page": page.page, "labels": probabilities})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("file", "page", "label", "probability"):
        table.add_column(column)
    for page in pages:
        name, probability = next(iter(page.labels.items()))
        table.add_row(Path(page.file).name, str(page.page), name, f"{probability:.3f}")
    results.print(table)
