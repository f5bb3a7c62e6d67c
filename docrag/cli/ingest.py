"""docrag ingest: bring an index up to date with files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import progress

from docrag.cli.console import SOME_FAILED, IndexOption, JsonOption, errors, print_json, results
from docrag.cli.options import (
    AgainOption,
    BatchSizeOption,
    CaptionModelOption,
    CaptionOption,
    CaptionUrlOption,
    DatatypeOption,
    DeviceOption,
    DtypeOption,
    ImageBaseUrlOption,
    ImageOption,
    KeepPatchesOption,
    LateOption,
    MaxPatchesOption,
    PageTimeoutOption,
    PasswordOption,
    PoolingOption,
    PruneOption,
    ResolutionOption,
    TextOption,
)
from docrag.ingest.report import FileReport, IngestReport, Progress


class Monitor:
    """Shows what an ingest reports: a bar on stderr, and with --json a line on stdout for each file."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f} pages"),
            progress.TextColumn("{task.fields[speed]}"),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._task = self.bar.add_task("reading", total=0, speed="")

    def __call__(self, event: Progress | FileReport) -> None:
        """Show one event."""
        if isinstance(event, Progress):
            elapsed = self.bar.tasks[self._task].elapsed or 0.0
            speed = f"{event.pages / elapsed:.1f} pages/s" if elapsed else ""
            name = Path(event.file).name[:40]
            self.bar.update(
                self._task, description=name, completed=event.pages, total=event.known, speed=speed
            )
        elif self._as_json:
            print_json(event.as_json())


def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="PDFs, images and folders of them.")],
    index: IndexOption = None,
    late: LateOption = None,
    image: ImageOption = None,
    text: TextOption = None,
    caption: CaptionOption = None,
    caption_url: CaptionUrlOption = None,
    caption_model: CaptionModelOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: BatchSizeOption = None,
    resolution: ResolutionOption = None,
    max_patches: MaxPatchesOption = None,
    keep_patches: KeepPatchesOption = None,
    datatype: DatatypeOption = None,
    pooling: PoolingOption = None,
    image_base_url: ImageBaseUrlOption = None,
    prune: PruneOption = False,
    again: AgainOption = False,
    password: PasswordOption = None,
    page_timeout: PageTimeoutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read, embed and store every page; files that did not change cost nothing."""
    from docrag.index.index import Index
    from docrag.settings import Settings, load_settings

    given = {name: value for name, value in context.params.items() if name in Settings.model_fields}
    settings = load_settings(**given)
    monitor = Monitor(as_json=as_json)
    with Index.open(settings=settings) as opened, monitor.bar:
        report = opened.ingest(paths, prune=prune, again=again, passwords=password or [], listener=monitor)
    if as_json:
        print_json({"summary": report.summary()})
    else:
        _print_report(report)
    if report.failures:
        raise typer.Exit(SOME_FAILED)


def _print_report(report: IngestReport) -> None:
    counts = report.summary()
    parts = [
        f"{counts[status]} {status}" for status in ("added", "updated", "unchanged", "removed", "failed")
    ]
    speed = f", {report.pages} pages in {report.seconds:.1f} s ({counts['pages_per_second']:.1f} pages/s)"
    results.print("documents: " + ", ".join(parts) + (speed if report.pages else ""), soft_wrap=True)
    if report.addressed:
        results.print(f"{report.addressed} pages name the new address of their images")
    for file in report.noted:
        errors.print(f"{'note':<9} {file.file}: {file.note}")
    for file in report.failures:
        errors.print(f"{file.status:<9} {file.file}: {file.error}")
        if file.hint:
            errors.print(f"{'':<9} {file.hint}", style="dim")
