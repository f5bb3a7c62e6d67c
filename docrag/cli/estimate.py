"""docrag estimate: what an index will take, before anything is ingested."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docrag.cli.console import SOME_FAILED, errors, print_json, results
from docrag.cli.options import JsonOption, VectorOptions, refuse
from docrag.errors import SettingsError

if TYPE_CHECKING:
    from docrag.operations.estimate import Estimate


def estimate(
    vectors: VectorOptions,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH...]", help="Files and folders whose pages are counted."),
    ] = None,
    pages: Annotated[int | None, typer.Option(min=1, help="Number of pages, instead of files.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate disk space, memory and search time for an index of these pages, without loading any model."""
    from docrag.operations.estimate import count_pages, estimate_for

    if paths and pages is not None:
        raise SettingsError("both files and --pages were given", "give files and folders, or --pages N")
    if not paths and pages is None:
        raise SettingsError("the number of pages is missing", "give files and folders, or --pages N")
    settings = vectors.settings()
    counted, unreadable = count_pages(paths) if paths else (pages or 0, [])
    estimated = estimate_for(settings, counted)
    if estimated.shape.needs == "words":
        refuse(
            {"--max-patches": vectors.max_patches},
            f"on {estimated.shape.model}, which embeds words and no patches",
            "choose a --late model that sees page images",
        )
        vectors.note_if_not_inked("all")
    if as_json:
        print_json({**estimate_json(estimated), "refused": unreadable})
    else:
        print_estimate(estimated)
    for line in unreadable:
        errors.print(f"not counted: {line}")
    if unreadable:
        raise typer.Exit(SOME_FAILED)


def estimate_json(estimated: Estimate) -> dict[str, object]:
    """The estimate as JSON, with totals."""
    disk, memory = dict(estimated.disk), dict(estimated.memory)
    return {
        **asdict(estimated),
        "disk": {**disk, "total": sum(disk.values())},
        "memory": {**memory, "total": sum(memory.values())},
        "limits": [{**asdict(limit), "ok": limit.ok} for limit in estimated.limits],
    }


def print_estimate(estimated: Estimate) -> None:
    """The estimate for a person: a line for each resource and each limit."""
    shape = estimated.shape
    results.print(
        f"pages    {estimated.pages:,} by {shape.model}, {shape.vectors} vectors of {shape.dim} each"
    )
    results.print(f"         ({shape.source})", soft_wrap=True)
    for name, sizes in (("on disk", estimated.disk), ("memory", estimated.memory)):
        parts = ", ".join(f"{part} {readable(size)}" for part, size in sizes.items())
        results.print(f"{name:<8} {readable(sum(sizes.values()))}: {parts}", soft_wrap=True)
    results.print(f"search   {estimated.search_ms:.0f} ms of CPU time, divided by the cores that are free")
    requests = ", ".join(f"{pages} by {wire}" for wire, pages in estimated.pages_per_request.items())
    results.print(f"server   pages in a request of 8 MiB: {requests}", soft_wrap=True)
    for limit in estimated.limits:
        verdict = "ok  " if limit.ok else "OVER"
        advice = "" if limit.ok else f": {limit.advice}"
        results.print(
            f"{verdict}     {limit.name}: {limit.value:,} of {limit.most:,}{advice}", soft_wrap=True
        )


def readable(size: float) -> str:
    """A size in bytes for people.

    >>> readable(1536), readable(3 * 2**30)
    ('2 KiB', '3.0 GiB')
    """
    if size < 2**20:
        return f"{size / 2**10:.0f} KiB"
    return f"{size / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
