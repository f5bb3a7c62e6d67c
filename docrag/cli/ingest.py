"""docrag ingest: bring an index up to date with files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from docrag.cli.console import SOME_FAILED, errors, print_json, results
from docrag.cli.monitor import Monitor
from docrag.cli.options import BuildOptions, ImageBaseUrlOption, IndexOption, JsonOption, PasswordOption
from docrag.errors import SettingsError
from docrag.ingest.report import STATUSES, IngestReport


def ingest(
    build: BuildOptions,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...",
            help="PDFs, images, and folders of them. With --image-base-url none is needed.",
        ),
    ] = None,
    index: IndexOption = None,
    image_base_url: ImageBaseUrlOption = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove files of these folders that no longer exist.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Also read files that did not change, for example for new captions."),
    ] = False,
    password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read, embed and store every page; files that did not change are skipped."""
    from docrag.index.index import Index

    if not paths and image_base_url is None:
        raise SettingsError(
            "no PATH is given", "name files or folders; only with --image-base-url none is needed"
        )
    settings = build.settings(index=index, image_base_url=image_base_url)
    monitor = Monitor(as_json=as_json)
    with Index.open(settings=settings, create=bool(paths)) as opened, monitor.bar:
        build.note_if_not_inked(opened.fingerprint["keep_patches"])
        with monitor.noting_what_is_stored():
            report = opened.ingest(
                paths or [], prune=prune, again=again, passwords=password or [], listener=monitor
            )
        dashboard = opened.dashboard
    if as_json:
        print_json({"summary": report.summary()})
    else:
        print_report(report)
        if dashboard:
            errors.print(f"dashboard: {dashboard}")
    if report.failures:
        raise typer.Exit(SOME_FAILED)


def print_report(report: IngestReport) -> None:
    """A line of counts on stdout, and a line on stderr for each file that failed or needs attention."""
    summary = report.summary()
    shown = [status for status in STATUSES if status != "adopted" or summary["adopted"]]
    counts = ", ".join(f"{summary[status]} {status}" for status in shown)
    speed = f", {report.pages} pages in {report.seconds:.1f} s ({summary['pages_per_second']:.1f} pages/s)"
    results.print(f"documents: {counts}" + (speed if report.pages else ""), soft_wrap=True)
    if report.addressed:
        results.print(f"{report.addressed} pages now have the new URL of their images")
    for path in report.unlisted:
        errors.print(f"{'note':<9} {path}: it is in the index, and no file here belongs to it")
        errors.print(f"{'':<9} docrag remove takes it out, and an ingest of the file adopts it", style="dim")
    for file in report.noted:
        errors.print(f"{'note':<9} {file.file}: {file.note}")
    for file in report.failures:
        errors.print(f"{file.status:<9} {file.file}: {file.error}")
        if file.hint:
            errors.print(f"{'':<9} {file.hint}", style="dim")
