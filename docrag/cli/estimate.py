"""docrag estimate: what an index will take, before anything is ingested."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docrag.cli.console import SOME_FAILED, JsonOption, errors, print_json, results
from docrag.cli.options import (
    DatatypeOption,
    ImageOption,
    KeepPatchesOption,
    LateOption,
    MaxPatchesOption,
    PoolingOption,
    TextOption,
)
from docrag.errors import SettingsError

if TYPE_CHECKING:
    from docrag.operations.estimate import Estimate


def estimate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH...]", help="Files and folders whose pages are counted."),
    ] = None,
    pages: Annotated[int | None, typer.Option(min=1, help="How many pages, instead of files.")] = None,
    late: LateOption = None,
    image: ImageOption = None,
    text: TextOption = None,
    max_patches: MaxPatchesOption = None,
    keep_patches: KeepPatchesOption = None,
    datatype: DatatypeOption = None,
    pooling: PoolingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an index of these pages will take on disk, in memory and for a search; reads no weights."""
    from docrag.operations.estimate import count_pages, estimate_for
    from docrag.settings import load_settings

    if (pages is None) == (not paths):
        raise SettingsError("how many pages?", "give files and folders, or --pages N")
    settings = load_settings(
        late=late,
        image=image,
        text=text,
        max_patches=max_patches,
        keep_patches=keep_patches,
        datatype=datatype,
        pooling=pooling,
    )
    counted, refused = count_pages(paths) if paths else (pages or 0, [])
    found = estimate_for(settings, counted)
    if as_json:
        print_json({**as_dict(found), "refused": refused})
    else:
        show(found)
    for line in refused:
        errors.print(f"not counted: {line}")
    if refused:
        raise typer.Exit(SOME_FAILED)


def as_dict(found: Estimate) -> dict[str, object]:
    """The estimate as JSON, with totals."""
    disk, memory = dict(found.disk), dict(found.memory)
    return {
        **asdict(found),
        "disk": {**disk, "total": sum(disk.values())},
        "memory": {**memory, "total": sum(memory.values())},
        "limits": [{**asdict(limit), "ok": limit.ok} for limit in found.limits],
    }


def show(found: Estimate) -> None:
    """The estimate for a person: a line for each question."""
    shape = found.shape
    results.print(f"pages    {found.pages:,} by {shape.model}, {shape.vectors} vectors of {shape.dim} each")
    results.print(f"         ({shape.source})", soft_wrap=True)
    for name, sizes in (("on disk", found.disk), ("memory", found.memory)):
        parts = ", ".join(f"{part} {readable(size)}" for part, size in sizes.items())
        results.print(f"{name:<8} {readable(sum(sizes.values()))}: {parts}", soft_wrap=True)
    results.print(f"search   {found.search_ms:.0f} ms of one core, shared by those there are")
    sent = ", ".join(f"{pages} by {wire}" for wire, pages in found.pages_per_request.items())
    results.print(f"server   {sent} in a request of 8 MiB", soft_wrap=True)
    for limit in found.limits:
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
