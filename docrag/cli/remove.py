"""docrag remove: take a file out of an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docrag.cli.console import SOME_FAILED, errors, print_json, read_settings, results
from docrag.cli.options import IndexOption, JsonOption
from docrag.errors import SettingsError

if TYPE_CHECKING:
    from docrag.index.index import Index
    from docrag.ingest.removal import Removal


def remove(
    file: Annotated[
        Path | None, typer.Argument(help="The path as it was ingested, or the id of the document.")
    ] = None,
    index: IndexOption = None,
    release: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOLDER",
            help="A machine that no longer exists, as docrag status names it. Its claims on the file are "
            "given up; without a file, all its claims on the collection. Can be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a file from the index; the file itself is not touched."""
    from docrag.index.index import Index

    if file is None and not release:
        raise SettingsError("remove was given nothing to remove", "name a file, or a machine with --release")
    with Index.open(settings=read_settings(index=index), create=False) as opened:
        if file is None:
            _release(opened, release or [], as_json=as_json)
            return
        removal = opened.remove_file(file, release=release or [])
    if as_json:
        print_json(removal.as_json())
    else:
        _print_removal(removal)
    if removal.held_by:
        raise typer.Exit(SOME_FAILED)


def _release(index: Index, holders: list[str], *, as_json: bool) -> None:
    for holder in holders:
        pages = index.release(holder)
        if as_json:
            print_json({"holder": holder, "status": "released", "pages": pages, "error": None})
        else:
            results.print(
                f"released {holder}: {pages} pages that no other machine holds were removed", soft_wrap=True
            )


def _print_removal(removal: Removal) -> None:
    if removal.held_by:
        errors.print(f"{removal.file} stays in the index: {removal.reason}")
        errors.print(f"hint:  {removal.hint}")
    else:
        results.print(f"removed {removal.file}: {removal.pages} pages", soft_wrap=True)
